"""Nodes whose names end in letters, or hold several numbers: every way in acts on them, on every release."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm.model import SlurmBackend
from agent.slurm.reservation import Reservation
from testbed.emptying import add_nodes, remove_nodes
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("nodes_as_found", "others")
NODES = ("pc100-fort", "pc103-fort")
OTHERS = ("a1b2c", "a1b3c", "node-007x", "node-008x", "x-1-y-2", "x-1-y-3", "x-2-y-09")
ALL = (*NODES, *OTHERS)


@pytest.fixture(scope="module")
def others(bed: TestBed) -> Iterator[None]:
    add_nodes(bed.machines, bed.slurm, OTHERS)
    bed.slurm.wait_until_usable()
    yield
    remove_nodes(bed.machines, bed.slurm, OTHERS)


def test_nodes_of_any_name_are_drained_weighed_set_down_and_back(
    bed: TestBed, each_way_in: SlurmBackend
) -> None:
    slurm = each_way_in
    slurm.set_weight(ALL, 40)
    slurm.drain(ALL, "esagent: due")
    seen = slurm.snapshot().nodes
    assert {(seen[n].weight, seen[n].reason, seen[n].draining) for n in ALL} == {(40, "esagent: due", True)}
    assert not seen["n1"].draining
    waits = bed.slurm.submit("sleep 600", "--nodes=2", "--exclusive")
    wait_for("a look of the scheduler", lambda: bed.slurm.run("squeue", "-h", "-o", "%r").strip() != "None")
    assert bed.slurm.job_state(waits) == "PENDING"
    slurm.undrain(ALL)
    bed.slurm.wait_for_job(waits, "RUNNING")
    held = bed.slurm.run("squeue", "-h", "-j", str(waits), "-o", "%N").strip()
    (job,) = slurm.snapshot().jobs
    assert len(job.nodes) == 2, held
    slurm.cancel(str(waits))
    bed.slurm.wait_until_idle()
    slurm.set_down(ALL, "gone")
    slurm.resume(ALL)
    slurm.resume(ALL)
    bed.slurm.wait_until_usable()


def test_a_name_that_is_not_there_costs_them_nothing(each_way_in: SlurmBackend) -> None:
    with pytest.raises(SlurmRefusedError, match="pc101-fort,pc102-fort: Invalid node name"):
        each_way_in.drain([*ALL, "pc101-fort", "pc102-fort"], "esagent: due")
    assert all(node.draining for name, node in each_way_in.snapshot().nodes.items() if name != "n1")
    each_way_in.undrain(ALL)


def test_a_fence_stands_on_nodes_of_any_name(each_way_in: SlurmBackend) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    each_way_in.reserve(Reservation("esagent-x", frozenset(ALL), starts, starts + timedelta(hours=1)))
    try:
        (seen,) = each_way_in.reservations()
        assert seen.nodes == frozenset(ALL)
    finally:
        each_way_in.remove_reservation("esagent-x")


def test_records_of_any_name_are_deleted(bed: TestBed, each_way_in: SlurmBackend) -> None:
    gone = ("pc7-z", "pc8-z")
    add_nodes(bed.machines, bed.slurm, gone)
    for name in gone:
        bed.machines.power_off(name)
    each_way_in.delete_nodes([*gone, "pc9-z"])
    assert not set(gone) & each_way_in.snapshot().nodes.keys()


def test_a_drain_is_lifted_though_slurmctld_does_not_know_the_nodes_yet(
    bed: TestBed, each_way_in: SlurmBackend
) -> None:
    """Before a slurmd answers after its start, it refuses to undrain or resume a static node, and does so."""
    for lift in (each_way_in.undrain, each_way_in.resume):
        each_way_in.drain(["n1"], "esagent: due")
        assert bed.machines.run("n1", "pkill -STOP -x slurmd", timeout=PATIENCE) == 0
        try:
            bed.slurm.restart_slurmctld()
            seen = each_way_in.snapshot().nodes["n1"]
            assert (seen.state, seen.draining) == ("UNKNOWN", True)
            lift(["n1"])
            assert not each_way_in.snapshot().nodes["n1"].draining
        finally:
            assert bed.machines.run("n1", "pkill -CONT -x slurmd", timeout=PATIENCE) == 0
        bed.slurm.wait_until_usable()
