"""Fences on a real Slurm: whose they are, what starts before they stand, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.drain import fence
from agent.cluster.drain.fence import Fencer, Mark
from agent.core.ports import SystemClock
from agent.ledger.ledger import Ledger
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
from testbed.up import TestBed
from testbed.waiting import wait_for

SITES_OWN = "esagent-20261231T000000Z"
"""A site's own maintenance, called as an older agent called its fences."""


def limit(bed: TestBed) -> None:
    bed.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=1440")


@pytest.fixture(autouse=True)
def _limited(bed: TestBed) -> Iterator[None]:
    """Every job has a time limit."""
    limit(bed)
    yield
    listing = bed.slurm.run("scontrol", "-o", "show", "reservations")
    for line in listing.splitlines():
        if line.startswith("ReservationName="):
            bed.slurm.run("scontrol", "delete", line.split()[0])
    bed.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=UNLIMITED")


def reserve(bed: TestBed, name: str, node: str) -> None:
    made = ("StartTime=now+2hours", "Duration=60", f"Nodes={node}", "Users=root", "Flags=MAINT,IGNORE_JOBS")
    bed.slurm.run("scontrol", "create", "reservation", f"ReservationName={name}", *made)


def reserved(bed: TestBed, node: str = "n1") -> set[str]:
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())
    return {reservation.name for reservation in backend.reservations() if node in reservation.nodes}


@pytest.mark.parametrize("fenced", [True, False], ids=["fence on", "fence off"])
def test_of_all_reservations_those_with_our_mark_alone_are_taken_down(
    agent, bed: TestBed, fenced: bool
) -> None:
    """The ledger is lost: what an earlier run made is known by its mark."""
    agent.change("[drain]\n", f"[drain]\nfence = {str(fenced).lower()}\n")
    agent.start()
    lost = Mark.of_slice(str(agent.status()["slice"])).name(datetime.now(UTC), ())
    agent.stop()
    agent.ledger.unlink()
    others = {SITES_OWN, "esagent-own", Mark.of_slice("urn:other").name(datetime.now(UTC), ())}
    for name in (lost, *others):
        reserve(bed, name, "n1")
    agent.start()
    wait_for("ours is gone", lambda: lost not in reserved(bed))
    assert reserved(bed) == others


def test_the_job_that_a_machine_was_borrowed_for_does_not_start_beyond_its_lease(agent, bed: TestBed) -> None:
    agent.change("[drain]\n", "[drain]\nfence = true\n")
    agent.start()
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    long = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=60")
    short = bed.slurm.submit("sleep 2", "--cpus-per-task=2", "--time=2")
    bed.slurm.wait_for_job(short, "RUNNING")
    node = bed.slurm.job_nodes(short)
    assert reserved(bed, node)
    bed.slurm.wait_for_job(short, "COMPLETED")
    assert bed.slurm.job_state(long) == "PENDING"
    # An idle machine is not kept for a job that cannot start there, and none is borrowed for it.
    wait_for("it is given back", lambda: set(bed.slurm.nodes()) == {"n1"})
    assert bed.slurm.job_state(long) == "PENDING"
    assert (
        len([e for e in agent.look("/v1/events?subject=&newest=500")["events"] if e["kind"] == "arrived"])
        == 1
    )


@pytest.mark.parametrize("declared", ["CLOUD", "FUTURE"])
def test_nor_on_a_node_that_slurm_conf_declares(agent, bed: TestBed, predeclare, declared: str) -> None:
    names = predeclare(declared)
    limit(bed)
    agent.change('slurmd -Z -N {node_name} --conf \\"CPUs=2 Feature=cloudlab\\"', "slurmd -b -N {node_name}")
    agent.change("[join]\n", f'[join]\nmode = "cloud"\npredeclared = "{names}"\n')
    agent.change("[drain]\n", "[drain]\nfence = true\n")
    agent.start()
    agent.wait_for_log("predeclared nodes have no machine: set down")
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    long = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=60")
    short = bed.slurm.submit("sleep 2", "--cpus-per-task=2", "--time=2")
    bed.slurm.wait_for_job(short, "RUNNING", "COMPLETED")
    assert reserved(bed, bed.slurm.job_nodes(short))
    bed.slurm.wait_for_job(short, "COMPLETED")
    assert bed.slurm.job_state(long) == "PENDING"


def test_a_fence_that_nobody_moves_on_ends_by_itself(bed: TestBed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "LENGTH", timedelta(seconds=6))
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())
    fencer, clock = Fencer(backend, "urn:slice", Ledger(":memory:")), SystemClock()
    began = clock.now()
    fencer.step({"n1": began}, began)
    (standing,) = backend.reservations()
    # An agent that is there looks again and again.
    fencer.step({"n1": began}, began + timedelta(minutes=1), timedelta(seconds=-56))
    (moved,) = backend.reservations()
    assert moved.ends > standing.ends
    assert moved.starts == standing.starts
    wait_for("it is over", lambda: backend.reservations() == ())
    job = bed.slurm.submit("true", "--time=30", "--nodelist=n1")
    bed.slurm.wait_for_job(job, "COMPLETED")
