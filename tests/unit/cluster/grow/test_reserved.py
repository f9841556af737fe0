"""No machine is borrowed, and none counted on, for a job that a reservation keeps off it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.cluster.grow.demand import plan_growth
from agent.cluster.grow.reserved import BOOT, reserved_of
from agent.cluster.grow.supply import count_supply
from agent.cluster.moment import History
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shrink.surplus import plan_surplus
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, a_machine, a_moment, settings_with

HOUR = timedelta(hours=1)
GROWING = settings_with(
    demand=DemandSettings(grow_after=0, idle_timeout=60, min_hold=60, max_nodes=4, node_cpus=4)
)
MAINT = frozenset({"MAINT", "SPEC_NODES"})
ALL = MAINT | {"ALL_NODES"}
IN_MAINT = frozenset({"MAINTENANCE", "RESERVED"})


def waiting(hours: float | None = 1, **fields) -> Job:
    limit = None if hours is None else HOUR * hours
    given = {"reason": "Resources", "partitions": ("main",), "user": "ada", "cpus": 4, **fields}
    return Job("7", "PENDING", time_limit=limit, **given)


def node(name: str = "pc1", **fields) -> Node:
    return Node(name, "IDLE", cpus=4, memory=8000, **{"partitions": ("main",), **fields})


def reserved(begins: float, lasts: float, *nodes: str, flags=MAINT, name="maint", **fields) -> Reservation:
    starts = NOW + HOUR * begins
    return Reservation(name, frozenset(nodes), starts, starts + HOUR * lasts, flags, **fields)


def situation(*jobs: Job, nodes=(), reservations=(), machines=()):
    idle = {each.name: NOW - HOUR for each in nodes}
    return a_moment(
        *nodes,
        machines=machines,
        jobs=jobs,
        settings=GROWING,
        reservations=tuple(reservations),
        history=History(idle_since=idle, joined_since=idle),
    )


def growth(*jobs: Job, nodes=(), reservations=(), machines=()):
    moment = situation(*jobs, nodes=nodes, reservations=reservations, machines=machines)
    return plan_growth(moment, count_supply(moment))


def test_a_job_that_would_run_into_a_maintenance_of_all_nodes_wants_no_machine() -> None:
    plan = growth(waiting(3), nodes=[node()], reservations=[reserved(2, 1, "pc1", flags=ALL)])
    assert (plan.count, plan.claimed, plan.jobs[0].counts) == (0, set(), False)
    assert plan.jobs[0].why == "reservation maint begins at 2026-11-22T14:00:00Z, before it would end"


def test_one_that_ends_before_it_takes_what_is_free() -> None:
    plan = growth(waiting(2), nodes=[node()], reservations=[reserved(2, 1, "pc1", flags=ALL)])
    assert (plan.count, plan.claimed) == (0, {"pc1"})


def test_for_one_that_would_end_before_it_only_on_what_is_there_now_no_machine_comes_in_time() -> None:
    plan = growth(waiting(2), reservations=[reserved(2, 1, flags=ALL)])
    assert plan.count == 0
    assert plan.jobs[0].why == "reservation maint begins at 2026-11-22T14:00:00Z, before it would end"
    assert growth(waiting(1), reservations=[reserved(2, 1, flags=ALL)]).count == 1


def test_a_job_without_a_limit_runs_into_whatever_begins_within_a_year() -> None:
    assert growth(waiting(None), reservations=[reserved(24 * 300, 1, flags=ALL)]).count == 0
    assert growth(waiting(None), reservations=[reserved(24 * 400, 1, flags=ALL)]).count == 1


def test_no_machine_is_borrowed_into_a_maintenance_of_all_nodes() -> None:
    plan = growth(waiting(), reservations=[reserved(-1, 3, flags=ALL)])
    assert plan.count == 0
    assert plan.jobs[0].why == "reservation maint keeps it off until 2026-11-22T14:00:00Z"


def test_one_that_is_over_before_a_machine_comes_keeps_nobody_off() -> None:
    over_soon = reserved(-1, 1 + BOOT / HOUR, "pc1", flags=ALL)
    assert growth(waiting(), reservations=[over_soon]).count == 1
    # What it sets free then is there sooner than a machine that is borrowed.
    assert growth(waiting(), nodes=[node(flags=IN_MAINT)], reservations=[over_soon]).count == 0


@pytest.mark.parametrize("begins", [-1, 0.5])
def test_a_machine_is_borrowed_where_the_free_ones_alone_are_reserved(begins: float) -> None:
    flags = IN_MAINT if begins < 0 else frozenset()
    plan = growth(waiting(), nodes=[node(flags=flags)], reservations=[reserved(begins, 3, "pc1")])
    assert (plan.count, plan.claimed) == (1, set())


def test_a_partition_is_closed_by_a_reservation_of_all_its_nodes() -> None:
    of_main = reserved(-1, 3, "pc1", flags=frozenset({"PART_NODES"}), partition="main")
    assert growth(waiting(), reservations=[of_main]).count == 0
    assert growth(waiting(partitions=("main", "other")), reservations=[of_main]).count == 1
    nodes = [node("pc2", partitions=("other",))]
    plan = growth(waiting(partitions=("main", "other")), nodes=nodes, reservations=[of_main])
    assert (plan.count, plan.claimed) == (0, {"pc2"})


def test_a_job_goes_into_a_magnetic_reservation_of_its_user() -> None:
    there = node(flags=frozenset({"RESERVED"}))
    flags = frozenset({"MAGNETIC", "SPEC_NODES"})
    for user, count in (("ada", 0), ("bob", 1)):
        its = reserved(-1, 3, "pc1", flags=flags, users=frozenset({user}))
        assert growth(waiting(), nodes=[there], reservations=[its]).count == count


def test_no_machine_is_borrowed_for_min_nodes_into_a_maintenance_of_all_nodes() -> None:
    def held(begins: float, flags=ALL):
        at_least = settings_with(demand=DemandSettings(min_nodes=2, max_nodes=4, node_cpus=4))
        moment = a_moment(settings=at_least, reservations=(reserved(begins, 3, "pc9", flags=flags),))
        return plan_growth(moment, count_supply(moment))

    for begins in (-1, 0.1):
        plan = held(begins)
        assert plan.count == 0
        assert plan.reasons[0].startswith("no machine is borrowed for min_nodes: reservation maint ")
    assert (held(1).count, held(-1, MAINT).count) == (2, 2)


def test_of_a_reservation_of_some_cpus_the_others_are_free() -> None:
    there, half = node(flags=frozenset({"RESERVED"})), reserved(-1, 3, "pc1", flags=frozenset(), cpus=2)
    assert growth(waiting(cpus=2), nodes=[there], reservations=[half]).claimed == {"pc1"}
    assert growth(waiting(cpus=3), nodes=[there], reservations=[half]).count == 1
    # A job that wants the node for itself shares it with no reservation.
    assert growth(waiting(cpus=2, exclusive=True), nodes=[there], reservations=[half]).count == 1


def test_a_fence_of_ours_is_counted_by_what_is_wanted_and_not_again() -> None:
    fence = reserved(
        0.5, 1, "pc1", "n9", flags=MAINT | {"IGNORE_JOBS"}, name="esagent-0123456789ab-20261122T123000Z"
    )
    moment = situation(waiting(), nodes=[node(), node("n9")], reservations=[fence], machines=[a_machine(1)])
    assert reserved_of(moment).seen_by(waiting()).excluded_nodes == {"n9"}


def test_flags_of_a_fence_of_ours_that_has_begun_are_left() -> None:
    fence = reserved(
        -1, 2, "pc1", flags=MAINT | {"IGNORE_JOBS"}, name="esagent-0123456789ab-20261122T110000Z"
    )
    other = reserved(-1, BOOT / HOUR + 1, "pc1")
    nodes = [node(flags=IN_MAINT)]
    moment = situation(nodes=nodes, reservations=[fence, other], machines=[a_machine(1)])
    assert not reserved_of(moment).applied_to(moment.snapshot).nodes["pc1"].usable


def test_a_machine_that_is_idle_in_a_maintenance_is_surplus_and_waits_for_no_job() -> None:
    nodes = [node(flags=IN_MAINT)]
    reservations = [reserved(-1, 3, "pc1", flags=ALL)]
    moment = situation(waiting(), nodes=nodes, reservations=reservations, machines=[a_machine(1)])
    plan = plan_growth(moment, count_supply(moment))
    (verdict,) = plan_surplus(moment, plan)
    assert (verdict.name, verdict.goes) == ("pc1", True)


def test_what_is_not_read_keeps_nobody_off() -> None:
    moment = a_moment(node(), jobs=[waiting()], settings=GROWING)
    assert reserved_of(moment).seen_by(waiting()) == waiting()
    assert reserved_of(moment).against(waiting()) == ""
