"""What becomes of the jobs on nodes that are emptied."""

from dataclasses import replace

import pytest

from agent.cluster.drain.jobs import CancelJob, RequeueJob, SignalJob, WarnJob
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import Job
from tests.unit.cluster.drain.conftest import NOW, SETTINGS, at, drained, plan, revoked, running


def test_a_job_that_its_own_limit_ends_in_time_is_left_alone_to_the_last_second() -> None:
    drain = revoked("pc1", 100)
    assert plan([drained("pc1", drain)], [running("7", "pc1", ends=70)], [drain]) == []


def test_a_job_that_would_end_while_the_machine_is_cleaned_up_does_not_fit() -> None:
    drain = revoked("pc1", 100)
    (action,) = plan([drained("pc1", drain)], [running("7", "pc1", ends=71)], [drain])
    assert isinstance(action, RequeueJob)


def test_a_long_job_runs_on_until_the_requeue_lead() -> None:
    drain = revoked("pc1", 121)
    actions = plan([drained("pc1", drain)], [running("7", "pc1")], [drain])
    assert actions == []
    (action,) = plan([drained("pc1", drain)], [running("7", "pc1")], [drain], now=at(1))
    assert isinstance(action, RequeueJob)
    assert "2026-11-22T12:02:01Z" in action.reason


def test_a_job_is_told_to_save_its_work_once() -> None:
    drain = revoked("pc1", 600)
    job = running("7", "pc1")
    (action,) = plan([drained("pc1", drain)], [job], [drain], signalled={})
    assert isinstance(action, SignalJob)
    assert action.signal == "USR1"
    assert plan([drained("pc1", drain)], [job], [drain]) == []


def test_without_a_configured_signal_none_is_sent() -> None:
    drain = revoked("pc1", 600)
    settings = SETTINGS.model_copy(update={"checkpoint_signal": ""})
    assert (
        plan([drained("pc1", drain)], [running("7", "pc1")], [drain], settings=settings, signalled={}) == []
    )


def test_a_job_that_may_not_be_requeued_is_cancelled_only_at_the_very_end() -> None:
    drain = revoked("pc1", 61)
    node, job = drained("pc1", drain), running("7", "pc1")
    assert plan([node], [job], [drain], requeueable={"7": False}) == []
    (action,) = plan([node], [job], [drain], requeueable={"7": False}, now=at(1))
    assert isinstance(action, CancelJob)


def test_a_job_that_may_not_be_requeued_is_left_to_its_limit_where_that_comes_before_the_deadline() -> None:
    drain = revoked("pc1", 100)
    jobs, node = [running("7", "pc1", ends=99)], drained("pc1", drain)
    assert plan([node], jobs, [drain], requeueable={"7": False}, now=at(95)) == []
    (requeue,) = plan([node], jobs, [drain], requeueable={"7": True})
    assert isinstance(requeue, RequeueJob)


def test_a_job_of_which_slurm_did_not_tell_whether_it_may_be_requeued_is_not_touched() -> None:
    drain = revoked("pc1", 10)
    assert plan([drained("pc1", drain)], [running("7", "pc1")], [drain], requeueable={}) == []


def test_a_job_over_several_revoked_nodes_is_handled_once_by_the_earliest_deadline() -> None:
    early, late = revoked("pc1", 100), revoked("pc2", 1000)
    actions = plan([drained("pc1", early), drained("pc2", late)], [running("7", "pc1", "pc2")], [early, late])
    assert [type(a) for a in actions] == [RequeueJob]


def test_a_deadline_that_has_passed_does_not_skip_saving_what_can_be_saved() -> None:
    drain = revoked("pc1", -5)
    (action,) = plan([drained("pc1", drain)], [running("7", "pc1")], [drain])
    assert isinstance(action, RequeueJob)


def test_a_completing_job_is_neither_requeued_nor_overtaken_by_the_clean_up() -> None:
    drain = revoked("pc1", 50)
    node = replace(drained("pc1", drain, "IDLE"), flags=frozenset({"DRAIN", "COMPLETING"}))
    job = replace(running("7", "pc1"), state="COMPLETING")
    assert plan([node], [job], [drain]) == []


def test_a_drain_without_a_deadline_never_touches_a_job() -> None:
    for cause in (DrainCause.ADMIN, DrainCause.SURPLUS):
        drain = Drain("pc1", cause, who="ada", why="x")
        assert plan([drained("pc1", drain)], [running("7", "pc1")], [drain]) == []


def heterogeneous(job_id: str, node: str, ends: float | None = None) -> Job:
    return running(job_id, node, ends=ends)


