"""How many machines the queue wants, and which go back."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slurm.demand import DemandSettings, GrowthPlan, plan_growth, plan_surplus
from agent.slurm.model import Job, Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = DemandSettings(node_cpus=4, features=("ssd",), max_nodes=10, idle_timeout=600)


def pending(number: int = 1, **changes: object) -> Job:
    job = Job(str(number), "PENDING", reason="Resources", partitions=("main",), cpus=1)
    return replace(job, submitted=NOW + timedelta(seconds=number), **changes)  # type: ignore[arg-type]


def node(name: str, cpus: int = 4, allocated: int = 0, **changes: object) -> Node:
    state = "ALLOCATED" if allocated == cpus else "MIXED" if allocated else "IDLE"
    made = Node(name, state, cpus=cpus, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(*things: Job | Node) -> Snapshot:
    nodes = {t.name: t for t in things if isinstance(t, Node)}
    return Snapshot(NOW, nodes, tuple(t for t in things if isinstance(t, Job)))


def growth(
    *things: Job | Node, ours: tuple[str, ...] = (), coming: int = 0, settings: DemandSettings = SETTINGS
) -> GrowthPlan:
    return plan_growth(snapshot(*things), ours=ours, coming=coming, settings=settings, partitions=("main",))


def test_an_empty_queue_wants_nothing() -> None:
    assert growth(node("head")) == GrowthPlan(0)


@pytest.mark.parametrize(
    ("jobs", "count"),
    [
        ([pending(cpus=4)], 1),
        ([pending(1, cpus=3), pending(2, cpus=1)], 1),
        ([pending(1, cpus=3), pending(2, cpus=2)], 2),
        ([pending(node_count=3, cpus=3)], 3),
        ([pending(node_count=2, cpus=8)], 2),
        ([pending(cpus=16)], 4),
        ([pending(exclusive=True), pending(2)], 2),
        ([pending(exclusive=True, node_count=2, cpus=2)], 2),
        ([pending(task_count=8)], 2),
        ([pending(task_count=100)], 10),
        ([pending(task_count=100, task_limit=4)], 1),
        ([pending(features="ssd")], 1),
        ([pending(features="ssd|gpu")], 1),
        ([pending(partitions=("other", "main"))], 1),
        ([pending(reason="Priority")], 1),
        ([pending(reason="None")], 1),
        ([pending(reason="ReqNodeNotAvail")], 1),
        ([pending(reason="BeginTime", begins=NOW + timedelta(seconds=121))], 1),
        ([pending(reason="PartitionConfig", node_count=3, cpus=3)], 3),
    ],
)
def test_jobs_that_wait_for_room_are_counted_in_machines(jobs: list[Job], count: int) -> None:
    assert growth(*jobs).count == count


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (pending(reason="JobHeldUser"), "JobHeldUser"),
        (pending(reason="JobHeldAdmin"), "JobHeldAdmin"),
        (pending(reason="Dependency"), "Dependency"),
        (pending(reason="JobArrayTaskLimit"), "JobArrayTaskLimit"),
        (pending(reason="QOSMaxCpuPerUserLimit"), "QOSMaxCpuPerUserLimit"),
        (pending(reason="BeginTime", begins=NOW + timedelta(hours=5)), "BeginTime"),
        (pending(reason="BeginTime"), "BeginTime"),
        (pending(reason="PartitionConfig"), "PartitionConfig"),
        (pending(reason=""), "unknown"),
        (pending(requested_nodes=frozenset({"n1"})), "by name"),
        (pending(reason="ReqNodeNotAvail", requested_nodes=frozenset({"n1"})), "by name"),
        (pending(partitions=("gpu",)), "other partitions"),
        (pending(features="gpu"), "do not offer 'gpu'"),
        (pending(node_count=11, cpus=11), "max_nodes 10"),
        (pending(cpus=41), "max_nodes 10"),
    ],
)
def test_other_jobs_are_not_counted_and_it_is_said_why(job: Job, why: str) -> None:
    plan = growth(job, node("head", allocated=4))
    assert plan.count == 0
    assert why in plan.reasons[0]
    assert plan.reasons[0].startswith("1 job not counted")


def test_running_jobs_are_no_demand() -> None:
    assert growth(Job("1", "RUNNING", nodes=frozenset({"head"})), node("head", allocated=4)).count == 0


def test_free_cpus_and_coming_machines_are_subtracted() -> None:
    jobs = [pending(n) for n in range(1, 14)]
    assert growth(*jobs).count == 4
    assert growth(*jobs, node("head", allocated=3)).count == 3
    assert growth(*jobs, node("head", allocated=3), coming=2).count == 1
    assert growth(*jobs, node("head", allocated=3), coming=9).count == 0


@pytest.mark.parametrize(
    "useless",
    [
        node("n1", flags=frozenset({"DRAIN"})),
        node("n1", state="DOWN"),
        node("n1", partitions=("other",)),
        node("n1", flags=frozenset({"POWERED_DOWN"})),
    ],
)
def test_cpus_that_slurm_cannot_give_are_not_subtracted(useless: Node) -> None:
    assert growth(pending(), useless).count == 1


def test_an_exclusive_job_takes_no_machine_that_is_used_in_part() -> None:
    assert growth(pending(exclusive=True), node("n1", allocated=1)).count == 1
    assert growth(pending(exclusive=True), node("n1")).count == 0


def test_running_tasks_use_up_the_limit_of_their_array() -> None:
    running = Job("7_1", "RUNNING", nodes=frozenset({"head"}))
    waiting = replace(pending(task_count=50, task_limit=2, cpus=4), id="7_[2-51]")
    assert growth(running, waiting, node("head", allocated=4)).count == 1


def test_the_cap_counts_machines_that_are_held_or_coming() -> None:
    jobs = [pending(n, cpus=4) for n in range(1, 30)]
    busy = [node(f"pc{n}", allocated=4) for n in range(4)]
    plan = growth(*jobs, *busy, ours=tuple(n.name for n in busy), coming=3)
    assert plan.count == 3
    assert any("max_nodes 10" in reason for reason in plan.reasons)


def test_min_nodes_are_kept_without_any_job() -> None:
    settings = SETTINGS.model_copy(update={"min_nodes": 3})
    assert growth(ours=("pc1",), coming=1, settings=settings).count == 1


def test_reasons_stay_few_however_long_the_queue() -> None:
    settings = SETTINGS.model_copy(update={"max_nodes": 1000})
    plan = growth(*(pending(n, cpus=4) for n in range(1, 501)), settings=settings)
    assert plan.count == 500
    assert len(plan.reasons) <= 25


JOBS = st.lists(
    st.builds(
        lambda cpus, nodes, exclusive, tasks, reason, features: pending(
            cpus=max(cpus, nodes),
            node_count=nodes,
            exclusive=exclusive,
            task_count=tasks,
            reason=reason,
            features=features,
        ),
        st.integers(1, 12),
        st.integers(1, 4),
        st.booleans(),
        st.integers(1, 30),
        st.sampled_from(["Resources", "Priority", "Dependency"]),
        st.sampled_from(["", "ssd", "gpu"]),
    ),
    max_size=8,
).map(
    lambda jobs: [replace(j, id=str(n), submitted=NOW + timedelta(seconds=n)) for n, j in enumerate(jobs, 1)]
)
NODES = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=4).map(
    lambda sizes: [node(f"n{i}", cpus, min(used, cpus)) for i, (cpus, used) in enumerate(sizes)]
)


@given(JOBS, NODES, st.integers(0, 12), st.integers(0, 12), st.integers(0, 5))
def test_growth_keeps_within_its_bounds(
    jobs: list[Job], nodes: list[Node], coming: int, most: int, least: int
) -> None:
    settings = SETTINGS.model_copy(update={"max_nodes": most, "min_nodes": min(least, most)})
    count = growth(*jobs, *nodes, coming=coming, settings=settings).count
    assert count >= 0
    assert count == 0 or coming + count <= most
    assert coming + count >= min(least, most)


@given(JOBS, NODES, st.integers(0, 5))
def test_one_more_job_at_the_end_never_lowers_the_demand(
    jobs: list[Job], nodes: list[Node], coming: int
) -> None:
    counts = [growth(*jobs[:n], *nodes, coming=coming).count for n in range(len(jobs) + 1)]
    assert counts == sorted(counts)


@given(JOBS, NODES, st.integers(0, 5))
def test_each_coming_machine_lowers_the_demand_by_one(
    jobs: list[Job], nodes: list[Node], coming: int
) -> None:
    settings = SETTINGS.model_copy(update={"max_nodes": 10**6})
    before = growth(*jobs, *nodes, coming=coming, settings=settings).count
    after = growth(*jobs, *nodes, coming=coming + 1, settings=settings).count
    assert after == max(before - 1, 0)


def surplus(
    *things: Job | Node,
    idle: Mapping[str, float],
    values: Mapping[str, float] | None = None,
    plan: GrowthPlan | None = None,
    settings: DemandSettings = SETTINGS,
) -> list[str]:
    seen = snapshot(*things)
    ours = [n for n in seen.nodes if n.startswith("pc")]
    found = plan_surplus(
        seen,
        ours=ours,
        idle_since={n: NOW - timedelta(seconds=s) for n, s in idle.items()},
        values=values or {},
        growth=plan or plan_growth(seen, ours=ours, coming=0, settings=settings),
        settings=settings,
        now=NOW,
    )
    assert all(s.reason for s in found)
    return [s.name for s in found]


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
    assert surplus(node("pc1"), idle={"pc1": 9999}, plan=GrowthPlan(1)) == []


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
