"""Which partitions can ever start a job, by what a slurmctld did with the same submissions."""

from datetime import timedelta

import pytest

from agent.cluster.grow.limits import open_partitions, why_never
from agent.slurm.model import Job
from agent.slurm.request import Request
from agent.slurm.scheduling import PartitionRules, Scheduling

RULES = (
    PartitionRules("main"),
    PartitionRules("down", is_up=False),
    PartitionRules("max2", max_nodes=2),
    PartitionRules("min2", min_nodes=2),
    PartitionRules("short", max_time=timedelta(minutes=10)),
    PartitionRules("small", max_memory_per_node=1000),
    PartitionRules("lean", max_memory_per_cpu=1000),
)
SITE = Scheduling(partitions={rules.name: rules for rules in RULES})


def job(*partitions: str, memory: int = 0, per_cpu: bool = False, **request: int) -> Job:
    asked = Request(**request)  # type: ignore[arg-type]
    return Job("1", "PENDING", partitions=partitions, memory=memory, memory_per_cpu=per_cpu, request=asked)


@pytest.mark.parametrize(
    ("asks", "why"),
    [
        (job("down"), "partition down is not up"),
        (job("max2", min_nodes=3, max_nodes=3), "partition max2 gives no job more than 2 nodes (MaxNodes)"),
        (job("max2", max_nodes=4, tasks=4), "partition max2 gives no job more than 2 nodes (MaxNodes)"),
        (job("max2", min_nodes=2, tasks=8), ""),
        (job("min2", max_nodes=1), "partition min2 gives no job fewer than 2 nodes (MinNodes)"),
        (job("min2"), ""),
        (job("min2", max_nodes=4, tasks=4), ""),
        (job("small", memory=2000), "partition small gives no more than 1000 MB on a node (MaxMemPerNode)"),
        (job("small", memory=500), ""),
        (job("small", memory=500, per_cpu=True, tasks=4), ""),
        (job("small", memory=500, per_cpu=True, tasks=4, min_nodes=2, max_nodes=2), ""),
        (
            job("small", memory=1500, per_cpu=True, tasks=4),
            "partition small gives no more than 1000 MB on a node (MaxMemPerNode)",
        ),
        (
            job("small", memory=500, per_cpu=True, tasks=3, max_nodes=1),
            "partition small gives no more than 1000 MB on a node (MaxMemPerNode)",
        ),
        (job("lean", memory=2500), ""),
        (job("lean", memory=2500, per_cpu=True), ""),
        (job("unheard"), ""),
        (job(), ""),
    ],
)
def test_a_partition_that_can_never_start_a_job_is_told(asks: Job, why: str) -> None:
    assert why_never(asks, SITE) == why
    assert why_never(asks, None) == ""


@pytest.mark.parametrize(("minutes", "starts"), [(10, True), (11, False), (None, True)])
def test_a_job_that_may_take_longer_than_a_partition_allows_never_starts_there(
    minutes: int | None, starts: bool
) -> None:
    limit = None if minutes is None else timedelta(minutes=minutes)
    why = why_never(Job("1", "PENDING", partitions=("short",), time_limit=limit), SITE)
    assert why == ("" if starts else "partition short takes no job of more than 10m (MaxTime)")


def test_of_a_job_of_which_little_is_told_the_count_of_nodes_is_known() -> None:
    many = Job("1", "PENDING", partitions=("max2",), node_count=3)
    assert why_never(many, SITE) == "partition max2 gives no job more than 2 nodes (MaxNodes)"


def test_of_several_partitions_those_remain_that_may_start_it() -> None:
    asks = job("down", "main", "min2", max_nodes=1)
    assert open_partitions(asks, SITE) == ("main",)
    assert why_never(asks, SITE) == ""


def test_where_none_may_start_it_each_says_why() -> None:
    assert why_never(job("down", "min2", max_nodes=1), SITE) == (
        "partition down is not up; partition min2 gives no job fewer than 2 nodes (MinNodes)"
    )


def test_a_job_that_by_slurms_own_word_lacks_room_alone_is_taken_at_that_word() -> None:
    asks = Job("1", "PENDING", reason="Resources", partitions=("max2",), node_count=3)
    assert open_partitions(asks, SITE) == ("max2",)
    assert why_never(asks, SITE) == ""
