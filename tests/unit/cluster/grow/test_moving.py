"""Jobs that will have to move count as demand from the notice on, and what leaves makes room for others."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.moving import moving_jobs
from agent.cluster.grow.supply import count_supply
from agent.cluster.moment import Moment
from agent.cluster.planner import Planner
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.core.model import AdminDrain, Intent, IntentKind, Share
from agent.core.said import Revocation
from agent.core.slice.ending import Ending
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

SOON, LATE = NOW + timedelta(minutes=10), NOW + timedelta(hours=2)
DEMAND = DemandSettings(node_cpus=4, max_nodes=3)


def node(n: int, allocated: int = 0, **changes: object) -> Node:
    state = "MIXED" if allocated else "IDLE"
    made = Node(f"pc{n}", state, cpus=4, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def running(number: int, *nodes: int, cpus: int = 4, **changes: object) -> Job:
    job = Job(str(number), "RUNNING", partitions=("main",), cpus=cpus, node_count=len(nodes), ends=LATE)
    job = replace(job, nodes=frozenset(f"pc{n}" for n in nodes), submitted=NOW - timedelta(hours=1))
    return replace(job, **{"requeueable": True, "started": NOW - timedelta(hours=1), **changes})  # type: ignore[arg-type]


def revoked(*numbers: int, due: object = SOON) -> dict[str, Revocation]:
    return {f"pc{n}": Revocation(f"pc{n}", f"node-{n}", due, NOW, NOW) for n in numbers}  # type: ignore[arg-type]


def moment(
    *things: Node | Job,
    taken_back: dict[str, Revocation],
    demand: DemandSettings = DEMAND,
    drain: DrainSettings | None = None,
    facts: dict[str, object] | None = None,
    **fields: object,
) -> Moment:
    """Every node is a machine of ours, some are revoked, and the CM has machines to spare."""
    nodes = [t for t in things if isinstance(t, Node)]
    jobs = [t for t in things if isinstance(t, Job)]
    known = {"revocations": taken_back, "shares": {UTAH: Share(9, 20)}, "stays_free": 0.0, **(facts or {})}
    machines = [a_machine(int(n.name.removeprefix("pc"))) for n in nodes]
    settings = settings_with(demand, drain=drain)
    return a_moment(*nodes, machines=machines, jobs=jobs, settings=settings, facts=known, **fields)


def growth(moment: Moment) -> GrowthPlan:
    return Planner().plan(moment).growth


def test_a_machine_is_wanted_at_the_notice_for_a_job_that_cannot_end_in_time() -> None:
    grown = growth(moment(node(1, 4), running(12, 1), taken_back=revoked(1)))
    assert grown.count == 1
    words = "job 12 has to move before 2026-11-22T12:10:00Z and needs 1 machine more"
    assert grown.reasons == (words,)


def test_a_job_that_finds_room_elsewhere_wants_no_machine_and_keeps_that_room() -> None:
    grown = growth(moment(node(1, 4), node(2), running(12, 1), taken_back=revoked(1)))
    assert (grown.count, grown.claimed) == (0, {"pc2"})
    assert grown.jobs[0].why == "has to move; fits on what is free or coming"


def test_no_job_moves_to_a_machine_that_leaves_too() -> None:
    grown = growth(moment(node(1, 4), node(2), running(12, 1), taken_back=revoked(1, 2)))
    assert (grown.count, grown.claimed) == (1, frozenset())


@pytest.mark.parametrize(
    ("job", "drain"),
    [
        (running(12, 1, ends=NOW + timedelta(minutes=9)), None),
        (running(12, 1, requeueable=False), None),
        (running(12, 1, batch=False), None),
        (running(12, 1, requeueable=None), None),
        (running(12, 1), DrainSettings(policies=(DrainPolicy(method="finish"),))),
        (running(12, 1), DrainSettings(requeue_hold=True)),
        (running(12, 1, state="SUSPENDED"), None),
        (running(12, 1, state="COMPLETING"), None),
    ],
    ids=[
        "ends in time",
        "is ended",
        "is interactive",
        "not known",
        "runs on",
        "is held then",
        "is held by Slurm",
        "is over",
    ],
)
def test_what_will_not_wait_for_room_again_wants_no_machine(job: Job, drain: DrainSettings | None) -> None:
    now = moment(node(1, 4), job, taken_back=revoked(1), drain=drain)
    assert moving_jobs(now) == ()
    assert growth(now).count == 0


def test_a_job_that_asks_for_its_nodes_by_name_or_for_a_reservation_wants_no_borrowed_machine() -> None:
    named = running(12, 1, cpus=2, requested_nodes=frozenset({"pc1"}))
    reserved = running(13, 1, cpus=2, reservation="class")
    grown = growth(moment(node(1, 4), named, reserved, taken_back=revoked(1)))
    assert grown.count == 0
    assert [verdict.why.partition("; ")[2] for verdict in grown.jobs] == [
        "asks for nodes by name",
        "asks for the reservation 'class'",
    ]


def test_what_ends_with_its_lease_or_by_an_administrators_deadline_moves_too() -> None:
    ending = Ending(UTAH, SOON, NOW, "refused")
    lease = moment(node(1, 4), running(12, 1), taken_back={}, facts={"endings": {UTAH: ending}})
    assert [move.deadline for move in moving_jobs(lease)] == [SOON]
    wish = AdminDrain("pc1", "disk", "ada", NOW, deadline=SOON, cm=UTAH)
    drained = moment(node(1, 4), running(12, 1), taken_back={}, admin={wish.place: wish})
    assert growth(drained).count == 1


def test_a_job_over_several_nodes_keeps_those_that_stay() -> None:
    wide = running(12, 1, 2, cpus=8)
    assert growth(moment(node(1, 4), node(2, 4), wide, taken_back=revoked(1))).count == 1


def test_all_components_of_a_heterogeneous_job_move() -> None:
    parts = running(0, 1, id="12+0"), running(0, 2, id="12+1")
    now = moment(node(1, 4), node(2, 4), *parts, taken_back=revoked(1))
    assert {move.job.id for move in moving_jobs(now)} == {"12+0", "12+1"}
    assert growth(now).count == 1


def test_a_task_that_moves_takes_the_place_of_itself_in_the_limit_of_its_array() -> None:
    waiting = Job("12", "PENDING", reason="JobArrayTaskLimit", task_count=5, task_limit=1)
    task = running(0, 1, id="12_1")
    assert growth(moment(node(1, 4), task, waiting, taken_back=revoked(1))).count == 1


def test_an_exclusive_job_wants_a_machine_and_not_as_many_cpus_as_it_holds() -> None:
    large = replace(node(1, 16), cpus=16)
    job = running(12, 1, cpus=16, exclusive=True)
    assert growth(moment(large, job, taken_back=revoked(1))).count == 1


def test_a_machine_that_leaves_makes_room_below_the_most_as_far_as_the_settings_allow() -> None:
    full = [node(n, 4) for n in (1, 2, 3)], [running(n, n) for n in (1, 2, 3)]

    def wanted(overlap: int) -> int:
        demand = DEMAND.model_copy(update={"max_overlap": overlap})
        return growth(moment(*full[0], *full[1], taken_back=revoked(1, 2), demand=demand)).count

    assert [wanted(overlap) for overlap in (0, 1, 2, 10_000)] == [0, 1, 2, 2]


def test_the_most_of_a_type_overlaps_as_well() -> None:
    kinds = (MachineType(hardware_type="m510", cpus=4, max_nodes=1),)
    now = moment(node(1, 4), running(12, 1), taken_back=revoked(1), demand=DemandSettings(types=kinds))
    assert growth(now).count == 1
    assert count_supply(now).count_of("m510") == 0


def test_a_machine_that_an_administrator_empties_and_keeps_counts_as_before() -> None:
    wish = AdminDrain("pc1", "disk", "ada", NOW, deadline=SOON, cm=UTAH)
    now = moment(node(1, 4), running(12, 1), taken_back={}, admin={wish.place: wish})
    assert (count_supply(now).count, count_supply(now).going) == (1, {})
    given = replace(now, admin={wish.place: replace(wish, give_back=True)})
    assert (count_supply(given).count, count_supply(given).going) == (0, {"": 1})


def test_once_a_machine_was_asked_for_it_is_not_asked_for_again() -> None:
    asked = (Intent(IntentKind.ADD, UTAH, "node-2", NOW),)
    now = moment(node(1, 4), running(12, 1), taken_back=revoked(1), facts={"requested": asked})
    assert growth(now).count == 0


def test_the_plan_is_the_same_after_the_requeue() -> None:
    asked = (Intent(IntentKind.ADD, UTAH, "node-2", NOW),)
    waits = Job("12", "PENDING", reason="BeginTime", begins=NOW + timedelta(seconds=121), cpus=4)
    drained = node(1, flags=frozenset({"DRAIN"}))
    waits = replace(waits, partitions=("main",))
    now = moment(drained, waits, taken_back=revoked(1), facts={"requested": asked})
    assert growth(now).count == 0


def test_a_revocation_that_is_withdrawn_wants_nothing_and_takes_the_room_back() -> None:
    now = moment(node(1, 4), running(12, 1), taken_back={})
    assert growth(now).count == 0
    assert count_supply(now).count == 1


sizes = st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6)


@given(sizes, st.integers(0, 8), st.integers(0, 8), st.integers(0, 4))
def test_never_more_are_held_than_the_most_and_those_that_leave(
    machines: list[tuple[int, bool]], most: int, overlap: int, asked: int
) -> None:
    demand = DemandSettings(node_cpus=4, max_nodes=most, max_overlap=overlap)
    nodes = [node(n, cpus) for n, (cpus, _) in enumerate(machines, 1)]
    jobs = [running(n, n, cpus=cpus) for n, (cpus, _) in enumerate(machines, 1)]
    leaving = [n for n, (_, leaves) in enumerate(machines, 1) if leaves]
    intents = tuple(Intent(IntentKind.ADD, UTAH, f"node-{90 + n}", NOW) for n in range(asked))
    now = moment(*nodes, *jobs, taken_back=revoked(*leaving), demand=demand, facts={"requested": intents})
    count = growth(now).count
    assert count == 0 or len(machines) + asked + count <= most + min(len(leaving), overlap)
    assert count <= len(leaving), "no job wants more than one machine"
