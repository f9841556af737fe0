"""What becomes of jobs of srun and salloc on a real Slurm, and of jobs that it refuses to requeue."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

import pytest

from agent.cluster.settings.drain import DrainSettings
from agent.slurm.model import Snapshot
from testbed.emptying import CountedCommands, Emptying, add_nodes, remove_nodes
from testbed.tree import PATH
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

NODE = "pc910"
SETTINGS = DrainSettings(
    tick=1,
    checkpoint_signal="USR1",
    checkpoint_lead=1000,
    requeue_lead=600,
    kill_lead=100,
    cleanup_lead=5,
)
SAVES = "trap 'echo saved' USR1; echo up; while :; do sleep 0.2; done"


@pytest.fixture(scope="module", autouse=True)
def _one_node(bed: TestBed) -> Iterator[None]:
    add_nodes(bed.machines, bed.slurm, [NODE], cpus=8)
    yield
    remove_nodes(bed.machines, bed.slurm, [NODE])


@pytest.fixture(autouse=True)
def _left_as_found(bed: TestBed) -> Iterator[None]:
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()
    bed.slurm.run("scontrol", "update", f"NodeName={NODE}", "State=UNDRAIN")
    bed.slurm.wait_until_usable()


class Terminal:
    """A command on a terminal of its own, as a user starts it; a context manager that ends it."""

    def __init__(self, bed: TestBed, name: str, *command: str, then: str = "") -> None:
        self.name = name
        self._bed = bed
        self._shown = bytearray()
        self._over = threading.Event()
        self._ours, theirs = pty.openpty()
        directory = bed.slurm.bin_dir
        path = PATH if directory is None else f"{directory}:{PATH}"
        first, *rest = command
        self._process = subprocess.Popen(
            # It has to be the terminal that the command's session is on.
            ["setsid", "--ctty", first, f"--job-name={name}", f"--nodelist={NODE}", "--ntasks=1", *rest],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=bed.slurm.directory,
            env={"PATH": path, "TERM": "dumb", **bed.slurm.environment},
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.job = wait_for(f"{name} to run", self._running)
        if then:
            os.write(self._ours, f"{then}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._over.set()
        self._reader.join(PATIENCE)
        # What it left behind, such as the shell of salloc, hangs up.
        os.close(self._ours)

    def _running(self) -> str:
        return self._bed.slurm.run("squeue", "-h", "-n", self.name, "-t", "R", "-o", "%i").strip()

    def _read(self) -> None:
        while not self._over.is_set():
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                self._shown += os.read(self._ours, 4096)
            except OSError:  # nobody has it open any more
                return

    def shows(self, words: str) -> bool:
        return words in self._shown.decode(errors="replace")

    def wait_for(self, words: str) -> None:
        wait_for(f"{words!r} on the terminal of {self.name}", lambda: self.shows(words))


def comment(bed: TestBed, job: str) -> str:
    record = bed.slurm.run("scontrol", "-o", "show", "job", job)
    found = re.search(r" AdminComment=(.*?)(?= \w+=|$)", record)
    return found[1] if found else ""


def kinds(empty: Emptying, job: str) -> list[str]:
    return [e.kind for e in empty.events if e.fields.get("job") == job]


def test_interactive_jobs_are_warned_on_their_terminals_signalled_and_ended_in_time(
    bed: TestBed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    counted = CountedCommands(tmp_path_factory.mktemp("commands"))
    with ExitStack() as parts:
        srun = parts.enter_context(Terminal(bed, "srun", "srun", "sh", "-c", SAVES))
        ready = 'trap : USR1; echo "r"eady'
        shell = parts.enter_context(Terminal(bed, "shell", "srun", "--pty", "bash", "--norc", then=ready))
        idle = parts.enter_context(Terminal(bed, "idle", "salloc", "bash", "--norc"))
        step = parts.enter_context(
            Terminal(bed, "step", "salloc", "bash", "--norc", then=f'srun sh -c "{SAVES}"')
        )
        away = parts.enter_context(Terminal(bed, "away", "salloc", "--no-shell"))
        terminals = (srun, shell, idle, step, away)
        for running in (srun, step):
            running.wait_for("up\r\n")
        shell.wait_for("ready\r\n")
        empty = parts.enter_context(Emptying(bed.slurm.conf, [NODE], SETTINGS, bin_dir=counted.directory))
        empty.revoke([NODE], 2000)
        for terminal in (srun, shell, idle, step):
            terminal.wait_for("as an interactive job it cannot be requeued and is cancelled at")
        wait_for("all warnings", lambda: len(empty.told("warn")) == len(terminals))
        (written,) = [e.message for e in empty.events if e.fields.get("job") == away.job]
        assert "told in its AdminComment alone" in written
        empty.revoke([NODE], 900)
        for running in (srun, step):
            running.wait_for("saved\r\n")
        assert not empty.told("cancel")
        deadline = empty.revoke([NODE], 90)
        empty.wait_until_left([NODE])
        assert empty.left[NODE] < deadline
        for terminal in terminals:
            assert kinds(empty, terminal.job) == ["warn", "signal", "cancel"], terminal.name
            assert bed.slurm.job_state(int(terminal.job)) == "CANCELLED"
            assert "cancelled by esagent: its machine has to be empty" in comment(bed, terminal.job)
    assert not counted.calls()["scontrol requeue"]


def test_a_job_that_slurm_refuses_to_requeue_is_warned_and_ended(bed: TestBed) -> None:
    with Terminal(bed, "refused", "srun", "sh", "-c", SAVES) as terminal:
        terminal.wait_for("up\r\n")
        empty = Emptying(bed.slurm.conf, [NODE], SETTINGS.model_copy(update={"checkpoint_signal": ""}))
        read = empty.backend.snapshot

        def not_telling() -> Snapshot:
            snapshot = read()
            return replace(snapshot, jobs=tuple(replace(job, batch=None) for job in snapshot.jobs))

        empty.backend.snapshot = not_telling  # type: ignore[method-assign]
        with empty:
            empty.revoke([NODE], 500)
            terminal.wait_for("it was refused a requeue and is cancelled at")
            wait_for("the warning to be told", lambda: empty.told("warn"))
            assert kinds(empty, terminal.job) == ["unrequeued", "warn"]
            (refusal,) = [e.message for e in empty.events if e.kind == "unrequeued"]
            assert "Only batch jobs are accepted or processed" in refusal
            deadline = empty.revoke([NODE], 90)
            empty.wait_until_left([NODE])
            assert empty.left[NODE] < deadline
            assert kinds(empty, terminal.job) == ["unrequeued", "warn", "cancel"]
