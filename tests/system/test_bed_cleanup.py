"""What is left of a test bed after its end, in whatever way it ended: nothing. Others are not touched."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import cleanup, registry
from testbed.bedfile import NAME, BedFileError, read_bed_file
from testbed.instance import Claim
from testbed.registry import BedError, Instance
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

TIMEOUT = 60.0


@contextlib.contextmanager
def another_bed(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m testbed up`` in a process of its own; killed at the end if the test did not end it."""
    with (directory / "up.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "testbed", "up", "--dir", str(directory), "--speed", "120"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        wait_for("the bed file", lambda: is_up(process, directory), timeout=TIMEOUT)
        yield process
    finally:
        process.kill()
        process.wait(10)


def is_up(process: subprocess.Popen[bytes], directory: Path) -> bool:
    assert process.poll() is None, (directory / "up.out").read_text()
    try:
        # That of a killed test bed may still be there.
        return read_bed_file(directory).pid == process.pid
    except BedFileError:
        return False


def janitor_of(instance: Instance) -> int:
    found = subprocess.run(
        ["pgrep", "-f", f"testbed.cleanup {instance.id}"], capture_output=True, text=True, timeout=PATIENCE
    )
    return int(found.stdout)


class Traces:
    """What a test bed has on the machine now."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        with registry.locked():
            self.instance = next(i for i in registry.instances() if i.owner_pid == process.pid)
        # By number: the next test bed may get the same names.
        self.links = {number for number, name in socket.if_nameindex() if self.instance.owns_link(name)}
        assert len(self.links) == 2, "the bridge, and the cable of the permanent node"
        assert cleanup.processes_of(self.instance)

    def are_gone(self) -> bool:
        with registry.locked():
            recorded = self.instance in registry.instances()
        links = self.links & {number for number, _ in socket.if_nameindex()}
        return not recorded and not links and not cleanup.processes_of(self.instance)


def works(bed: TestBed) -> bool:
    job = bed.slurm.submit("true")
    return bed.slurm.wait_for_job(job, "COMPLETED") == "COMPLETED"


def test_two_test_beds_run_side_by_side_and_sigterm_ends_one_without_a_trace(
    bed: TestBed, tmp_path: Path
) -> None:
    with another_bed(tmp_path) as process:
        traces = Traces(process)
        assert traces.instance.subnet != bed.instance.subnet
        conf = read_bed_file(tmp_path).slurm_conf
        assert conf is not None
        nodes = subprocess.run(
            ["sinfo", "-h", "-o", "%N %T"],
            env={**os.environ, "SLURM_CONF": str(conf)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert nodes.stdout == "n1 idle\n"
        assert works(bed)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert traces.are_gone()
        assert not (tmp_path / NAME).exists()
    assert works(bed)


def test_nothing_is_left_after_kill_9_and_another_test_bed_goes_on(bed: TestBed, tmp_path: Path) -> None:
    with another_bed(tmp_path) as process:
        traces = Traces(process)
        process.kill()
        wait_for("the janitor's work", traces.are_gone, timeout=TIMEOUT)
        assert not (tmp_path / NAME).exists()
    assert works(bed)


def test_a_start_removes_what_is_left_when_the_janitor_was_killed_too(bed: TestBed, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with another_bed(first) as process:
        traces = Traces(process)
        os.kill(janitor_of(traces.instance), signal.SIGKILL)
        process.kill()
        process.wait(10)
        assert not traces.are_gone()
        with Claim(second):
            assert traces.are_gone()
    assert works(bed)


def test_a_start_in_the_directory_of_a_killed_one_begins_anew(tmp_path: Path) -> None:
    with another_bed(tmp_path) as process:
        traces = Traces(process)
        os.kill(janitor_of(traces.instance), signal.SIGKILL)
    old_memory = tmp_path / "agent" / "ledger.db"
    old_memory.touch()
    with another_bed(tmp_path) as process:
        assert traces.are_gone()
        assert not old_memory.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_directory_in_use_is_refused(bed: TestBed) -> None:
    with pytest.raises(BedError, match="runs here already"):
        Claim(bed.directory)


def test_processes_of_others_are_not_counted_as_ours(bed: TestBed) -> None:
    ours = cleanup.processes_of(bed.instance)
    assert ours
    assert os.getpid() not in ours
    stranger = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], registry.MARKER: "another"})
    try:
        assert stranger.pid not in cleanup.processes_of(bed.instance)
    finally:
        stranger.kill()
        stranger.wait(10)
