"""A daemon that hangs while it starts or reads its settings again: SIGTERM ends it, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.pki import CertificateAuthority, Names
from testbed.waiting import PATIENCE, wait_for
from tests.unit.check.conftest import Site, fill

ESAGENT = Path(sys.executable).with_name("esagent")
HANGS = """\
#!/bin/sh
echo $$ >> {pids}
sleep 100000 &
echo $! >> {pids}
wait
"""
"""A program that never ends, and has a child."""
PROFILE = """\
import os, subprocess, time
with open({pids!r}, "a") as pids:
    print(os.getpid(), file=pids)
    print(subprocess.Popen(["sleep", "100000"]).pid, file=pids)
time.sleep(100000)
"""


REQUEST = (
    '<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">'
    '<node client_id="w" exclusive="true"><sliver_type name="raw-pc"/></node></rspec>'
)
WAITS = """\
open({pids!r}, "w").close()
open({gate!r}).read()
print({request!r})
"""
"""A profile script that waits for its gate."""


class Start:
    """An `esagent run` of a site, and the programs that hang for it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pids = site.root / "pids"
        self.log = site.root / "log"
        self.notified = site.root / "notify.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(str(self.notified))
        self.listener.settimeout(PATIENCE)

    def run(self, *, path: Path | None = None) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.notified)}
        if path is not None:
            environment["PATH"] = f"{path}:{environment['PATH']}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [ESAGENT, "run", "--config", self.site.conf], stdout=log, stderr=log, env=environment
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def hear(self, *words: bytes) -> set[bytes]:
        """Read what the init system is told, until it is one of these words."""
        said: set[bytes] = set()
        while not said & set(words):
            said.add(self.listener.recv(200))
        return said

    def wait_until_it_hangs(self) -> None:
        def look() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return len(self.hanging()) >= 2

        wait_for("a program and its child hang", look)

    def hanging(self) -> list[int]:
        """Return the programs that hang, and their children."""
        pids = self.pids.read_text().split() if self.pids.exists() else []
        return [int(pid) for pid in pids if runs(int(pid))]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for pid in self.hanging():
            os.kill(pid, signal.SIGKILL)
        self.listener.close()


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def start(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    authority = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    user = authority.issue(
        "user",
        Names(
            "ada",
            uris=("urn:publicid:IDN+example.net+user+ada",),
            emails=("ada@example.net",),
            sa_url="https://127.0.0.1:9/sa",
        ),
    )
    server = authority.issue("server", Names("head", hosts=("127.0.0.1",)))
    site = Site(tmp_path / "site")
    site.root.mkdir()
    fill(site, authority.bundle.read_bytes(), user, server)
    site.add("callback", 'listen = "127.0.0.1"\nport = 0')
    site.conf.write_text(site.conf.read_text() + "[metrics]\nport = 0\n")
    start = Start(site)
    yield start
    start.close()


def hang_in_profile(start: Start) -> None:
    script = start.site.etc / "profile.py"
    script.write_text(PROFILE.format(pids=str(start.pids)))
    settings = f'[request]\nprofile_script = "{script}"\nprofile_timeout = "1h"\n'
    start.site.conf.write_text(start.site.conf.read_text() + settings)
    start.run()


def fake_slurm(start: Start) -> Path:
    """Make a directory with Slurm's commands, each of which hangs."""
    path = start.site.root / "bin"
    path.mkdir()
    for name in ("scontrol", "sinfo", "squeue", "scancel"):
        program = path / name
        program.write_text(HANGS.format(pids=start.pids))
        program.chmod(0o755)
    return path


def hang_in_commands(start: Start) -> None:
    settings = '[slurm]\nbackend = "rest"\nrest_url = "http://127.0.0.1:9"\ncommand_timeout = "10m"\n'
    start.site.conf.write_text(start.site.conf.read_text() + settings)
    start.run(path=fake_slurm(start))


def hang_in_standby(start: Start) -> None:
    settings = '[slurm]\nact = "primary"\ncommand_timeout = "10m"\n'
    start.site.conf.write_text(start.site.conf.read_text() + settings)
    start.run(path=fake_slurm(start))


WAYS = [hang_in_profile, hang_in_commands, hang_in_standby]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hang", WAYS)
def test_a_start_that_hangs_ends_when_it_is_asked_to_and_takes_its_programs_along(
    start: Start, hang: Callable[[Start], None], number: signal.Signals
) -> None:
    hang(start)
    start.wait_until_it_hangs()
    start.send(number)
    assert start.end() == 0
    assert b"STOPPING=1" in start.hear(b"STOPPING=1")
    assert start.hanging() == []
    assert "it was asked to" in start.log.read_text()


def test_a_start_that_was_killed_leaves_nothing_in_the_way_of_the_next(start: Start) -> None:
    conf = start.site.conf.read_text()
    hang_in_profile(start)
    start.wait_until_it_hangs()
    start.send(signal.SIGKILL)
    start.end()
    start.site.conf.write_text(conf)
    start.run()
    start.hear(b"READY=1")
    start.send(signal.SIGTERM)
    assert start.end() == 0


def test_a_sighup_during_the_start_is_obeyed_after_it(start: Start) -> None:
    gate, script = start.site.etc / "go", start.site.etc / "profile.py"
    os.mkfifo(gate)
    script.write_text(WAITS.format(pids=str(start.pids), gate=str(gate), request=REQUEST))
    settings = f'[request]\nprofile_script = "{script}"\nprofile_timeout = "1h"\n'
    start.site.conf.write_text(start.site.conf.read_text() + settings)
    start.run()
    wait_for("the profile runs", start.pids.exists)
    start.site.conf.write_text(start.site.conf.read_text().replace("max_nodes = 1", "max_nodes = 0"))
    start.send(signal.SIGHUP)
    gate.write_text("go")
    start.hear(b"RELOADING=1")
    start.hear(b"READY=1")
    assert "the settings were read again" in start.log.read_text()
    start.send(signal.SIGTERM)
    assert start.end() == 0


def test_settings_that_cannot_be_read_to_their_end_hold_nothing_up(start: Start) -> None:
    start.run()
    start.hear(b"READY=1")
    start.site.conf.unlink()
    os.mkfifo(start.site.conf)
    start.send(signal.SIGHUP)
    start.hear(b"RELOADING=1")
    start.send(signal.SIGTERM)
    assert start.end() == 0


def test_a_running_daemon_takes_its_programs_along(start: Start) -> None:
    start.run(path=fake_slurm(start))
    start.hear(b"READY=1")
    start.wait_until_it_hangs()
    start.send(signal.SIGTERM)
    assert start.end() == 0
    assert start.hanging() == []
