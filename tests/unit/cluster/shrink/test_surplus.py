"""Which machines go back, and which stay."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.demand import GrowthPlan, plan_growth
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import History, Moment
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shrink.surplus import names_in_use, plan_surplus
from agent.core.model import SliverNode
from agent.core.said import ResourceValue, Taken
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

SETTINGS = DemandSettings(node_cpus=4, max_nodes=10, idle_timeout=600, min_hold=900)


def pending(**changes: object) -> Job:
    job = Job("1", "PENDING", reason="Resources", partitions=("main",), submitted=NOW)
    return replace(job, **changes)  # type: ignore[arg-type]


def node(name: str, cpus: int = 4, allocated: int = 0, **changes: object) -> Node:
    state = "ALLOCATED" if allocated == cpus else "MIXED" if allocated else "IDLE"
    made = Node(name, state, cpus=cpus, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def surplus(
    *things: Job | Node,
    idle: Mapping[str, float],
    values: Mapping[str, float] | None = None,
    growth: GrowthPlan | None = None,
    joined: Mapping[str, float] | None = None,
    reservations: tuple[Reservation, ...] = (),
    settings: DemandSettings = SETTINGS,
) -> list[str]:
    nodes = [t for t in things if isinstance(t, Node)]
    ours = [n.name for n in nodes if n.name.startswith("pc")]
    told = {name: ResourceValue(name, value, NOW) for name, value in (values or {}).items()}
    moment = a_moment(
        *nodes,
        machines=[SliverNode(name, name, UTAH, f"urn:{name}") for name in ours],
        jobs=[t for t in things if isinstance(t, Job)],
        settings=settings_with(settings, partitions=("main",)),
        facts={"values": told},
        history=History(ago(idle), ago(dict.fromkeys(ours, 9999) | dict(joined or {}))),
        reservations=reservations,
    )
    found = plan_surplus(moment, growth or queue(moment))
    assert sorted(v.name for v in found) == sorted(ours)
    assert all(v.why for v in found)
    return [v.name for v in found if v.goes]


def ago(ages: Mapping[str, float]) -> dict[str, datetime]:
    return {name: NOW - timedelta(seconds=age) for name, age in ages.items()}


def queue(moment: Moment) -> GrowthPlan:
    return plan_growth(moment, Supply({"": len(moment.machines)}))


def test_machines_that_were_idle_long_enough_go_back() -> None:
    assert surplus(node("pc1"), node("pc2"), node("head"), idle={"pc1": 600, "pc2": 599, "head": 5000}) == [
        "pc1"
    ]


def test_the_most_wanted_machine_goes_first() -> None:
    idle = {"pc1": 900, "pc2": 700, "pc3": 800}
    found = surplus(node("pc1"), node("pc2"), node("pc3"), idle=idle, values={"pc2": 0.9, "pc3": 0.1})
    assert found == ["pc2", "pc3", "pc1"]


def test_a_machine_that_cloudlab_says_nothing_of_goes_like_one_of_value_0() -> None:
    idle = {"pc1": 900, "pc2": 800}
    assert surplus(node("pc1"), node("pc2"), idle=idle, values={"pc2": 0.0}) == ["pc1", "pc2"]
    assert surplus(node("pc1"), node("pc2"), idle=idle, values={"pc1": 0.0}) == ["pc1", "pc2"]


@pytest.mark.parametrize(("least", "goes"), [(0, ["pc1", "pc2"]), (1, ["pc1"]), (2, []), (3, [])])
def test_min_nodes_stay(least: int, goes: list[str]) -> None:
    settings = SETTINGS.model_copy(update={"min_nodes": least})
    idle = {"pc1": 900, "pc2": 800}
    assert surplus(node("pc1"), node("pc2"), idle=idle, growth=GrowthPlan(0), settings=settings) == goes


@pytest.mark.parametrize(
    "thing",
    [
        Job("1", "RUNNING", nodes=frozenset({"pc1"})),
        Job("1", "COMPLETING", nodes=frozenset({"pc1"})),
        pending(requested_nodes=frozenset({"pc1"}), reason="Dependency"),
        pending(),
    ],
)
def test_a_node_that_a_job_holds_names_or_is_about_to_take_stays(thing: Job) -> None:
    assert surplus(node("pc1"), thing, idle={"pc1": 5000}) == []


@pytest.mark.parametrize(
    "seen",
    [
        node("pc1", allocated=1),
        node("pc1", flags=frozenset({"COMPLETING"})),
        node("pc1", flags=frozenset({"DRAIN"})),
        node("pc1", state="DOWN"),
        node("pc1", state="SOMETHING_NEW"),
    ],
)
def test_a_node_that_is_not_plainly_idle_stays(seen: Node) -> None:
    assert surplus(seen, idle={"pc1": 5000}) == []


def test_nothing_goes_while_more_is_wanted() -> None:
    assert surplus(node("pc1"), idle={"pc1": 5000}, growth=GrowthPlan(1)) == []


JOBS = st.lists(
    st.builds(
        lambda number, cpus, reason, names: pending(
            id=str(number), cpus=cpus, reason=reason, requested_nodes=frozenset(names)
        ),
        st.integers(1, 99),
        st.integers(1, 12),
        st.sampled_from(["Resources", "Dependency"]),
        st.sets(st.sampled_from(["pc0", "pc1"]), max_size=1),
    ),
    max_size=4,
)


@given(JOBS, st.lists(st.integers(0, 2000), max_size=8), st.integers(0, 4))
def test_surplus_is_ours_idle_and_never_below_the_minimum(
    jobs: list[Job], ages: list[int], least: int
) -> None:
    settings = SETTINGS.model_copy(update={"min_nodes": least})
    machines = [node(f"pc{n}") for n in range(len(ages))]
    found = surplus(
        *jobs, *machines, node("head"), idle={f"pc{n}": a for n, a in enumerate(ages)}, settings=settings
    )
    assert len(machines) - len(found) >= min(least, len(machines))
    assert len(set(found)) == len(found)
    assert all(ages[int(name.removeprefix("pc"))] >= 600 for name in found)
    assert not {n for job in jobs for n in job.requested_nodes} & set(found)


def test_a_machine_that_has_just_joined_is_held_for_a_while() -> None:
    assert surplus(node("pc1"), idle={"pc1": 700}, joined={"pc1": 899}) == []
    assert surplus(node("pc1"), idle={"pc1": 700}, joined={"pc1": 900}) == ["pc1"]


def reservation(ends: float, *flags: str) -> Reservation:
    end = NOW + timedelta(seconds=ends)
    return Reservation("training", frozenset({"pc1"}), NOW - timedelta(days=1), end, frozenset(flags))


@pytest.mark.parametrize(
    ("kept_by", "stays"),
    [
        (reservation(3600), True),
        (reservation(0), False),
        (reservation(-1), False),
        (reservation(3600, "MAINT"), False),
    ],
)
def test_a_reservation_that_names_a_node_keeps_it_until_it_ends(kept_by: Reservation, stays: bool) -> None:
    assert surplus(node("pc1"), idle={"pc1": 5000}, reservations=(kept_by,)) == ([] if stays else ["pc1"])


def test_a_node_that_somebody_empties_or_that_is_not_ours_gets_no_verdict() -> None:
    nodes = [Node(f"pc{n}", "IDLE") for n in range(1, 5)]
    moment = a_moment(
        *nodes,
        machines=[a_machine(1), a_machine(2), a_machine(3), a_machine(9)],
        facts={"taken": {"pc2": Taken("pc2", "", NOW)}},
        chosen=frozenset({"pc3"}),
    )
    assert [verdict.name for verdict in plan_surplus(moment, GrowthPlan(0))] == ["pc1"]


def test_before_slurm_was_read_there_are_no_verdicts() -> None:
    assert plan_surplus(a_moment(machines=[a_machine(1)], snapshot=None), GrowthPlan(0)) == ()


def test_without_a_history_nothing_was_idle() -> None:
    moment = a_moment(Node("pc1", "IDLE"), machines=[a_machine(1)], history=None)
    assert [(v.goes, v.why) for v in plan_surplus(moment, GrowthPlan(0))] == [(False, "Slurm says IDLE")]


@pytest.mark.parametrize(
    ("changes", "growth", "why"),
    [
        ({"flags": frozenset({"DRAIN"})}, GrowthPlan(0), "drained: without a reason"),
        ({"flags": frozenset({"DRAIN"}), "reason": "a new disk"}, GrowthPlan(0), "drained: a new disk"),
        ({"state": "DOWN"}, GrowthPlan(0), "Slurm says DOWN"),
        ({}, GrowthPlan(1, claimed=frozenset({"pc1"})), "pending jobs are expected to take it"),
        ({}, GrowthPlan(1), "the queue wants more machines"),
    ],
)
def test_it_is_said_why_a_node_stays(changes: dict[str, object], growth: GrowthPlan, why: str) -> None:
    moment = a_moment(
        node("pc1", **changes),
        machines=[a_machine(1)],
        history=History(ago({"pc1": 5000}), ago({"pc1": 9999})),
    )
    assert [verdict.why for verdict in plan_surplus(moment, growth)] == [why]


@pytest.mark.parametrize(
    ("idle", "joined", "least", "why"),
    [
        (599, 9999, 0, "idle for 599s, less than idle_timeout 10m"),
        (600, 899, 0, "joined 899s ago, less than min_hold 15m"),
        (600, 900, 0, "idle for 10m and nothing waits for it"),
        (600, 900, 1, "min_nodes is 1"),
    ],
)
def test_times_that_keep_a_node_are_told(idle: float, joined: float, least: int, why: str) -> None:
    moment = a_moment(
        node("pc1"),
        machines=[a_machine(1)],
        settings=settings_with(SETTINGS.model_copy(update={"min_nodes": least})),
        history=History(ago({"pc1": idle}), ago({"pc1": joined})),
    )
    assert [verdict.why for verdict in plan_surplus(moment, GrowthPlan(0))] == [why]


def test_who_names_a_node_is_told_a_job_on_it_before_one_that_asks_before_a_reservation() -> None:
    on, asks = (
        Job("1", "RUNNING", nodes=frozenset({"pc1"})),
        pending(requested_nodes=frozenset({"pc1", "pc2"})),
    )
    kept = replace(reservation(1), nodes=frozenset({"pc1", "pc2", "pc3"}))
    assert names_in_use([asks, on], [kept, reservation(0)], NOW) == {
        "pc1": "job 1 is on it",
        "pc2": "job 1 asks for it by name",
        "pc3": "reservation training names it",
    }
    assert names_in_use([replace(on, requested_nodes=frozenset({"pc2"}))], [], NOW) == {
        "pc1": "job 1 is on it"
    }
