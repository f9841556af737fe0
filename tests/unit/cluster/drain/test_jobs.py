"""What becomes of the jobs on nodes that are emptied."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.jobs import (
    CancelJob,
    Fate,
    Outlook,
    RequeueJob,
    SignalJob,
    WarnJob,
    look_ahead,
    plan_jobs,
)
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import Job, SignalTarget, Snapshot
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
    at_the_deadline, after_it = running("7", "pc1", ends=100), running("7", "pc1", ends=101)
    assert plan([node], [at_the_deadline], [drain], requeueable={"7": False}, now=at(95)) == []
    (cancel,) = plan([node], [after_it], [drain], requeueable={"7": False}, now=at(95))
    assert isinstance(cancel, CancelJob)


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
    parts[1] = heterogeneous("7+1", "pc1", ends=90)
    (action,) = plan([drained("pc1", drain)], parts, [drain])
    assert isinstance(action, RequeueJob)


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
    assert plan([node], [job], [drain], requeueable={"7": True}, warned=()) == [], "a requeue saves it"
    (action,) = plan([node], [job], [drain], requeueable={"7": False}, warned=(), now=at(840))
    assert isinstance(action, CancelJob), "it is too late"


INTERACTIVE = replace(running("7", "pc1"), batch=False)


def test_an_interactive_job_is_warned_at_the_notice_signalled_and_ended_whatever_slurm_calls_it() -> None:
    drain = revoked("pc1", 900)
    node = drained("pc1", drain)
    (warn,) = plan([node], [INTERACTIVE], [drain], warned=())
    assert isinstance(warn, WarnJob)
    assert "as an interactive job it cannot be requeued and is cancelled at 12:14:00 UTC" in warn.reason
    (signal,) = plan([node], [INTERACTIVE], [drain], signalled={}, now=at(300))
    assert isinstance(signal, SignalJob)
    assert plan([node], [INTERACTIVE], [drain], now=at(839)) == []
    (cancel,) = plan([node], [INTERACTIVE], [drain], now=at(840))
    assert isinstance(cancel, CancelJob)
    assert "as an interactive job it cannot be requeued" in cancel.reason


@pytest.mark.parametrize("target", list(SignalTarget))
def test_the_signal_goes_to_the_steps_of_an_interactive_job_which_has_nothing_else(target) -> None:
    drain, settings = revoked("pc1", 300), SETTINGS.model_copy(update={"checkpoint_to": target})
    script = replace(running("8", "pc1"), batch=True)
    actions = plan([drained("pc1", drain)], [INTERACTIVE, script], [drain], settings=settings, signalled={})
    told = {a.job.id: a.target for a in actions if isinstance(a, SignalJob)}
    assert told == {"7": SignalTarget.STEPS, "8": target}


def test_an_interactive_heterogeneous_job_is_ended_as_a_whole() -> None:
    drain = revoked("pc1", 50)
    parts = [replace(INTERACTIVE, id="7+0"), replace(INTERACTIVE, id="7+1", nodes=frozenset({"n1"}))]
    (cancel,) = plan([drained("pc1", drain)], parts, [drain])
    assert isinstance(cancel, CancelJob)


def test_a_heterogeneous_job_with_a_component_that_may_not_be_requeued_is_not_requeued() -> None:
    drain = revoked("pc1", 50)
    parts = [heterogeneous("7+0", "pc1"), replace(heterogeneous("7+1", "n1"), requeueable=False)]
    (cancel,) = plan([drained("pc1", drain)], parts, [drain])
    assert isinstance(cancel, CancelJob)


def test_a_job_that_slurm_refused_to_requeue_is_ended_at_the_kill_lead_with_the_reason() -> None:
    snapshot = Snapshot(NOW, {}, (running("7", "pc1"), running("8", "pc1")))
    known = {"7": True, "8": True}
    outlooks = look_ahead(snapshot, {"pc1": at(100)}, known, SETTINGS, NOW, refused={"7"})
    assert [(o.job.id, o.fate, o.at) for o in outlooks] == [
        ("7", Fate.CANCEL, at(40)),
        ("8", Fate.REQUEUE, NOW),
    ]
    told = {"7": NOW, "8": NOW}
    (warn,) = plan_jobs(outlooks[:1], told, (), SETTINGS, at(30))
    assert isinstance(warn, WarnJob)
    assert "it was refused a requeue and is cancelled at 12:00:40 UTC" in warn.reason


@given(
    left=st.floats(-100, 4000),
    ends=st.none() | st.floats(-10, 5000),
    method=st.sampled_from(["drain", "requeue-now", "finish"]),
    requeueable=st.booleans(),
    refused=st.booleans(),
    parts=st.integers(1, 3),
)
def test_no_job_without_a_script_and_none_that_was_refused_is_ever_requeued(
    left, ends, method, requeueable, refused, parts
) -> None:
    ids = ["7"] if parts == 1 else [f"7+{n}" for n in range(parts)]
    jobs = tuple(replace(running(i, "pc1", ends=ends), batch=None if refused else False) for i in ids)
    settings = SETTINGS.model_copy(update={"policies": (DrainPolicy(method=method),)})
    known = dict.fromkeys(ids, requeueable)
    outlooks = look_ahead(
        *(Snapshot(NOW, {}, jobs), {"pc1": at(left)}, known, settings, NOW), refused={"7"} if refused else ()
    )
    actions = list(plan_jobs(outlooks, {}, (), settings, NOW))
    assert not [a for a in actions if isinstance(a, RequeueJob)]
    runs_on = method == "finish" or (ends is not None and ends <= left)
    assert runs_on or left > SETTINGS.kill_lead or any(isinstance(a, CancelJob) for a in actions)


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


def test_a_job_that_cannot_be_requeued_may_end_by_itself_whatever_its_policy() -> None:
    drain = revoked("pc1", 50)
    job = replace(running("7", "pc1", ends=10), partitions=("tiny",))
    may_not = {"7": False}
    assert plan([drained("pc1", drain)], [job], [drain], settings=POLICIES, requeueable=may_not) == []


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
    assert plan([drained("pc1", drain)], [job], [drain], signalled={"7": at(-10)}) == []


def test_a_signal_for_an_earlier_deadline_does_not_count_and_one_a_little_early_does() -> None:
    drain, job = revoked("pc1", 300), running("7", "pc1")
    assert plan([drained("pc1", drain)], [job], [drain], signalled={"7": at(-305)}) == []
    (action,) = plan([drained("pc1", drain)], [job], [drain], signalled={"7": at(-306)})
    assert isinstance(action, SignalJob)


def test_a_job_is_not_told_to_save_before_its_lead() -> None:
    drain, job = revoked("pc1", 601), running("7", "pc1")
    assert plan([drained("pc1", drain)], [job], [drain], signalled={}) == []


def test_jobs_of_a_policy_have_a_checkpoint_signal_of_their_own() -> None:
    drain = revoked("pc1", 300)
    saving = DrainPolicy(partitions=("saving",), checkpoint_signal="TERM")
    settings = DrainSettings(policies=(saving,))
    plain, knows = running("7", "pc1"), replace(running("8", "pc1"), partitions=("saving",))
    (action,) = plan([drained("pc1", drain)], [plain, knows], [drain], settings=settings, signalled={})
    assert isinstance(action, SignalJob)
    assert (action.job.id, action.signal) == ("8", "TERM")


# --- what is foreseen


def foreseen(
    *jobs: Job, deadlines: dict[str, datetime | None] | None = None, may: bool | None = True
) -> tuple[Outlook, ...]:
    """What becomes of jobs on pc1, which has to be empty at 900 s, with POLICIES."""
    known = {} if may is None else {job.id: may for job in jobs}
    snapshot = Snapshot(NOW, {}, jobs)
    return look_ahead(snapshot, {"pc1": at(900)} if deadlines is None else deadlines, known, POLICIES, NOW)


@pytest.mark.parametrize(
    ("ends", "may", "qos", "fate", "when", "warn"),
    [
        (10, True, "", "ends by itself", at(10), False),
        (None, True, "", "is requeued", at(780), False),
        (None, False, "", "is cancelled", at(840), True),
        (None, True, "urgent", "runs on", None, True),
        (None, None, "", "not known yet", None, False),
    ],
)
def test_how_a_job_leaves_its_node_is_told_before(ends, may, qos, fate, when, warn) -> None:
    job = replace(running("7", "pc1", "n1", ends=ends), qos=qos)
    (outlook,) = foreseen(job, may=may)
    assert (outlook.fate, outlook.at, outlook.warn, outlook.hold) == (fate, when, warn, False)
    assert (outlook.job, outlook.deadline, outlook.nodes) == (job, at(900), {"pc1"})


def test_the_job_with_the_earliest_deadline_comes_first_and_those_without_one_last() -> None:
    names = [f"pc{n}" for n in range(1, 5)]
    jobs = [running(str(n), name) for n, name in enumerate(names)]
    deadlines = dict(zip(names, (None, None, at(900), at(60)), strict=True))
    assert [outlook.job.id for outlook in foreseen(*jobs, deadlines=deadlines)] == ["3", "2", "0", "1"]


def test_a_heterogeneous_job_without_a_deadline_is_its_first_component() -> None:
    parts = [heterogeneous("7+0", "pc1", ends=10), heterogeneous("7+1", "pc1", ends=20)]
    (outlook,) = foreseen(*parts, deadlines={"pc1": None})
    assert (outlook.job, outlook.fate, outlook.at) == (parts[0], Fate.ENDS, at(10))


def test_a_job_without_a_deadline_does_not_hide_those_that_have_one() -> None:
    undated = Outlook(running("7", "pc2"), frozenset({"pc2"}), None, Fate.ENDS, None)
    dated = Outlook(running("8", "pc1"), frozenset({"pc1"}), at(50), Fate.REQUEUE, NOW)
    (action,) = plan_jobs([undated, dated], {}, (), SETTINGS, NOW)
    assert action.job.id == "8"


def test_what_is_done_to_a_job_is_left_for_its_user_to_read() -> None:
    job = running("7", "pc1")
    assert WarnJob(job, "x").comment == "esagent: x"
    assert SignalJob(job, "USR1", SignalTarget.ALL, "x", NOW).comment == (
        "esagent: USR1 at 2026-11-22T12:00:00Z: x"
    )
    assert RequeueJob(job, "x", hold=False).comment == "requeued by esagent: x"
    assert CancelJob(job, "x").comment == "cancelled by esagent: x"


def unsure(node: str, seconds: float) -> Drain:
    return replace(revoked(node, seconds), unconfirmed=True)


@pytest.mark.parametrize(("left", "is_requeued"), [(120, False), (61, False), (60, True), (-1, True)])
def test_where_the_notices_have_stopped_a_job_is_requeued_only_at_the_kill_lead(
    left: float, is_requeued: bool
) -> None:
    drain = unsure("pc1", left)
    actions = plan([drained("pc1", drain)], [running("7", "pc1")], [drain])
    assert [type(a) for a in actions] == [RequeueJob] * is_requeued


def test_where_the_notices_have_stopped_a_job_saves_its_work_all_the_same() -> None:
    drain = unsure("pc1", 600)
    actions = plan([drained("pc1", drain)], [running("7", "pc1")], [drain], signalled={})
    assert [type(a) for a in actions] == [SignalJob]


def test_a_job_also_on_a_node_whose_notices_come_is_requeued_for_that_one() -> None:
    sure, other = revoked("pc1", 120), unsure("pc2", 90)
    nodes = [drained("pc1", sure), drained("pc2", other)]
    actions = plan(nodes, [running("7", "pc1", "pc2")], [sure, other])
    assert [type(a) for a in actions] == [RequeueJob]


def test_a_policy_that_requeues_at_the_notice_waits_where_the_notices_have_stopped() -> None:
    policy = DrainPolicy(qos=("fast",), method="requeue-now")
    settings = SETTINGS.model_copy(update={"policies": (policy,)})
    job = replace(running("7", "pc1"), qos="fast")
    for drain, kinds in ((revoked("pc1", 900), [RequeueJob]), (unsure("pc1", 900), [])):
        node = drained("pc1", drain)
        made = plan([node], [job], [drain], settings=settings, signalled={}, warned=())
        assert [type(action) for action in made] == kinds
