"""A Slurm without a node of its own: its machines are all borrowed, and before the first job it has none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from agent.slurm.model import SlurmBackend
from testbed.up import TestBed
from testbed.waiting import wait_for

PARTITION = "PartitionName=main Nodes=ALL Default=YES"


@pytest.fixture
def without_nodes(bed: TestBed) -> Iterator[Callable[..., None]]:
    """Take the permanent node out of slurm.conf; afterwards it is back."""
    text = bed.slurm.conf.read_text()

    def take_out(*partitions: str) -> None:
        bare = re.sub(r"(?m)^NodeName=n1 .*\n", "", text)
        assert bare != text
        assert PARTITION in bare
        bed.slurm.conf.write_text(bare.replace(PARTITION, "\n".join(partitions or [PARTITION])))
        bed.slurm.restart_slurmctld()
        assert bed.slurm.nodes() == {}

    yield take_out
    bed.slurm.conf.write_text(text)
    bed.slurm.restart_slurmctld()
    bed.slurm.start_permanent_node()


def test_every_way_in_reads_a_cluster_without_nodes(
    bed: TestBed, without_nodes, each_way_in: SlurmBackend
) -> None:
    without_nodes()
    job = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    snapshot = wait_for("the job is seen", lambda: (found := each_way_in.snapshot()).jobs and found)
    assert snapshot.nodes == {}
    assert [(each.id, each.reason) for each in snapshot.jobs] == [(str(job), "PartitionConfig")]
    bed.slurm.run("scancel", str(job))


@pytest.mark.timeout(400)
def test_jobs_run_on_borrowed_machines_alone_and_the_last_one_leaves_an_empty_cluster(
    bed: TestBed, without_nodes, agent
) -> None:
    without_nodes()
    one = bed.slurm.submit("sleep 1", "--cpus-per-task=2", "--time=5")
    two = bed.slurm.submit("sleep 1", "--nodes=2", "--time=5")
    agent.start()
    for job in (one, two):
        bed.slurm.wait_for_job(job, "COMPLETED")
    wait_for("all machines went back", lambda: not agent.nodes(), timeout=200)
    wait_for("an empty cluster", lambda: not bed.slurm.nodes())
    again = bed.slurm.submit("sleep 1", "--time=5")
    bed.slurm.wait_for_job(again, "COMPLETED")


@pytest.mark.timeout(300)
def test_a_partition_that_no_borrowed_machine_comes_into_does_not_grow_the_cluster(
    bed: TestBed, without_nodes, agent
) -> None:
    without_nodes(PARTITION, "PartitionName=bare")
    bed.slurm.submit("sleep 600", "--partition=bare", "--time=5")
    agent.start()
    wait_for("it is told", lambda: "no borrowed machine comes into" in agent.ask("plan").stdout)
    assert len(agent.nodes()) == 1
