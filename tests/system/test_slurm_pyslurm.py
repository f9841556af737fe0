"""The pyslurm backend alone, on a real slurmctld of pyslurm's release.

What every way in has to do is in test_slurm_contract.py and test_slurm_changes.py. This runs where the
environment names a Python that has pyslurm (``PYSLURM_PYTHON``) and the test bed's Slurm is
of the same release.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import Job, SignalTarget
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.reservation import Reservation
from agent.slurm.settings import SlurmSettings
from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = ("pc910", "pc911")
SLEEP = "sleep 600"


@pytest.fixture(scope="module")
def site(pyslurm_site: str, bed: TestBed) -> str:
    if not pyslurm_site:
        pytest.skip("PYSLURM_PYTHON names no Python that has pyslurm")
    if bed.slurm.release.number != (25, 11):
        pytest.skip(f"pyslurm 25.11 needs Slurm 25.11, the test bed runs {bed.slurm.release.version}")
    return pyslurm_site


@pytest.fixture(autouse=True)
def _as_found(site: str, nodes_as_found: None) -> None:
    """Skip before any node is made."""


def backend(bed: TestBed, site: str, timeout: float = 30) -> PyslurmBackend:
    settings = SlurmSettings(conf=bed.slurm.conf, command_timeout=timeout)
    environment = {**os.environ, "PYTHONPATH": site}
    commands = CliBackend(settings, SystemClock(), environment)
    return PyslurmBackend(settings, SystemClock(), commands, environment)


@pytest.fixture(scope="module")
def slurm(bed: TestBed, site: str, two_nodes: tuple[str, str]) -> Iterator[PyslurmBackend]:
    started = backend(bed, site)
    yield started
    started.close()


def job(slurm: PyslurmBackend, job_id: str) -> Job:
    return {j.id: j for j in slurm.snapshot().jobs}[job_id]


def test_a_snapshot_asks_slurmctld_three_times(bed: TestBed, slurm: PyslurmBackend) -> None:
    slurm.snapshot()
    bed.slurm.run("sdiag", "--reset")
    slurm.snapshot()
    counts = dict(re.findall(r"(REQUEST_(?!STATS)\w+_INFO)\s+\( *\d+\) count:(\d+)", bed.slurm.run("sdiag")))
    assert counts == {"REQUEST_NODE_INFO": "1", "REQUEST_JOB_INFO": "1", "REQUEST_PARTITION_INFO": "1"}


def test_an_address_is_changed(bed: TestBed, slurm: PyslurmBackend) -> None:
    address = bed.machines.address(NODES[0])
    slurm.set_address(NODES[0], "127.0.0.9", NODES[0])
    try:
        assert slurm.snapshot().nodes[NODES[0]].address == "127.0.0.9"
    finally:
        slurm.set_address(NODES[0], address, NODES[0])


def test_signals_reach_the_processes_asked_for(bed: TestBed, slurm: PyslurmBackend, tmp_path: Path) -> None:
    script = f"trap 'echo >> {tmp_path}/seen' USR1; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    running = bed.slurm.submit(script, f"--nodelist={NODES[0]}")
    wait_for("script ready", (tmp_path / "ready").exists)
    slurm.signal(str(running), "USR1", SignalTarget.BATCH)
    wait_for("signal caught", (tmp_path / "seen").exists)
    slurm.signal(str(running), "10", SignalTarget.ALL)
    wait_for("caught again", lambda: (tmp_path / "seen").read_text().count("\n") >= 2)
    slurm.notify(str(running), "it ends soon")
    out = bed.slurm.directory / f"job-{running}.out"
    wait_for("the warning", lambda: "it ends soon" in out.read_text())
    assert job(slurm, str(running)).state == "RUNNING"
    with pytest.raises(SlurmRefusedError, match="Invalid job id"):
        slurm.signal("99999", "USR1")


def test_a_refusal_spoils_no_later_change(bed: TestBed, slurm: PyslurmBackend) -> None:
    """pyslurm tells of some errors by errno alone, which an earlier one may have left there."""
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    with pytest.raises(SlurmRefusedError):
        slurm.set_address("ghost", "127.0.0.1", "ghost")
    slurm.signal(str(running), "CONT", SignalTarget.STEPS)
    with pytest.raises(SlurmRefusedError):
        slurm.comment("99999", "x")
    starts = datetime.now(UTC) + timedelta(hours=1)
    slurm.reserve(Reservation("after", frozenset({"n1"}), starts, starts + timedelta(hours=1)))
    slurm.remove_reservation("after")
    with pytest.raises(SlurmRefusedError):
        slurm.comment("99999", "x")
    slurm.cancel(str(running))
    bed.slurm.wait_for_job(running, "CANCELLED")


def test_a_controller_that_hangs_is_down_and_costs_only_the_time_limit(bed: TestBed, site: str) -> None:
    slurm = backend(bed, site, timeout=5)
    bed.slurm.hang_slurmctld()
    try:
        with pytest.raises(SlurmDownError, match="no answer within 5 s"):
            slurm.snapshot()
        with pytest.raises(SlurmDownError):
            slurm.drain([NODES[0]], "x")
    finally:
        bed.slurm.resume_slurmctld()
    wait_for("slurmctld answers", lambda: answers(slurm))
    assert sorted(slurm.snapshot().nodes) == ["n1", *NODES]
    slurm.close()


def answers(slurm: PyslurmBackend) -> bool:
    try:
        slurm.snapshot()
    except SlurmError:
        return False
    return True


def test_it_does_not_start_while_the_controller_is_off(bed: TestBed, site: str) -> None:
    bed.slurm.stop_slurmctld()
    try:
        with pytest.raises(SlurmDownError):
            backend(bed, site)
    finally:
        bed.slurm.start_slurmctld()


def test_the_library_of_another_release_is_told(bed: TestBed, site: str) -> None:
    other = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm")
    if not (other / "libslurmfull.so").exists():
        pytest.skip("there is no libslurmfull.so of another release")
    settings = SlurmSettings(conf=bed.slurm.conf)
    with pytest.raises(SlurmError, match="built for another release of Slurm"):
        PyslurmBackend(
            settings,
            SystemClock(),
            CliBackend(settings, SystemClock()),
            {**os.environ, "PYTHONPATH": site, "LD_LIBRARY_PATH": str(other)},
        )
