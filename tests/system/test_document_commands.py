"""Every command of ours that a document has its reader run is run, on machines that are really there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ClusterShell.NodeSet import NodeSet

from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for
from tools.document_commands import PAGES, commands_of, ours

ESAGENT = Path(sys.executable).with_name("esagent")
BED = "/tmp/bed"
ELSEWHERE = "install.md"
"""It is followed word by word on a clean machine by tests/packaging/test_install_document.py."""


def documented() -> list[list[str]]:
    """Return each command that is run here once, as words; those that give machines away last."""
    found = {tuple(ours(words)) for page in PAGES if page.name != ELSEWHERE for words in commands_of(page)}
    return sorted(
        (list(words) for words in found if words[0] in {"esagent", "python", "export", "for"}),
        key=lambda words: (gives_away(words), words[:2] == ["esagent", "teardown"], words),
    )


def gives_away(words: list[str]) -> bool:
    """Tell whether a machine is gone afterwards."""
    return not {"revoke", "release", "teardown", "--release"}.isdisjoint(words)


class Reader:
    """Somebody who types what the documents say, with the names of the machines that are there."""

    def __init__(self, agent, bed: TestBed) -> None:
        self.agent = agent
        self.bed = bed

    def type(self, words: list[str]) -> None:
        """Run one command as it is meant to be, and put back what it changed."""
        match words:
            case ["esagent", "run"]:
                # The daemon that answers all others was started so, with settings out of the environment.
                pass
            case ["esagent", "events", "--follow", "--json"]:
                self.follow(words[1:])
            case ["esagent", *arguments]:
                arguments = self.filled_in(arguments)
                with self.prepared(arguments):
                    self.ask(*arguments, typed="elastic\n")
            case ["python", "-m", "testbed", "up", "--dir", place]:
                assert self.here(place) == str(self.bed.directory)
            case ["python", *arguments]:
                self.run([sys.executable, *self.filled_in(arguments)])
            case ["export", *variables]:
                slurm, agent = (Path(self.here(each.partition("=")[2])) for each in variables)
                assert (slurm, agent) == (self.bed.slurm.conf, self.bed.bedfile.agent_conf)
            case ["for", *_]:
                submit = words[words.index("sbatch") : -1]
                self.bed.slurm.run(*(word.rstrip(";") for word in submit))
                self.bed.slurm.run("scancel", "-u", "root")

    @contextmanager
    def prepared(self, arguments: list[str]) -> Iterator[None]:
        """Have all as it has to be for a command, and undo afterwards what it did."""
        match arguments:
            case ["unpause"]:
                self.ask("pause")
            case ["grow", "0"]:
                self.ask("grow", "1")
            case ["resume", name]:
                self.ask("drain", name)
            case ["drain", node, "--force"]:
                self.bed.slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=disk")
        yield
        match arguments:
            case ["grow", "2"]:
                # Enough for all that give one away.
                wait_for("they are in service", lambda: self.agent.status()["growing"] is None)
            case ["pause"]:
                self.ask("unpause")
            case ["drain", *_] if not gives_away(arguments):
                drained = sorted(record["node"] for record in self.agent.look("/v1/drains")["drains"])
                # Before that, a drain by somebody else would be there still, and stay.
                wait_for(
                    "Slurm has our reason", lambda: all("esagent: " in why for why in self.reasons(drained))
                )
                self.ask("resume", *drained)
                wait_for("they are back", lambda: self.reasons(drained) == [""] * len(drained))
            case ["resume", name]:
                wait_for("it is back", lambda: self.reasons([name]) == [""])

    def here(self, path: str) -> str:
        return path.replace(BED, str(self.bed.directory))

    def filled_in(self, arguments: list[str]) -> list[str]:
        """Put in the names of machines, and of files."""
        filled = []
        for word in arguments:
            match word:
                case "NODE" | "pc100":
                    filled.append(self.joined()[0])
                case "pc[100-102]":
                    filled.append(str(NodeSet.fromlist(self.joined())))
                case _:
                    filled.append(self.here(word))
        if filled == ["drain", "--release"]:
            # In the text, where the reader knows which.
            filled.append(self.joined()[0])
        return filled

    def reasons(self, nodes: list[str]) -> list[str]:
        """Return why Slurm keeps each from work; "" where it does not: 24.11 forgets no reason."""
        return [self.bed.slurm.run("sinfo", "-h", "-R", "-n", node, "-o", "%E").strip() for node in nodes]

    def in_service(self) -> list[str]:
        return sorted(n for n, record in self.agent.nodes().items() if record["state"] == "joined")

    def joined(self) -> list[str]:
        """Return the machines that are in service, once there are some."""
        return wait_for("a machine is in service", self.in_service)

    def ask(self, *arguments: str, typed: str = "") -> None:
        self.run([str(ESAGENT), *arguments], typed)

    def run(self, command: list[str], typed: str = "") -> None:
        done = subprocess.run(
            command,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def follow(self, arguments: list[str]) -> None:
        command = [str(ESAGENT), *arguments]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert '"kind": "event"' in following.stdout.readline()
            following.send_signal(signal.SIGINT)
            following.communicate(timeout=PATIENCE)
        assert following.returncode == 130

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ESAGENT_CONFIG": str(self.agent.conf)}


@pytest.fixture
def reader(agent, bed: TestBed) -> Reader:
    agent.change('idle_timeout = "25s"', 'idle_timeout = "1h"')
    agent.change("max_nodes = 3", "max_nodes = 6")
    agent.start()
    # What a reader types a moment later is told to ask again before that.
    wait_for("Slurm was read", lambda: agent.ask("plan").returncode == 0)
    return Reader(agent, bed)


def test_each_command_of_the_documents_does_what_it_is_there_for(reader: Reader) -> None:
    reader.ask("grow", "2", "--wait")
    for words in documented():
        reader.type(words)
    wait_for("all is given back", lambda: not reader.agent.nodes())
