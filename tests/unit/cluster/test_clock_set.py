"""The wall clock may be set at any instant: no plan, no node and no job sees anything of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.moment import JoinRecord
from agent.cluster.reader import look_back
from agent.cluster.settings.demand import DemandSettings
from agent.core.config import ManagerConfig
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.ledger.ledger import Ledger
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import (
    CLOUDLAB_STEPS,
    NOW,
    Clock,
    Cloudlab,
    Shell,
    Slurm,
    a_machine,
    a_moment,
    settings_with,
)
from tests.unit.cluster.test_planner import remember, worlds

HOURS = [-30.0, -2.0, 2.0, 30.0]
JUMPS = st.sampled_from(HOURS)
BUSY = Node("pc1", "ALLOCATED", cpus=2, allocated_cpus=2, booted=NOW - timedelta(hours=1))
IDLE = Node("pc1", "IDLE", cpus=2, booted=NOW - timedelta(hours=1), last_busy=NOW, partitions=("main",))
RUNNING = Job("7", "RUNNING", "ada", nodes=frozenset({"pc1"}), started=NOW, ends=NOW + timedelta(hours=90))


def what(plan):
    """What a plan does, without the words, which tell times by the wall clock."""
    fates = [(verdict.name, verdict.goes) for verdict in plan.nodes]
    jobs = [(verdict.job, verdict.counts, verdict.machines) for verdict in plan.growth.jobs]
    growth = replace(plan.growth, reasons=(), jobs=())
    return fates, growth, jobs, plan.shares, plan.joins, plan.departures, plan.weights, set(plan.kept)


@given(worlds(), JUMPS, st.integers(0, 7200), st.integers(0, 3))
def test_a_plan_is_the_same_whatever_the_wall_clock_is_set_to(world, hours, passed, when):
    site, slurm, ledger, clock = world["site"], world["slurm"], Ledger(":memory:"), Clock()
    slurm.reserved.clear()
    # By the clock that is set, a job that ends in time does so before it or after.
    slurm.jobs = [replace(job, ends=None) for job in slurm.jobs]
    slurm._clock = clock
    manager = SlurmElasticSliceManager(
        site,
        ManagerConfig(clock=clock, events=ledger),
        backend=slurm,
        shell=Shell(),
        settings=settings_with(demand=world["demand"], join=world["join"]),
        wishes=ledger,
    )
    manager.set_helper(SimpleElasticSliceHelper(server=site))
    for step in CLOUDLAB_STEPS:
        if step != "ensure_sliver":
            getattr(manager, step)()
    remember(manager, world)

    def plan_after(jump, at):
        """Read Slurm twice, with time between, and have the clock set before, between or after."""
        manager.memory.known.history, manager._planner._last = None, None
        clock.time, clock.ahead = NOW, timedelta()
        for each in range(3):
            if each == at:
                clock.set_ahead(jump)
            if each < 2:
                clock.advance(passed)
                manager._reader.read()
        return what(manager._planner.plan(manager.memory.now()))

    # Slurm's own times are told by the clock that is set: only what is read before it is set is the same.
    assert plan_after(3600 * hours, 1 + when % 2) == plan_after(0, 0)
    ledger.close()


@pytest.mark.parametrize("hours", HOURS)
def test_a_node_that_just_became_idle_stays_though_the_clock_is_set(make_manager, clock, hours):
    slurm = Slurm(IDLE, clock=clock)
    manager = make_manager(
        Cloudlab(a_machine()), slurm, demand=DemandSettings(idle_timeout=600, min_hold=600)
    )
    manager.get_system_state()
    clock.set_ahead(3600 * hours)
    manager.get_system_state()
    assert not manager.memory.now().chosen
    clock.advance(601)
    manager.get_system_state()
    assert manager.memory.now().chosen == {"pc1"}


@pytest.mark.parametrize("hours", HOURS)
def test_a_job_on_a_revoked_node_is_put_back_when_its_countdown_ends_and_not_when_the_clock_is_set(
    make_manager, clock, hours
):
    slurm = Slurm(BUSY, jobs=[RUNNING], clock=clock)
    manager = make_manager(Cloudlab(a_machine()), slurm)
    manager.get_system_state()
    manager.NotifyDeletePending({"nodelist": [{"node_id": "pc1", "max_wait_time": 3600}]})
    manager.drainer.tick()
    clock.set_ahead(3600 * hours)
    manager.drainer.tick()
    assert not [act for act in slurm.acts if act[0] in {"requeue_all", "cancel_all"}]
    clock.advance(3590)
    manager.drainer.tick()
    assert [act for act in slurm.acts if act[0] == "requeue_all"] == [("requeue_all", "7")]


class SetMeanwhile(Slurm):
    """The clock is set between the moment that a look begins with and what it does."""

    hours = 0.0

    def snapshot(self):
        self._clock.set_ahead(3600 * self.hours)
        self.hours = 0.0
        return super().snapshot()


@pytest.mark.parametrize("hours", HOURS)
def test_a_clock_that_is_set_in_the_middle_of_a_look_at_the_jobs_costs_none(make_manager, clock, hours):
    slurm = SetMeanwhile(BUSY, jobs=[RUNNING], clock=clock)
    manager = make_manager(Cloudlab(a_machine()), slurm)
    manager.get_system_state()
    manager.NotifyDeletePending({"nodelist": [{"node_id": "pc1", "max_wait_time": 3600}]})
    slurm.hours = hours
    manager.drainer.tick()
    manager.drainer.tick()
    assert not [act for act in slurm.acts if act[0] in {"requeue_all", "cancel_all"}]


@pytest.mark.parametrize("hours", HOURS)
def test_a_join_under_way_keeps_its_time_though_the_clock_is_set(make_manager, clock, hours):
    manager = make_manager(Cloudlab(a_machine()), Slurm(clock=clock))
    manager.get_system_state()
    machine = a_machine()
    manager.memory.joins.begin(machine, clock.steady(), attempts=1)
    manager.memory.joins.end(machine, clock.steady(), "no route")
    clock.set_ahead(3600 * hours)
    joins = manager.plan().joins
    assert (joins.failed, joins.start) == ((), ())
    clock.advance(manager.desk.settings.join.retry_interval)
    assert [step.name for step in manager.plan().joins.start] == ["pc1"]


@pytest.mark.parametrize("hours", HOURS)
def test_what_slurm_tells_of_the_future_counts_as_now(hours):
    node = replace(IDLE, last_busy=NOW + timedelta(hours=abs(hours)), booted=NOW + timedelta(hours=1))
    moment = a_moment(node, machines=(a_machine(),), history=None, ahead=timedelta(hours=hours))
    history = look_back(moment)
    assert history.idle_since == history.joined_since == {"pc1": moment.steady}


def test_a_join_record_is_shown_by_no_clock_but_compared_by_the_steady_one():
    record = JoinRecord(NOW, NOW, attempts=1, running=False)
    moment = a_moment(now=NOW + timedelta(hours=2), ahead=timedelta(hours=2), joins={"urn:sliver+1": record})
    assert moment.steady == NOW
    assert moment.on_the_wall(record.first) == moment.now
