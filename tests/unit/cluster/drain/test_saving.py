"""How a job is told to save its work: by the signal that it asked for, with the time that it asked for."""

from dataclasses import replace

import pytest

from agent.cluster.drain.jobs import (
    CancelJob,
    JobAction,
    RequeueJob,
    SignalJob,
    look_ahead,
    plan_jobs,
)
from agent.cluster.drain.nodes import job_deadlines
from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import Job, OwnSignal, SignalTarget, Snapshot
from tests.unit.cluster.drain.conftest import SETTINGS, at, drained, revoked, running

OWN = OwnSignal("USR2", 300, SignalTarget.BATCH)


def plan(
    job: Job,
    left: float,
    *,
    own: OwnSignal | None = OWN,
    told: float | None = None,
    settings: DrainSettings = SETTINGS,
    may_requeue: bool = True,
    unconfirmed: bool = False,
    refused: bool = False,
) -> list[JobAction]:
    """Decide about one job whose node goes in so many seconds; it was told so many seconds before that."""
    drain = replace(revoked("pc1", 1000), unconfirmed=unconfirmed)
    now = at(1000 - left)
    snapshot = Snapshot(now, {"pc1": drained("pc1", drain)}, (job,))
    owns = {} if own is None else {job.id: own}
    outlooks = look_ahead(
        snapshot,
        job_deadlines({"pc1": drain}, {"pc1"}),
        {job.id: may_requeue},
        settings,
        now,
        ["pc1"] if unconfirmed else [],
        [job.id] if refused else [],
        own_signals=owns,
    )
    signalled = {} if told is None else {job.id: at(1000 - told)}
    return list(plan_jobs(outlooks, signalled, [job.id], settings, now))


def kinds(actions: list[JobAction]) -> list[type[JobAction]]:
    return [type(action) for action in actions]


def test_a_job_gets_its_own_signal_its_own_time_before_the_requeue_and_no_other() -> None:
    job = running("7", "pc1")
    assert plan(job, 421) == []
    (action,) = plan(job, 420)
    assert isinstance(action, SignalJob)
    assert (action.signal, action.target, action.is_own) == ("USR2", SignalTarget.BATCH, True)
    assert plan(job, 419, told=420) == plan(job, 121, told=420) == []
    assert kinds(plan(job, 120, told=420)) == [RequeueJob]


@pytest.mark.parametrize("changed", ["unconfirmed", "refused"])
def test_a_job_that_leaves_later_than_it_was_told_for_gets_its_signal_once(changed: str) -> None:
    assert plan(running("7", "pc1"), 350, told=420, **{changed: True}) == []


def test_a_longer_time_than_that_of_all_jobs_is_given_too() -> None:
    job = running("7", "pc1")
    assert kinds(plan(job, 910, own=replace(OWN, lead=800))) == [SignalJob]
    assert plan(job, 700, own=replace(OWN, lead=800), told=910) == []


def test_on_short_notice_the_time_ends_at_the_kill_lead() -> None:
    job = running("7", "pc1")
    assert kinds(plan(job, 110)) == [SignalJob]
    assert plan(job, 100, told=110) == plan(job, 61, told=110) == []
    assert kinds(plan(job, 60, told=110)) == [RequeueJob]
    assert kinds(plan(job, 50)) == [SignalJob, RequeueJob]


def test_a_job_that_is_cancelled_gets_its_time_before_that() -> None:
    job = running("7", "pc1")
    assert plan(job, 361, may_requeue=False) == []
    assert kinds(plan(job, 360, may_requeue=False)) == [SignalJob]
    assert kinds(plan(job, 60, told=360, may_requeue=False)) == [CancelJob]


def test_a_job_that_would_go_at_the_notice_gets_its_time_first() -> None:
    settings = SETTINGS.model_copy(update={"policies": (DrainPolicy(method="requeue-now"),)})
    job = running("7", "pc1")
    assert kinds(plan(job, 1000, settings=settings)) == [SignalJob]
    assert plan(job, 800, told=1000, settings=settings) == []
    assert kinds(plan(job, 700, told=1000, settings=settings)) == [RequeueJob]
    assert kinds(plan(job, 1000, settings=settings, own=None)) == [RequeueJob]


@pytest.mark.parametrize(
    "changes",
    [
        {"own_signal": False},
        {"policies": (DrainPolicy(own_signal=False),)},
    ],
)
def test_where_it_is_not_honoured_the_signal_of_all_jobs_holds(changes: dict[str, object]) -> None:
    (action,) = plan(running("7", "pc1"), 600, settings=SETTINGS.model_copy(update=changes))
    assert isinstance(action, SignalJob)
    assert (action.signal, action.is_own) == ("USR1", False)


def test_a_policy_with_a_signal_of_its_own_does_not_take_that_of_the_job() -> None:
    settings = SETTINGS.model_copy(update={"policies": (DrainPolicy(checkpoint_signal="TERM"),)})
    (action,) = plan(running("7", "pc1"), 420, settings=settings)
    assert isinstance(action, SignalJob)
    assert action.signal == "USR2"


def test_a_signal_without_a_time_gets_that_of_all_jobs() -> None:
    job = running("7", "pc1", ends=1005)
    assert kinds(plan(job, 600, own=replace(OWN, lead=0))) == [SignalJob]


def test_a_job_that_slurm_has_told_ahead_of_its_time_limit_is_not_told_twice_and_gets_its_time() -> None:
    job = running("7", "pc1", ends=1010)
    assert plan(job, 300) == plan(job, 61) == []
    assert kinds(plan(job, 60)) == [RequeueJob]
    # On short notice Slurm may have told it up to half a minute before.
    late = running("7", "pc1", ends=1200)
    assert kinds(plan(late, 140)) == [SignalJob]
    assert plan(late, 130) == plan(late, 110) == []


@pytest.mark.parametrize("state", ["SUSPENDED", "CONFIGURING"])
def test_a_job_that_can_get_no_signal_now_gets_it_when_it_runs(state: str) -> None:
    job = replace(running("7", "pc1"), state=state)
    assert plan(job, 420) == []
    assert kinds(plan(job, 120)) == [RequeueJob]
    assert kinds(plan(replace(job, state="RUNNING"), 400)) == [SignalJob]


def test_the_steps_of_a_job_without_a_script_get_it() -> None:
    job = replace(running("7", "pc1"), batch=False)
    for own in (OWN, None):
        (action,) = plan(job, 300, own=own, may_requeue=False)
        assert isinstance(action, SignalJob)
        assert action.target is SignalTarget.STEPS
