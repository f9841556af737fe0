"""`esagent top`: its picture, and its life on a real terminal."""

import io
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.top import draw, look
from testbed.waiting import wait_for

ESAGENT = Path(sys.executable).with_name("esagent")
CM = "urn:publicid:IDN+utah.example.net+authority+cm"


def drawn(picture, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(draw(picture, width))
    return console.file.getvalue().splitlines()


@pytest.fixture
def picture(rig):
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "disk", "deadline": 600})
    rig.record("drain", "pc102", "drained in Slurm: [red]disk[/red]")
    return look(rig.socket)


def test_the_picture_has_machines_drains_and_the_newest_event_first(picture) -> None:
    text = "\n".join(drawn(picture, 120))
    assert "3 machines held" in text
    assert re.search(r"pc102 +draining", text)
    assert re.search(r"pc102 +admin", text)
    assert text.index("[red]disk[/red]") < text.index("asks: drain pc102")


def test_machines_that_were_asked_for_are_told_apart_from_those_that_are_held(picture) -> None:
    states = {**picture["status"]["states"], "requested": 2}
    text = "\n".join(drawn({**picture, "status": {**picture["status"], "states": states}}, 160))
    assert "), 2 asked for, " in text
    assert "requested" not in text


def test_a_lease_that_nobody_renews_is_told_at_the_head(picture) -> None:
    warned = {**picture["status"], "lease_warnings": ["the slice ends soon"]}
    text = "\n".join(drawn({**picture, "status": warned}, 120))
    assert text.index("the slice ends soon") < text.index("NODE")
    assert "the slice ends soon" not in "\n".join(drawn(picture, 120))


def test_the_picture_fits_a_narrow_terminal(picture) -> None:
    lines = drawn(picture, 40)
    assert max(map(len, lines)) <= 40
    assert any("pc102" in line and "draining" in line for line in lines)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_long_message_takes_no_room_from_the_columns_before_it(rig, width: int) -> None:
    rig.record("admin", f"{CM}-and-more", "x" * 300)
    rig.record("join-step", "pc101", "y" * 300)
    text = "\n".join(drawn(look(rig.socket), width))
    assert re.search(r"join-step +pc101 +y{10}" if width > 40 else r"join-step +y{10}", text)
    assert re.search(
        r"12:00:00Z +admin +utah\.example\.net\+author… +x{10}" if width > 40 else r"admin +x{10}", text
    )


def test_a_daemon_that_went_away_is_told_over_the_last_picture(picture) -> None:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(draw(picture, 100, lost="no daemon answers"))
    assert "no daemon answers" in console.file.getvalue()


def test_where_there_is_no_terminal_it_is_shown_once(rig) -> None:
    told = rig.ask("top").stdout
    assert "3 machines held" in told
    assert "\x1b" not in told


class Terminal:
    """A terminal that a program runs on."""

    def __init__(self, socket, *arguments):
        self.master, slave = pty.openpty()
        self.text = ""
        environment = {
            **os.environ,
            "ESAGENT_SOCKET": str(socket),
            "TERM": "xterm",
            "COLUMNS": "60",
            "LINES": "30",
        }
        self.process = subprocess.Popen(
            [ESAGENT, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    def shows(self, words):
        """Read what has come; tell whether it has these words."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
        return words in self.text

    def press(self, key):
        os.write(self.master, key)

    def end(self):
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self.master)


@pytest.mark.parametrize("arguments", [[], ["-i", "20"]])
def test_on_a_terminal_it_follows_events_until_q(rig, arguments) -> None:
    terminal = Terminal(rig.socket, "top", *arguments)
    wait_for("the first picture", lambda: terminal.shows("machines held"), timeout=60)
    rig.record("drain", "pc101", "something new")
    wait_for("the event", lambda: terminal.shows("something new"), timeout=60)
    terminal.press(b"x")
    terminal.press(b"q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.text


def test_events_are_followed_until_the_daemon_ends(rig) -> None:
    terminal = Terminal(rig.socket, "events", "--follow")
    wait_for("the history", lambda: terminal.shows("adopted"), timeout=60)
    rig.record("drain", "pc101", "something new")
    wait_for("the event", lambda: terminal.shows("something new"), timeout=60)
    rig.server.stop()
    assert terminal.end() == 3
