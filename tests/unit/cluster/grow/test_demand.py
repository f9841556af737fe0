"""How many machines the queue wants."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.demand import GrowthPlan, plan_growth, still_waiting
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import History, Moment
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.request import Request
from agent.slurm.scheduling import PartitionRules, Scheduling
from tests.unit.cluster.conftest import NOW, a_moment, settings_with

SETTINGS = DemandSettings(node_cpus=4, features=("ssd",), max_nodes=10, idle_timeout=600)


def pending(number: int = 1, **changes: object) -> Job:
    job = Job(str(number), "PENDING", reason="Resources", partitions=("main",), cpus=1)
    return replace(job, submitted=NOW + timedelta(seconds=number), **changes)  # type: ignore[arg-type]


def node(name: str, cpus: int = 4, allocated: int = 0, **changes: object) -> Node:
    state = "ALLOCATED" if allocated == cpus else "MIXED" if allocated else "IDLE"
    made = Node(name, state, cpus=cpus, allocated_cpus=allocated, partitions=("main",))
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(*things: Job | Node) -> Snapshot:
    """Put nodes and jobs together; what is allocated on a node is held by a job."""
    nodes = {t.name: t for t in things if isinstance(t, Node)}
    jobs = [t for t in things if isinstance(t, Job)]
    held = frozenset(name for job in jobs for name in job.nodes)
    used = frozenset(node.name for node in nodes.values() if node.allocated_cpus)
    jobs += [Job(f"9{n}", "RUNNING", nodes=frozenset({name})) for n, name in enumerate(sorted(used - held))]
    return Snapshot(NOW, nodes, tuple(jobs))


def growth(
    *things: Job | Node, ours: tuple[str, ...] = (), coming: int = 0, settings: DemandSettings = SETTINGS
) -> GrowthPlan:
    """Plan with machines of the one type, and jobs that have waited long enough."""
    return plan(*things, supply=Supply({"": len(ours) + coming}, {"": coming}), settings=settings)


def plan(*things: Job | Node, supply: Supply, settings: DemandSettings = SETTINGS) -> GrowthPlan:
    now = seen(snapshot(*things), {}, settings, partitions=("main",))
    waiting = dict.fromkeys(still_waiting(now), NOW - timedelta(hours=1))
    return plan_growth(replace(now, history=History(waiting_since=waiting)), supply)


def seen(
    read: Snapshot,
    waiting: Mapping[str, datetime] | None,
    settings: DemandSettings = SETTINGS,
    partitions: tuple[str, ...] = (),
) -> Moment:
    """Return a moment in which this was read, and it is known since when jobs wait; None in the first."""
    history = None if waiting is None else History(waiting_since=waiting)
    return a_moment(snapshot=read, history=history, settings=settings_with(settings, partitions=partitions))


def test_before_slurm_was_read_nothing_is_wanted() -> None:
    settings = settings_with(DemandSettings(min_nodes=1))
    assert plan_growth(a_moment(snapshot=None, settings=settings), Supply()) == GrowthPlan(0)


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
        ([pending(reason="Reservation")], 1),
        ([pending(reason="SchedDefer")], 1),
        ([pending(reason="Constraints")], 1),
        ([pending(reason="BeginTime", begins=NOW + timedelta(seconds=121))], 1),
        ([pending(reason="BeginTime", begins=NOW + timedelta(seconds=600))], 1),
        ([pending(reason="PartitionConfig", node_count=3, cpus=3)], 3),
        ([pending(reason="PartitionNodeLimit", node_count=3, cpus=3)], 3),
        ([pending(1, reason="Dependency"), pending(2)], 1),
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


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (pending(partitions=("gpu",)), "in other partitions"),
        (pending(requested_nodes=frozenset({"n1"})), "asks for nodes by name"),
        (pending(reason="Dependency"), "waits for something else (Dependency)"),
        (pending(reason=""), "waits for something else (unknown)"),
        (
            pending(reason="BeginTime", begins=NOW + timedelta(seconds=601)),
            "does not begin within begin_horizon, 10m (BeginTime)",
        ),
    ],
)
def test_jobs_that_are_not_counted_are_told_together(job: Job, why: str) -> None:
    assert growth(job).reasons == (f"1 job not counted: {why}",)
    assert growth(job, replace(job, id="2")).reasons == (f"2 jobs not counted: {why}",)


def test_a_job_that_its_partition_never_starts_asks_for_nothing() -> None:
    two = pending(reason="PartitionNodeLimit", node_count=2, request=Request(min_nodes=2, max_nodes=2))
    rules = Scheduling(partitions={"main": PartitionRules("main", max_nodes=1)})
    now = replace(seen(snapshot(two), {}), scheduling=rules)
    made = plan_growth(replace(now, history=History(waiting_since={"1": NOW - timedelta(hours=1)})), Supply())
    why = "partition main gives no job more than 1 nodes (MaxNodes)"
    assert (made.count, [verdict.why for verdict in made.jobs]) == (0, [why])
    assert still_waiting(now) == {}


def test_a_job_of_more_nodes_than_its_partition_has_waits_for_more() -> None:
    job = pending(reason="PartitionConfig", node_count=3, cpus=12)
    there = [node(f"n{n}", allocated=4) for n in range(3)]
    assert growth(job, *there[:2], node("elsewhere", partitions=("other",))).count == 3
    assert growth(job, *there).count == 0


@pytest.mark.parametrize(
    ("job", "counts", "why"),
    [
        (pending(cpus=4), True, "waits (Resources) and needs 1 machine more"),
        (pending(cpus=8), True, "waits (Resources) and needs 2 machines more"),
        (pending(cpus=1), True, "fits on what is free or coming"),
        (
            pending(task_count=50, cpus=4),
            True,
            "waits (Resources) and needs 8 machines more; not all fits within max_nodes 10",
        ),
        (pending(features="gpu"), False, "borrowed machines do not offer 'gpu'"),
    ],
)
def test_it_is_said_what_a_job_needs(job: Job, counts: bool, why: str) -> None:
    [verdict] = growth(job, node("n1", allocated=3), ours=("pc1", "pc2")).jobs
    assert (verdict.counts, verdict.why) == (counts, why)


def test_it_is_said_what_a_job_takes_back_into_service() -> None:
    resting = [node(f"pc{n}", flags=frozenset({"DRAIN"})) for n in (1, 2)]
    supply = Supply({"": 10}, returnable={"pc1", "pc2"})
    [verdict] = plan(pending(task_count=3, cpus=4), *resting, supply=supply).jobs
    assert verdict.why == "takes pc1, pc2 back into service; not all fits within max_nodes 10"
    assert (verdict.counts, verdict.machines) == (True, 0)


def test_a_job_whose_age_is_not_known_counts_as_the_youngest() -> None:
    found = growth(replace(pending(1), submitted=None), pending(3), pending(2))
    assert [verdict.job for verdict in found.jobs] == ["2", "3", "1"]


def test_what_a_plan_does_not_say_is_nothing() -> None:
    empty = GrowthPlan(0)
    assert (empty.wanted, empty.names, empty.refused, empty.jobs) == ({}, {}, {}, ())


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


def test_no_machine_is_borrowed_for_a_job_that_started_between_the_reads_of_jobs_and_nodes() -> None:
    just_filled = node("pc1", allocated=4, memory=16000, allocated_memory=16000)
    read = Snapshot(NOW, {"pc1": just_filled}, (pending(cpus=4, memory=16000, exclusive=True),))
    waiting = {"1": NOW - timedelta(hours=1)}
    assert plan_growth(seen(read, waiting), Supply({"": 1})).count == 0


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
    plan = growth(ours=("pc1",), coming=1, settings=settings)
    assert plan.count == 1
    assert plan.reasons == ("min_nodes is 3, 2 machines held or coming",)


def test_machines_that_no_type_may_have_more_of_are_not_said_to_lack_at_the_cms() -> None:
    settings = DemandSettings(min_nodes=5, max_nodes=10, types=(SMALL,))
    found = plan(supply=Supply(), settings=settings)
    assert (found.count, found.wanted) == (5, {"small": 3})
    assert found.reasons == ("min_nodes is 5, 0 machines held or coming",)


def test_reasons_stay_few_however_long_the_queue() -> None:
    settings = SETTINGS.model_copy(update={"max_nodes": 1000})
    plan = growth(*(pending(n, cpus=4) for n in range(1, 501)), settings=settings)
    assert plan.count == 500
    assert len(plan.reasons) <= 25


@pytest.mark.parametrize(
    ("count", "last"), [(20, "job 20 waits"), (21, "so do 1 other"), (25, "so do 5 other")]
)
def test_the_first_jobs_are_told_one_by_one(count: int, last: str) -> None:
    settings = SETTINGS.model_copy(update={"max_nodes": 1000})
    reasons = growth(*(pending(n, cpus=4) for n in range(1, count + 1)), settings=settings).reasons
    assert len(reasons) == min(count, 20) + (count > 20)
    assert reasons[19].startswith("job 20 waits (Resources) and needs 1 machine more")
    assert reasons[-1].startswith(last)


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


@pytest.mark.parametrize(
    ("job", "count"),
    [
        (pending(memory=16000, cpus=1), 1),
        (pending(task_count=4, memory=8000), 2),
        (pending(task_count=4, memory=8000, memory_per_cpu=True), 2),
        (pending(cpus=8, memory=8000, memory_per_cpu=True), 4),
        (pending(cpus=4, memory=16000), 1),
        (pending(gres="gpu:1", task_count=4), 2),
        (pending(gres="gpu:a100:2"), 1),
        (pending(excluded_nodes=frozenset({"pc1"})), 1),
        (pending(task_count=4, gres="gres/gpu=2"), 4),
    ],
)
def test_memory_and_generic_resources_are_honoured(job: Job, count: int) -> None:
    settings = DemandSettings(node_cpus=4, node_memory=16000, node_gres="gpu:a100:2", grow_after=0)
    assert growth(job, settings=settings).count == count


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (pending(memory=16001), "do not offer 16001 MB"),
        (pending(memory=16001, memory_per_cpu=True), "16001 MB for each CPU"),
        (pending(gres="gpu:3"), "do not offer 'gpu:3'"),
        (pending(gres="gpu:h100:1"), "do not offer 'gpu:h100:1'"),
        (pending(gres="what is this"), "do not offer 'what is this'"),
        (pending(reservation="training"), "reservation 'training'"),
    ],
)
def test_what_no_machine_offers_is_not_borrowed_for(job: Job, why: str) -> None:
    settings = DemandSettings(node_cpus=4, node_memory=16000, node_gres="gpu:a100:2", grow_after=0)
    plan = growth(job, settings=settings)
    assert plan.count == 0
    assert [(v.counts, why in v.why) for v in plan.jobs] == [(False, True)]


def test_free_memory_and_generic_resources_of_nodes_in_service_are_subtracted() -> None:
    settings = DemandSettings(node_cpus=4, node_memory=16000, node_gres="gpu:2")
    free = node("n1", allocated=1, memory=16000, allocated_memory=9000, gres="gpu:2")
    holder = Job("8", "RUNNING", nodes=frozenset({"n1"}), gres="gpu:1")
    assert growth(free, holder, pending(memory=7000, gres="gpu:1"), settings=settings).count == 0
    assert growth(free, holder, pending(memory=7001), settings=settings).count == 1
    assert growth(free, holder, pending(gres="gpu:2"), settings=settings).count == 1


def test_a_job_finds_no_room_on_nodes_that_it_excludes_or_that_others_have_reserved() -> None:
    assert growth(pending(excluded_nodes=frozenset({"n1"})), node("n1")).count == 1
    assert growth(pending(), node("n1", flags=frozenset({"RESERVED"}))).count == 1


def test_a_job_has_to_wait_for_a_while_before_a_machine_is_borrowed_for_it() -> None:
    settings = SETTINGS.model_copy(update={"grow_after": 60})
    read = snapshot(pending(1, cpus=4), pending(2, cpus=4))
    since = {"1": NOW - timedelta(seconds=60), "2": NOW - timedelta(seconds=59)}
    plan = plan_growth(seen(read, since, settings), Supply())
    assert plan.count == 1
    assert "grow_after" in plan.jobs[1].why


def test_a_job_that_just_came_still_claims_the_free_node_that_it_will_take() -> None:
    plan = plan_growth(seen(snapshot(pending(), node("pc1")), {}), Supply({"": 1}))
    assert plan.claimed == {"pc1"}


def test_the_time_of_waiting_begins_anew_when_a_job_stopped_to_wait_for_room() -> None:
    earlier = {"1": NOW - timedelta(hours=1), "7": NOW - timedelta(hours=2)}
    task = replace(pending(3), id="7_3")
    read = snapshot(pending(1, reason="JobHeldUser"), task, pending(2))
    assert still_waiting(seen(read, earlier)) == {"7": NOW - timedelta(hours=2), "2": NOW}


def test_an_agent_that_starts_counts_the_time_that_a_job_has_waited_already() -> None:
    long_ago, late = NOW - timedelta(hours=1), NOW + timedelta(seconds=3)
    times = {"1": late, "2": None, "7_[4-9]": long_ago, "7_3": NOW - timedelta(minutes=1)}
    jobs = [replace(pending(), id=job, submitted=submitted) for job, submitted in times.items()]
    assert still_waiting(seen(snapshot(*jobs), None)) == {"1": NOW, "2": NOW, "7": long_ago}


def test_a_drained_surplus_node_returns_to_service_before_a_machine_is_borrowed() -> None:
    resting = node("pc1", flags=frozenset({"DRAIN"}))
    supply = Supply({"": 1}, returnable={"pc1"})
    found = plan(pending(1, cpus=4), pending(2, cpus=4), resting, supply=supply)
    assert (found.count, found.returned) == (1, {"pc1"})
    dead = replace(resting, state="DOWN")
    assert plan(pending(cpus=4), dead, supply=supply).returned == frozenset()


def test_tasks_that_were_split_off_their_array_obey_its_limit_too() -> None:
    unsplit = replace(pending(1, cpus=4, task_count=5, task_limit=2), id="7_[4-8]")
    requeued = [replace(pending(2, cpus=4), id=f"7_{n}") for n in (1, 2, 3)]
    assert growth(unsplit, *requeued).count == 2


BIG = MachineType(hardware_type="big", cpus=16, gres="gpu:1", features=("big",))
SMALL = MachineType(hardware_type="small", cpus=4, max_nodes=3)
TYPES = DemandSettings(max_nodes=10, types=(SMALL, BIG))


@pytest.mark.parametrize(
    ("jobs", "wanted"),
    [
        ([pending(cpus=4)], {"small": 1}),
        ([pending(features="big")], {"big": 1}),
        ([pending(gres="gpu")], {"big": 1}),
        ([pending(1, gres="gpu"), pending(2, cpus=4)], {"big": 1}),
        ([pending(1, cpus=4), pending(2, gres="gpu")], {"small": 1, "big": 1}),
        ([pending(task_count=5, cpus=4)], {"small": 3, "big": 1}),
        ([pending(node_count=4, cpus=4)], {"big": 4}),
    ],
)
def test_the_first_type_that_fits_is_asked_for(jobs: list[Job], wanted: dict[str, int]) -> None:
    assert plan(*jobs, supply=Supply(), settings=TYPES).wanted == wanted


def test_a_type_that_no_cm_can_spare_is_passed_over_and_what_cannot_be_had_is_not_asked_for() -> None:
    supply = Supply(spare={"small": 0, "big": 1})
    found = plan(pending(1, cpus=4), pending(2, cpus=16), pending(3, cpus=4), supply=supply, settings=TYPES)
    assert found.wanted == {"big": 1}
    assert found.count == 2
    assert "1 machine of them cannot be spared by any CM now" in found.reasons
    assert [job.why for job in found.jobs if "no CM can spare" in job.why] == [
        "waits (Resources) and needs 1 machine more, 1 of which no CM can spare now"
    ]


def test_nothing_is_said_of_what_cms_can_spare_while_it_is_enough() -> None:
    found = plan(pending(cpus=4), supply=Supply(spare={"small": 1}), settings=TYPES)
    assert found.reasons == ("job 1 waits (Resources) and needs 1 machine more",)


def test_what_waits_for_a_machine_that_cannot_be_had_keeps_nobody_from_one_that_can() -> None:
    supply = Supply(spare={"": 1})
    found = plan(pending(1, node_count=2, cpus=6), pending(2, cpus=1), supply=supply)
    assert found.wanted == {"": 1}


@given(JOBS, NODES, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_jobs_does_not_matter(
    jobs: list[Job], nodes: list[Node], chance: Random
) -> None:
    things = [*jobs, *jobs, *nodes]
    expected = plan(*jobs, *nodes, supply=Supply(), settings=TYPES)
    chance.shuffle(things)
    assert plan(*things, supply=Supply(), settings=TYPES) == expected


@given(JOBS, NODES, st.integers(0, 6), st.integers(0, 6), st.integers(0, 10))
def test_no_more_is_asked_for_than_each_limit_allows(
    jobs: list[Job], nodes: list[Node], small: int, big: int, most: int
) -> None:
    settings = TYPES.model_copy(update={"max_nodes": most})
    supply = Supply({"small": 1}, {"small": 1}, spare={"small": small, "big": big})
    found = plan(*jobs, *nodes, supply=supply, settings=settings)
    assert found.wanted.get("small", 0) <= min(small, SMALL.max_nodes - 1)
    assert found.wanted.get("big", 0) <= big
    assert sum(found.wanted.values()) <= found.count <= max(most - 1, 0)
    assert sum(v.machines for v in found.jobs) == found.count


def test_in_a_cluster_that_has_no_node_yet_a_job_grows_it() -> None:
    job = pending(reason="PartitionConfig")
    assert growth(job).count == 1
    assert growth(replace(job, node_count=2, cpus=2)).count == 2


def test_no_machine_is_borrowed_for_a_partition_that_none_of_its_type_comes_into() -> None:
    job = pending(reason="PartitionConfig", partitions=("bare",))
    waiting = {"1": NOW - timedelta(hours=1)}
    supply = Supply({"": 1}, partitions={"": frozenset({"main"})})
    assert plan_growth(seen(snapshot(job), waiting), Supply({"": 1})).count == 1
    found = plan_growth(seen(snapshot(job), waiting), supply)
    assert found.count == 0
    assert found.jobs[0].why == "no borrowed machine comes into its partition (bare)"
    both = replace(job, partitions=("bare", "main"))
    assert plan_growth(seen(snapshot(both), waiting), supply).count == 1


def test_of_two_types_the_one_is_borrowed_that_comes_into_a_jobs_partition() -> None:
    types = (MachineType(hardware_type="a", cpus=4), MachineType(hardware_type="b", cpus=4))
    supply = Supply(partitions={"a": frozenset({"main"})})
    settings = DemandSettings(types=types, max_nodes=10)
    assert plan(pending(), supply=supply, settings=settings).wanted == {"a": 1}
    supply = Supply(partitions={"a": frozenset({"bare"})})
    assert plan(pending(), supply=supply, settings=settings).wanted == {"b": 1}


def test_a_plan_says_of_a_job_what_it_leaves_out() -> None:
    asked = Request(min_nodes=2, max_nodes=2, tasks=2, cpus=2, contiguous=True)
    (verdict,) = plan(pending(1, cpus=2, node_count=2, request=asked), supply=Supply()).jobs
    assert verdict.machines == 2
    assert verdict.why.endswith("(that its nodes have to be beside each other, --contiguous, is left out)")
