"""What a waiting job asks for, in the one form that every way in gives it."""

import pytest

from agent.slurm import asked
from agent.slurm.request import Request


@pytest.mark.parametrize(
    ("told", "texts"),
    [
        ("gpu:1,gpu:a100:2", ["gres:gpu:1", "gres/gpu:a100:2"]),
        ("gpu:1", ["cpu=2,gres/gpu=1", "N/A", "(null)", ""]),
        ("", ["cpu:2"]),
    ],
)
def test_generic_resources_alone_are_told(told: str, texts: list[str]) -> None:
    assert asked.gres_alone(*texts) == told


@pytest.mark.parametrize(
    ("held", "per_node", "per_job", "per_task", "tasks", "nodes"),
    [
        ("gpu:2", "gres:gpu:2", "N/A", "N/A", 8, 3),
        ("gpu:2", "N/A", "gres:gpu:4", "N/A", 4, 3),
        ("gpu:2", "N/A", "N/A", "gres:gpu:1", 4, 2),
        ("gpu:2,shard:1", "gres:gpu:1", "gres:gpu:1,gres:shard:1", "N/A", 1, 2),
        ("gpu:a100:1", "N/A", "gres/gpu:a100=1", "cpu=2", 1, 1),
        ("gpu:x:y:z", "gres:gpu:x:y:z", "N/A", "N/A", 1, 1),
        ("", "N/A", "(null)", "", 1, 0),
    ],
)
def test_what_a_job_holds_on_each_node_is_not_what_it_asked_for_in_all(
    held: str, per_node: str, per_job: str, per_task: str, tasks: int, nodes: int
) -> None:
    assert asked.held_gres(per_node, per_job, per_task, tasks, nodes) == held


@pytest.mark.parametrize(
    ("tres", "nodes"),
    [("cpu=5,mem=8000M,node=1,billing=5", 1), ("cpu=4,node=12", 12), ("", 3), ("cpu=1,gres/node=9", 3)],
)
def test_how_many_nodes_it_asked_for_is_not_how_many_slurm_thinks_of(tres: str, nodes: int) -> None:
    assert asked.least_nodes(tres, 3) == nodes


@pytest.mark.parametrize(("told", "cores", "threads"), [(0xFFFE, 0, 0), (2, 2, 0), (0x8001, 0, 1), (0, 0, 0)])
def test_cores_and_threads_set_aside(told: int, cores: int, threads: int) -> None:
    assert asked.spec_of(told) == (cores, threads)


@pytest.mark.parametrize(
    ("most", "tasks", "left"),
    [(1, 5, 1), (5, 5, 0), (6, 5, 0), (2, 2, 0), (1, 1, 0), (0, 4, 0)],
)
def test_a_maximum_of_nodes_counts_where_it_binds(most: int, tasks: int, left: int) -> None:
    assert asked.tidy(Request(max_nodes=most, tasks=tasks, cpus=tasks)).max_nodes == left


def test_one_task_may_have_more_nodes_for_generic_resources_in_all() -> None:
    assert asked.tidy(Request(max_nodes=1, per_job="gpu:3")).max_nodes == 1
    assert asked.tidy(Request(max_nodes=1, per_node="gpu:3")).max_nodes == 0


def test_more_tasks_than_cpus_is_overcommitting() -> None:
    assert asked.whole(Request(tasks=4, cpus=1), "cpu=1,node=1", 1).overcommit
    assert not asked.whole(Request(tasks=4, cpus=4), "cpu=4,node=1", 1).overcommit


@pytest.mark.parametrize(
    ("request_", "per_task"),
    [
        (Request(tasks=2, cpus=6, cpus_per_node=3, cpus_per_task=0), 3),
        (Request(tasks=4, cpus=4, cpus_per_node=3, cpus_per_task=0), 1),
        (Request(tasks=4, cpus=1, cpus_per_node=2, cpus_per_task=0), 1),
        (Request(tasks=2, cpus=8, cpus_per_task=2), 2),
    ],
)
def test_cpus_of_a_task_that_nobody_tells_are_the_most_that_they_can_be(
    request_: Request, per_task: int
) -> None:
    assert asked.settled(request_).cpus_per_task == per_task


@pytest.mark.parametrize(
    ("state", "reason", "counts"),
    [("PENDING", "Resources", True), ("PENDING", "JobHeldUser", False), ("RUNNING", "None", False)],
)
def test_what_it_asks_for_matters_while_it_waits_for_nodes(state: str, reason: str, *, counts: bool) -> None:
    assert asked.counts(state, reason) == counts
