"""Which jobs that leave their nodes find a place elsewhere, counted with caution."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.grow.places import find_places
from agent.cluster.grow.reserved import NOTHING, Reserved
from agent.cluster.settings.demand import DemandSettings
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW

LEAVES = Node(
    "pc1", "ALLOCATED", frozenset({"DRAIN"}), cpus=4, allocated_cpus=4, memory=1000, partitions=("main",)
)
FREE = Node("pc2", "IDLE", cpus=4, memory=1000, partitions=("main",))
JOB = Job(
    "7", "RUNNING", partitions=("main",), nodes=frozenset({"pc1"}), cpus=4, time_limit=timedelta(hours=1)
)
WAITS = Job("9", "PENDING", partitions=("main",), cpus=4, reason="Resources")


def find(*jobs: Job, others=(), nodes=(LEAVES, FREE), fences=None, reserved: Reserved = NOTHING):
    snapshot = Snapshot(NOW, {node.name: node for node in nodes}, (*jobs, *others))
    fences = {} if fences is None else fences
    return find_places(snapshot, jobs, ["pc1"], fences, DemandSettings(), reserved=reserved)


def booked(minutes: float, *nodes: str, flags: tuple[str, ...] = (), user: str = "bob") -> Reserved:
    starts, users = NOW + timedelta(minutes=minutes), frozenset({user})
    stands = Reservation(
        "r", frozenset(nodes), starts, NOW + timedelta(days=1), frozenset(flags), users=users
    )
    let_go = frozenset(nodes) if minutes <= 0 else frozenset()
    return Reserved(NOW, whole=(stands,), let_go=let_go)


def test_a_free_node_is_a_place() -> None:
    assert find(JOB) == {"7"}


def test_a_place_is_for_one_job_alone() -> None:
    assert find(JOB, replace(JOB, id="8")) == {"7"}
    halves = [replace(JOB, id=number, cpus=2) for number in ("7", "8")]
    assert find(*halves) == {"7", "8"}


NO_PLACE = {
    "the node is full": replace(FREE, state="ALLOCATED", allocated_cpus=4),
    "the node is too small": replace(FREE, cpus=3),
    "the node is drained": replace(FREE, flags=frozenset({"DRAIN"})),
    "the node is reserved": replace(FREE, flags=frozenset({"RESERVED"})),
    "the node is down": replace(FREE, state="DOWN"),
    "the node is in another partition": replace(FREE, partitions=("other",)),
}


@pytest.mark.parametrize("why", NO_PLACE)
def test_there_is_no_place_where(why: str) -> None:
    assert find(JOB, nodes=(LEAVES, NO_PLACE[why])) == frozenset()


@pytest.mark.parametrize(
    "job",
    [
        replace(JOB, requested_nodes=frozenset({"pc2"})),
        replace(JOB, reservation="course"),
        replace(JOB, excluded_nodes=frozenset({"pc2"})),
        replace(JOB, nodes=frozenset({"pc1", "pc3"})),
        replace(JOB, features="gpu"),
    ],
)
def test_a_job_that_may_not_run_there_finds_none(job: Job) -> None:
    assert find(job) == frozenset()


def test_jobs_that_wait_come_first_but_those_that_wait_for_something_else() -> None:
    assert find(JOB, others=[WAITS]) == frozenset()
    assert find(JOB, others=[replace(WAITS, reason="BeginTime")]) == frozenset()
    assert find(JOB, others=[replace(WAITS, requested_nodes=frozenset({"pc2"}))]) == frozenset()
    assert find(JOB, others=[replace(WAITS, reason="JobHeldUser")]) == {"7"}


def test_a_task_of_an_array_of_which_so_many_run_at_once_finds_none_for_sure() -> None:
    task, rest = replace(JOB, id="7_1"), replace(WAITS, id="7_[2-9]", task_count=8, cpus=99)
    assert find(task, others=[rest]) == {"7_1"}
    assert find(task, others=[replace(rest, task_limit=1)]) == frozenset()


def test_a_node_is_no_place_for_what_may_run_into_its_fence() -> None:
    assert find(JOB, fences={"pc2": NOW + timedelta(seconds=3599)}) == frozenset()
    assert find(JOB, fences={"pc2": NOW + timedelta(seconds=3600)}) == {"7"}
    assert find(replace(JOB, time_limit=None), fences={"pc2": NOW + timedelta(days=9)}) == frozenset()


def test_while_fences_are_not_known_there_is_none() -> None:
    snapshot = Snapshot(NOW, {"pc1": LEAVES, "pc2": FREE}, (JOB,))
    assert find_places(snapshot, [JOB], ["pc1"], None, DemandSettings()) == frozenset()


def test_a_node_is_no_place_for_what_would_run_into_a_reservation() -> None:
    assert find(JOB, reserved=booked(59, "pc2")) == frozenset()
    assert find(JOB, reserved=booked(60, "pc2")) == {"7"}
    assert find(JOB, reserved=booked(60, "pc3")) == {"7"}
    assert find(JOB, reserved=booked(30, flags=("ALL_NODES", "MAINT"))) == frozenset()


def test_what_waits_takes_its_place_where_no_reservation_keeps_it_off() -> None:
    there = (LEAVES, replace(FREE, flags=frozenset({"RESERVED"})), replace(FREE, name="pc3"))
    its = booked(-5, "pc2", flags=("MAGNETIC",))
    assert find(JOB, others=[replace(WAITS, user="ann")], nodes=there, reserved=its) == frozenset()
    assert find(JOB, others=[replace(WAITS, user="bob")], nodes=there, reserved=its) == {"7"}


def test_a_component_of_a_heterogeneous_job_finds_none_for_sure() -> None:
    assert find(replace(JOB, id="7+0")) == frozenset()
