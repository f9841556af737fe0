"""Two hundred machines taken at once, and fifty countdowns that overlap, on a real slurmctld."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cluster.drain.fence import Fencer
from agent.cluster.settings.drain import DrainSettings
from agent.core.ports import SystemClock
from agent.ledger.ledger import Ledger
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
from testbed.emptying import CountedCommands, Emptying
from testbed.up import TestBed
from testbed.waiting import wait_for

NAMES = tuple(f"pc{n}" for n in range(2000, 2200))


@pytest.fixture(scope="module", autouse=True)
def _records(bed: TestBed) -> Iterator[None]:
    """Two hundred nodes without machines: slurmctld takes them for real after a reconfiguration."""
    nodes = f"NodeName=pc[{NAMES[0][2:]}-{NAMES[-1][2:]}]"
    bed.slurm.run("scontrol", "create", nodes, "CPUs=2", "State=CLOUD", "NodeAddr=127.0.0.1")
    bed.slurm.restart_slurmctld()
    wait_for("the nodes", lambda: bed.slurm.nodes().keys() >= set(NAMES))
    yield
    bed.slurm.run("scontrol", "delete", nodes)
    bed.slurm.wait_for_node("n1", "IDLE")


@pytest.fixture
def counted(tmp_path: Path) -> CountedCommands:
    return CountedCommands(tmp_path)


def test_two_hundred_machines_of_one_call_are_drained_ten_with_one_request_and_left_side_by_side(
    bed: TestBed, counted: CountedCommands
) -> None:
    lock, working, most = threading.Lock(), 0, 0

    def leave(_: str, timeout: float) -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        threading.Event().wait(min(timeout, 0.05))  # a machine that takes its time
        with lock:
            working -= 1

    settings = DrainSettings(tick=1, cleanup_fan_out=16)
    with Emptying(bed.slurm.conf, NAMES, settings, leave=leave, bin_dir=counted.directory) as empty:
        empty.revoke(NAMES, 600)
        empty.wait_until_left(NAMES)
        assert counted.calls()["scontrol update"] == 20
        empty.withdraw(NAMES)
        wait_for("they are back", lambda: not any(drained(bed)))
        assert counted.calls()["scontrol update"] == 21
    assert 1 < most <= 16


def test_fifty_overlapping_countdowns_cost_as_many_requests_a_look_as_one(
    bed: TestBed, counted: CountedCommands
) -> None:
    with Emptying(bed.slurm.conf, NAMES, DrainSettings(tick=1), bin_dir=counted.directory) as empty:
        groups = [NAMES[n * 4 : n * 4 + 4] for n in range(50)]
        for number, group in enumerate(groups):
            empty.revoke(group, 600 + 10 * number)
        empty.wait_until_left(NAMES)
        assert counted.calls()["scontrol update"] == 50, "one for each deadline"
        # Cloudlab repeats its countdowns; they tell nothing new.
        looks = counted.calls()["squeue -h"]
        for number, group in enumerate(groups):
            empty.revoke(group, 599 + 10 * number - 2)
        wait_for("more looks", lambda: counted.calls()["squeue -h"] >= looks + 3)
        assert counted.calls()["scontrol update"] <= 100
        empty.withdraw(NAMES)
        wait_for("they are back", lambda: not any(drained(bed)))


def drained(bed: TestBed) -> Iterator[str]:
    return (name for name, state in bed.slurm.nodes().items() if "DRAIN" in state)


def test_a_fence_lets_short_jobs_start_and_long_ones_wait_and_goes_with_its_node(bed: TestBed) -> None:
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())
    fencer, now = Fencer(backend, "urn:slice", Ledger(":memory:")), SystemClock().now()
    fencer.step({"n1": now + timedelta(minutes=5), NAMES[0]: now + timedelta(minutes=5)}, now)
    fits = bed.slurm.submit("sleep 1", "--time=1", "--nodelist=n1")
    long = bed.slurm.submit("sleep 1", "--time=10", "--nodelist=n1")
    bed.slurm.wait_for_job(fits, "COMPLETED")
    assert bed.slurm.job_state(long) == "PENDING"
    # A renewal moves it, a machine that goes takes no fence along.
    fencer.step({"n1": now + timedelta(hours=1)}, now)
    bed.slurm.wait_for_job(long, "COMPLETED")
    (fence,) = backend.reservations()
    assert fence.nodes == {"n1"}
    fencer.step({}, now)
    assert backend.reservations() == ()
    assert backend.limited_partitions() == frozenset()
