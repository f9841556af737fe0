"""Where pending jobs find room, and what is borrowed for those that find none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.grow.packing import Packer, Placed
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings, MachineType, Offer
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.request import Request
from agent.slurm.scheduling import Scheduling

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = DemandSettings(node_cpus=4, max_nodes=10)
SMALL = MachineType(hardware_type="small", cpus=4, memory=4000, max_nodes=3)
BIG = MachineType(hardware_type="big", cpus=16, memory=16000, gres="gpu:1", features=("big",))
TYPES = DemandSettings(max_nodes=10, types=(SMALL, BIG))


def pending(number: int = 1, **changes: object) -> Job:
    job = Job(str(number), "PENDING", reason="Resources", partitions=("main",), cpus=1)
    return replace(job, **changes)  # type: ignore[arg-type]


def running(*nodes: str, **changes: object) -> Job:
    return replace(Job("9", "RUNNING", nodes=frozenset(nodes)), **changes)  # type: ignore[arg-type]


def node(name: str, cpus: int = 4, allocated: int = 0, state: str = "IDLE", **changes: object) -> Node:
    made = Node(name, state, cpus=cpus, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def packer(*things: Job | Node, supply: Supply | None = None, settings: DemandSettings = SETTINGS) -> Packer:
    nodes = {t.name: t for t in things if isinstance(t, Node)}
    jobs = tuple(t for t in things if isinstance(t, Job))
    return Packer(Snapshot(NOW - timedelta(seconds=1), nodes, jobs), supply or Supply(), settings)


def place(found: Packer, *jobs: Job) -> list[Placed]:
    return [found.place(job, may_borrow=True) for job in jobs]


def test_what_is_not_said_of_a_job_is_nothing() -> None:
    assert Placed() == Placed(0, 0, frozenset(), "")


# --- room that is there


def test_a_job_that_finds_room_claims_it_and_borrows_nothing() -> None:
    found = packer(node("n1"), node("n2"))
    assert place(found, pending(cpus=4)) == [Placed()]
    assert (found.claimed, found.count) == ({"n1"}, 0)


def test_a_coming_machine_is_room_without_a_name() -> None:
    found = packer(supply=Supply({"": 1}, {"": 1}))
    assert place(found, pending(cpus=4)) == [Placed()]
    assert found.claimed == set()


def test_machines_of_no_type_that_is_coming_are_none() -> None:
    found = packer(supply=Supply({"": 1}))
    assert place(found, pending()) == [Placed(borrowed=1)]


def test_a_node_that_is_about_to_leave_has_no_room() -> None:
    found = packer(node("n1"), supply=Supply(leaving=frozenset({"n1"})))
    assert place(found, pending()) == [Placed(borrowed=1)]
    assert found.claimed == set()


def test_a_node_of_little_room_is_filled_too() -> None:
    found = packer(node("n1", cpus=1), node("n2", cpus=1))
    assert place(found, pending(1), pending(2)) == [Placed(), Placed()]


def test_a_free_node_has_as_much_as_it_has_and_no_more() -> None:
    found = packer(node("n1"))
    assert place(found, pending(cpus=5)) == [Placed(borrowed=1)]
    assert found.claimed == {"n1"}
    settings = DemandSettings(node_cpus=4, node_memory=32000)
    found = packer(node("n1", memory=16000), settings=settings)
    assert place(found, pending(memory=16001), pending(2, memory=16000)) == [Placed(borrowed=1), Placed()]


def test_a_node_that_completes_jobs_has_what_slurm_has_not_allocated() -> None:
    completing = node("n1", allocated=3, state="MIXED", flags=frozenset({"COMPLETING"}), memory=0)
    found = packer(completing)
    assert place(found, pending(1, cpus=1), pending(2, cpus=1)) == [Placed(), Placed(borrowed=1)]


@pytest.mark.parametrize(
    ("seen", "is_used"),
    [
        (node("n1"), False),
        (node("n1", state="MIXED"), True),
        (node("n1", allocated=1), True),
        (node("n1", allocated=1, state="MIXED"), True),
    ],
)
def test_an_exclusive_job_wants_a_node_that_is_not_used(seen: Node, is_used: bool) -> None:
    found = packer(seen, running("n1"))
    assert place(found, pending(exclusive=True)) == [Placed(borrowed=int(is_used))]


def test_an_exclusive_job_does_not_join_one_that_was_just_placed() -> None:
    found = packer(node("n1"))
    assert place(found, pending(1), pending(2, exclusive=True)) == [Placed(), Placed(borrowed=1)]


def test_a_node_whose_resources_cannot_be_read_offers_none() -> None:
    found = packer(node("n1", gres="what is this"))
    assert place(found, pending(1), pending(2, gres="gpu")) == [
        Placed(),
        Placed(obstacle="borrowed machines do not offer 'gpu'"),
    ]


def test_a_node_whose_jobs_have_more_than_it_offers_has_nothing_left() -> None:
    settings = DemandSettings(node_cpus=4, node_gres="gpu:1")
    found = packer(node("n1", gres="gpu:1"), running("n1", gres="gpu:2"), settings=settings)
    assert place(found, pending(1), pending(2, gres="gpu")) == [Placed(), Placed(borrowed=1)]


# --- machines that are borrowed


@pytest.mark.parametrize(
    ("job", "machines"),
    [
        (pending(cpus=2, memory=9000, memory_per_cpu=True), 2),
        (pending(cpus=2, memory=16000, memory_per_cpu=True), 2),
        (pending(cpus=8, memory=0, memory_per_cpu=True), 2),
        (pending(cpus=8, memory=16000), 2),
        (pending(node_count=0), 1),
    ],
)
def test_a_job_is_spread_where_no_machine_is_large_enough_for_its_share(job: Job, machines: int) -> None:
    settings = DemandSettings(node_cpus=4, node_memory=16000)
    assert place(packer(settings=settings), job) == [Placed(borrowed=machines)]


def test_memory_that_is_not_looked_at_spreads_no_job() -> None:
    assert place(packer(), pending(cpus=8, memory=8000, memory_per_cpu=True)) == [Placed(borrowed=2)]


def test_a_spread_job_takes_free_nodes_even_where_more_are_held_than_may_be() -> None:
    too_many, none_to_spare = Supply({"": 11}), Supply({"": 2}, spare={"": -1})
    for supply in (too_many, none_to_spare):
        found = packer(node("n1"), node("n2"), supply=supply)
        assert place(found, pending(cpus=8)) == [Placed()]


def test_a_spread_job_takes_free_nodes_before_machines_of_a_later_type_are_borrowed() -> None:
    nodes = [node(f"n{n}", memory=4000) for n in range(5)]
    found = packer(*nodes, supply=Supply(spare={"small": -1, "big": 2}), settings=TYPES)
    assert place(found, pending(cpus=20)) == [Placed()]


def test_a_job_that_fits_nowhere_keeps_no_other_from_its_place() -> None:
    found = packer()
    [hopeless, placed] = place(found, pending(1, features="gpu"), pending(2))
    assert hopeless == Placed(obstacle="borrowed machines do not offer 'gpu'")
    assert placed == Placed(borrowed=1)


def test_split_off_tasks_count_once_against_the_limit_of_their_array() -> None:
    task = pending(id="7_1", cpus=4)
    rest = pending(id="7_[2-6]", cpus=4, task_count=5, task_limit=3)
    assert place(packer(task, rest), task, rest) == [Placed(borrowed=1), Placed(borrowed=2)]


def test_a_type_that_the_cms_do_not_tell_of_cannot_be_had() -> None:
    found = packer(supply=Supply(spare={}))
    assert place(found, pending()) == [Placed(beyond=1)]
    assert (found.borrowed.total(), found.beyond.total()) == (0, 1)


def test_machines_that_cannot_be_had_count_against_what_their_type_may_be() -> None:
    settings = DemandSettings(max_nodes=10, types=(SMALL,))
    found = packer(supply=Supply(spare={"small": 0}), settings=settings)
    assert place(found, pending(task_count=5, cpus=4)) == [
        Placed(beyond=3, obstacle="not all fits within max_nodes 10")
    ]


def test_jobs_that_wait_for_one_machine_share_it() -> None:
    found = packer(supply=Supply(spare={"": 0}))
    assert place(found, pending(1, cpus=3), pending(2, cpus=4), pending(3, cpus=1)) == [
        Placed(beyond=1),
        Placed(beyond=1),
        Placed(),
    ]


def test_what_is_to_be_kept_and_cannot_be_had_is_of_the_first_type() -> None:
    found = packer(supply=Supply(spare={"small": 1, "big": 0}), settings=TYPES)
    found.keep_at_least(3)
    assert (+found.borrowed, +found.beyond) == ({"small": 1}, {"small": 2})


# --- why a job finds no place


@pytest.mark.parametrize(
    ("job", "obstacle"),
    [
        (pending(features="big"), "not all fits within max_nodes 0"),
        (pending(gres="gpu"), "not all fits within max_nodes 0"),
        (pending(memory=16000), "not all fits within max_nodes 0"),
        (pending(features="huge"), "borrowed machines do not offer 'huge'"),
        (pending(gres="gpu:2"), "borrowed machines do not offer 'gpu:2'"),
        (pending(memory=16001), "borrowed machines do not offer 16001 MB"),
        (
            pending(memory=16001, memory_per_cpu=True),
            "borrowed machines do not offer 16001 MB for each CPU",
        ),
    ],
)
def test_what_one_type_offers_is_offered(job: Job, obstacle: str) -> None:
    settings = TYPES.model_copy(update={"max_nodes": 0})
    assert place(packer(settings=settings), job) == [Placed(obstacle=obstacle)]


def test_what_cannot_be_read_of_a_machine_is_told_to_who_asks_for_it() -> None:
    came = SETTINGS.model_copy(update={"node_gres": "gpu:a100:2x,shard:4"})
    missing = "borrowed machines do not offer 'gpu:2': how many gpu a machine has cannot be read"
    assert place(packer(settings=came), pending(gres="gpu:2"), pending(2, gres="shard:4")) == [
        Placed(obstacle=missing),
        Placed(borrowed=1),
    ]


def test_a_job_that_has_not_waited_long_enough_finds_only_what_is_there() -> None:
    found = packer(node("n1"))
    assert found.place(pending(1, cpus=4), may_borrow=False) == Placed()
    assert found.place(pending(2, cpus=4), may_borrow=False) == Placed(
        obstacle="waits for less than grow_after, 10 s"
    )
    assert found.place(pending(3, cpus=4), may_borrow=True) == Placed(borrowed=1)


@pytest.mark.parametrize(("counted", "is_enough"), [(True, False), (False, True)])
def test_memory_of_the_system_is_a_jobs_where_slurm_does_not_count_memory(
    counted: bool, is_enough: bool
) -> None:
    offer = Offer("", 4, 8000, "", frozenset(), 10, Layout(4, 1, 1, system_memory=1000))
    found = Packer(
        Snapshot(NOW, {}, ()), Supply(offers=(offer,)), SETTINGS, scheduling=Scheduling(memory=counted)
    )
    assert (found.place(pending(memory=7500), may_borrow=True).borrowed == 1) is is_enough


@pytest.mark.parametrize(("release", "machines"), [((22, 5), 4), ((24, 11), 5), ((26, 5), 5)])
def test_later_releases_count_whole_tasks_alone(release: tuple[int, int], machines: int) -> None:
    found = Packer(Snapshot(NOW, {}, ()), Supply(), SETTINGS, scheduling=Scheduling(release=release))
    request = Request(tasks=5, cpus=15, cpus_per_task=3)
    assert found.place(pending(cpus=15, request=request), may_borrow=True).borrowed == machines