def test_a_heterogeneous_job_is_handled_once_as_a_whole_by_its_earliest_deadline() -> None:
    early, late = revoked("pc1", 100), revoked("pc2", 110)
    parts = [heterogeneous("7+0", "pc2"), heterogeneous("7+1", "pc1")]
    actions = plan([drained("pc1", early), drained("pc2", late)], parts, [early, late])
    assert [type(a) for a in actions] == [RequeueJob]
    assert "12:01:40Z" in actions[0].reason


def test_a_heterogeneous_job_fits_only_if_every_part_of_it_ends_in_time() -> None:
    drain = revoked("pc1", 100)
    parts = [heterogeneous("7+0", "pc1", ends=10), heterogeneous("7+1", "n1", ends=10)]
    assert plan([drained("pc1", drain)], parts, [drain]) == []


@pytest.mark.parametrize(("left", "kinds"), [(110, [SignalJob]), (60, [SignalJob, RequeueJob])])
def test_on_short_notice_a_job_is_told_to_save_first_and_requeued_before_the_very_end(left, kinds) -> None:
    drain = revoked("pc1", left)
    actions = plan([drained("pc1", drain)], [running("7", "pc1")], [drain], signalled={})
    assert [type(a) for a in actions] == kinds


def test_a_job_that_was_told_late_is_requeued_when_its_time_to_save_is_over_or_the_end_is_near() -> None:
    drain, settings = revoked("pc1", 100), SETTINGS.model_copy(update={"checkpoint_lead": 140.0})
    node, job = drained("pc1", drain), running("7", "pc1")
    told = {"7": NOW}
    assert plan([node], [job], [drain], signalled=told, settings=settings, now=at(19)) == []
    (action,) = plan([node], [job], [drain], signalled=told, settings=settings, now=at(20))
    assert isinstance(action, RequeueJob)
    (action,) = plan([node], [job], [drain], signalled=told, now=at(40))
    assert isinstance(action, RequeueJob)


def test_the_user_of_a_job_that_cannot_be_saved_is_told_at_the_notice_and_once() -> None:
    drain = revoked("pc1", 900)
    node, job = drained("pc1", drain), running("7", "pc1")
    (action,) = plan([node], [job], [drain], requeueable={"7": False}, warned=())
    assert isinstance(action, WarnJob)
    assert "12:14:00" in action.reason
    assert plan([node], [job], [drain], requeueable={"7": False}, warned={"7"}) == []


POLICIES = SETTINGS.model_copy(
    update={
        "policies": (
            DrainPolicy(qos=("urgent",), method="finish"),
            DrainPolicy(partitions=("short", "tiny"), method="requeue-now", requeue_hold=True),
        )
    }
)


def test_jobs_of_a_policy_are_requeued_at_the_notice_and_held_where_it_says_so() -> None:
    drain = revoked("pc1", 900)
    job = replace(running("7", "pc1", ends=10), partitions=("tiny",))
    (action,) = plan([drained("pc1", drain)], [job], [drain], settings=POLICIES, signalled={})
    assert isinstance(action, RequeueJob)
    assert action.hold


def test_jobs_that_are_only_to_finish_are_never_ended_by_us() -> None:
    drain = revoked("pc1", -5)
    job = replace(running("7", "pc1"), partitions=("tiny",), qos="urgent")
    actions = plan([drained("pc1", drain)], [job], [drain], settings=POLICIES, warned=())
    assert [type(a) for a in actions] == [WarnJob]


def test_a_signal_of_an_earlier_run_of_the_job_does_not_count() -> None:
    drain = revoked("pc1", 300)
    job = replace(running("7", "pc1"), started=at(-10))
    (action,) = plan([drained("pc1", drain)], [job], [drain], signalled={"7": at(-20)})
    assert isinstance(action, SignalJob)
    assert plan([drained("pc1", drain)], [job], [drain], signalled={"7": at(-5)}) == []


def test_jobs_of_a_policy_have_a_checkpoint_signal_of_their_own() -> None:
    drain = revoked("pc1", 300)
    saving = DrainPolicy(partitions=("saving",), checkpoint_signal="TERM")
    settings = DrainSettings(policies=(saving,))
    plain, knows = running("7", "pc1"), replace(running("8", "pc1"), partitions=("saving",))
    (action,) = plan([drained("pc1", drain)], [plain, knows], [drain], settings=settings, signalled={})
    assert isinstance(action, SignalJob)
    assert (action.job.id, action.signal) == ("8", "TERM")
