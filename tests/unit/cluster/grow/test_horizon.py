"""No machine is borrowed or kept for a job that a fence would keep off it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.cluster.grow.demand import plan_growth
from agent.cluster.grow.horizon import ENDLESS, horizon_of
from agent.cluster.grow.supply import count_supply
from agent.cluster.moment import History
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.shrink.surplus import plan_surplus
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment, settings_with

DAY = 86400.0
HOUR = timedelta(hours=1)
LEAD = timedelta(seconds=30)
FENCED = settings_with(
    drain=DrainSettings(fence=True, cleanup_lead=30),
    demand=DemandSettings(grow_after=0, idle_timeout=60, min_hold=60, max_nodes=4),
)
LIMITED = frozenset({"main"})


def waiting(hours: float | None, **fields) -> Job:
    limit = None if hours is None else HOUR * hours
    given = {"reason": "Resources", "partitions": ("main",), "submitted": NOW - HOUR, **fields}
    return Job("7", "PENDING", time_limit=limit, **given)


def situation(*jobs: Job, nodes=(), machines=(), settings=FENCED, leases=(), limited=LIMITED, **fields):
    facts = {"leases": dict(leases), "lease_seconds": DAY, "cms": (UTAH,), **fields}
    idle = {node.name: NOW - HOUR for node in nodes}
    return a_moment(
        *nodes,
        machines=machines,
        jobs=jobs,
        settings=settings,
        facts=facts,
        limited=limited,
        history=History(idle_since=idle, joined_since=idle),
    )


def growth(moment):
    return plan_growth(moment, count_supply(moment))


def test_a_job_counts_where_it_may_end_before_the_fence_of_a_new_lease() -> None:
    assert growth(situation(waiting(23))).count == 1
    assert growth(situation(waiting(None))).count == 1
    for longer in (24, 48):
        plan = growth(situation(waiting(longer)))
        assert plan.count == 0
        assert "may take longer than a machine is lent for now" in plan.jobs[0].why
        assert not plan.jobs[0].counts


def test_a_machine_of_a_sliver_that_is_there_goes_with_it() -> None:
    leases = {UTAH: NOW + 10 * HOUR}
    assert growth(situation(waiting(9), leases=leases)).count == 1
    assert growth(situation(waiting(10), leases=leases)).count == 0
    # Another CM would lend one for the whole time.
    assert growth(situation(waiting(10), leases=leases, cms=(UTAH, WISC))).count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": settings_with(demand=FENCED.demand)},
        {"limited": frozenset()},
        {"lease_seconds": 0.0},
        {"nodes": (Node("n1", "ALLOCATED", partitions=("open",)),)},
    ],
    ids=["no fences", "no limits", "unknown lease", "a partition without a limit"],
)
def test_where_no_fence_would_stand_every_job_counts(changes) -> None:
    assert growth(situation(waiting(1000), **changes)).count == 1


def test_without_fences_nothing_is_looked_at() -> None:
    assert horizon_of(situation(settings=settings_with()), {}) is ENDLESS


IDLE = Node("pc1", "IDLE", cpus=2, partitions=("main",))


def verdict(moment):
    (found,) = plan_surplus(moment, growth(moment))
    return found


@pytest.mark.parametrize("requested", [frozenset(), frozenset({"pc1"})])
def test_an_idle_node_is_not_kept_for_a_job_that_its_fence_keeps_off(requested) -> None:
    there = {"nodes": (IDLE,), "machines": [a_machine(1)], "leases": {UTAH: NOW + 10 * HOUR}}
    fits = verdict(situation(waiting(9, requested_nodes=requested), **there))
    assert not fits.goes
    assert ("asks for it by name" if requested else "expected to take it") in fits.why
    longer = verdict(situation(waiting(11, requested_nodes=requested), **there))
    assert longer.goes
    assert longer.why.endswith("nothing waits for it")
    borrowed = growth(situation(waiting(11, requested_nodes=requested), **there)).count
    assert borrowed == 0


def test_a_job_that_just_fits_before_a_fence_takes_the_node() -> None:
    end = NOW + HOUR + LEAD
    there = {"nodes": (IDLE,), "machines": [a_machine(1)], "leases": {UTAH: end}}
    assert growth(situation(waiting(1), **there)).claimed == {"pc1"}
    assert growth(situation(waiting(1.01), **there)).claimed == frozenset()


def test_jobs_of_one_size_and_other_lengths_are_told_apart() -> None:
    jobs = [waiting(48), waiting(1)]
    moment = situation(*(Job(**{**vars(job), "id": str(n)}) for n, job in enumerate(jobs)))
    assert growth(moment).count == 1
