"""Which machines go back, and which stay."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.demand import GrowthPlan, plan_growth
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shrink.surplus import History, look_back, plan_surplus
from agent.slurm.model import Job, Node, Reservation, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = DemandSettings(node_cpus=4, max_nodes=10, idle_timeout=600, min_hold=900)


def pending(**changes: object) -> Job:
    job = Job("1", "PENDING", reason="Resources", partitions=("main",), submitted=NOW)
    return replace(job, **changes)  # type: ignore[arg-type]


def node(name: str, cpus: int = 4, allocated: int = 0, **changes: object) -> Node:
    state = "ALLOCATED" if allocated == cpus else "MIXED" if allocated else "IDLE"
    made = Node(name, state, cpus=cpus, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(*things: Job | Node) -> Snapshot:
    nodes = {t.name: t for t in things if isinstance(t, Node)}
    return Snapshot(NOW, nodes, tuple(t for t in things if isinstance(t, Job)))


def surplus(
    *things: Job | Node,
    idle: Mapping[str, float],
    values: Mapping[str, float] | None = None,
    growth: GrowthPlan | None = None,
    joined: Mapping[str, float] | None = None,
    reservations: tuple[Reservation, ...] = (),
    settings: DemandSettings = SETTINGS,
) -> list[str]:
    seen = snapshot(*things)
    ours = [n for n in seen.nodes if n.startswith("pc")]
    found = plan_surplus(
        seen,
        ours=ours,
        history=History(ago(idle), ago(dict.fromkeys(ours, 9999) | dict(joined or {}))),
        values=values or {},
        growth=growth or queue(seen, settings),
        settings=settings,
        now=NOW,
        reservations=reservations,
    )
    assert sorted(v.name for v in found) == sorted(ours)
    assert all(v.why for v in found)
    return [v.name for v in found if v.goes]


def ago(ages: Mapping[str, float]) -> dict[str, datetime]:
    return {name: NOW - timedelta(seconds=age) for name, age in ages.items()}


def queue(seen: Snapshot, settings: DemandSettings) -> GrowthPlan:
    supply = Supply({"": sum(name.startswith("pc") for name in seen.nodes)})
    return plan_growth(seen, supply=supply, waiting_since={}, settings=settings, partitions=("main",))


def test_machines_that_were_idle_long_enough_go_back() -> None:
    assert surplus(node("pc1"), node("pc2"), node("head"), idle={"pc1": 600, "pc2": 599, "head": 9999}) == [
        "pc1"
    ]


def test_the_most_wanted_machine_goes_first() -> None:
    idle = {"pc1": 900, "pc2": 700, "pc3": 800}
    found = surplus(node("pc1"), node("pc2"), node("pc3"), idle=idle, values={"pc2": 0.9, "pc3": 0.1})
    assert found == ["pc2", "pc3", "pc1"]


def test_min_nodes_stay() -> None:
    settings = SETTINGS.model_copy(update={"min_nodes": 1})
    assert surplus(node("pc1"), node("pc2"), idle={"pc1": 900, "pc2": 800}, settings=settings) == ["pc1"]


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
    assert surplus(node("pc1"), thing, idle={"pc1": 9999}) == []


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
    assert surplus(seen, idle={"pc1": 9999}) == []


def test_nothing_goes_while_more_is_wanted() -> None:
    assert surplus(node("pc1"), idle={"pc1": 9999}, growth=GrowthPlan(1)) == []


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
    [(reservation(3600), True), (reservation(-1), False), (reservation(3600, "MAINT"), False)],
)
def test_a_reservation_that_names_a_node_keeps_it_until_it_ends(kept_by: Reservation, stays: bool) -> None:
    assert surplus(node("pc1"), idle={"pc1": 9999}, reservations=(kept_by,)) == ([] if stays else ["pc1"])


def seen_after(seconds: float, *nodes: Node, earlier: History | None, joined: str = "pc1") -> History:
    seen = replace(snapshot(*nodes), taken=NOW + timedelta(seconds=seconds))
    return look_back(seen, earlier, {joined} & seen.nodes.keys())


def test_a_restart_of_the_agent_begins_no_time_anew() -> None:
    long_ago, lately = NOW - timedelta(seconds=1200), NOW - timedelta(seconds=500)
    first = seen_after(0, node("pc1", booted=long_ago, last_busy=lately), node("pc2"), earlier=None)
    assert first.idle_since == {"pc1": lately, "pc2": NOW}
    assert first.joined_since == {"pc1": long_ago}
    assert seen_after(60, node("pc1"), earlier=first).idle_since == {"pc1": lately}


def test_a_machine_of_ours_that_the_manifest_tells_later_was_there_all_the_same() -> None:
    there = node("pc1", booted=NOW - timedelta(seconds=1200))
    first = seen_after(0, there, earlier=None, joined="")
    assert seen_after(60, there, earlier=first).joined_since == {"pc1": there.booted}


def test_a_node_that_comes_later_is_idle_and_joined_from_then_on() -> None:
    first = seen_after(0, earlier=None)
    came = NOW + timedelta(seconds=60)
    later = seen_after(60, node("pc1", booted=NOW - timedelta(hours=9), last_busy=NOW), earlier=first)
    assert (later.idle_since, later.joined_since) == ({"pc1": came}, {"pc1": came})


def test_a_node_that_was_drained_meanwhile_is_idle_from_its_return_on() -> None:
    busy = {"last_busy": NOW - timedelta(hours=1)}
    first = seen_after(0, node("pc1", **busy), earlier=None)
    drained = seen_after(60, node("pc1", flags=frozenset({"DRAIN"}), **busy), earlier=first)
    assert drained.idle_since == {}
    back = seen_after(120, node("pc1", **busy), earlier=drained)
    assert back.idle_since == {"pc1": NOW + timedelta(seconds=120)}


def test_a_time_in_the_future_counts_as_now() -> None:
    ahead = {"booted": NOW + timedelta(hours=1), "last_busy": NOW + timedelta(hours=1)}
    first = seen_after(0, node("pc1", **ahead), earlier=None)
    assert (first.idle_since, first.joined_since) == ({"pc1": NOW}, {"pc1": NOW})
