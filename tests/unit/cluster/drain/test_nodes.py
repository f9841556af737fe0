"""Emptying nodes before a deadline, decided by example and by property."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.jobs import CancelJob, RequeueJob, SignalJob, WarnJob, leader, look_ahead, plan_jobs
from agent.cluster.drain.nodes import (
    DownNodes,
    DrainNodes,
    LeaveNode,
    UndrainNodes,
    job_deadlines,
    plan_nodes,
)
from agent.cluster.reasons import FAILED, JOINING, KEPT, Drain, DrainCause, parse_reason
from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import Job, Node, Snapshot

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SETTINGS = DrainSettings(
    checkpoint_signal="USR1", checkpoint_lead=600, requeue_lead=120, kill_lead=60, cleanup_lead=30
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def revoked(node: str, seconds: float) -> Drain:
    return Drain(node, DrainCause.REVOKED, at(seconds))


def drained(name: str, drain: Drain, state: str = "MIXED") -> Node:
    return Node(name, state, frozenset({"DRAIN"}), reason=drain.reason)


def running(job_id: str, *nodes: str, ends: float | None = None) -> Job:
    return Job(job_id, "RUNNING", nodes=frozenset(nodes), ends=None if ends is None else at(ends))


def plan(
    nodes,
    jobs,
    wanted,
    *,
    requeueable=None,
    signalled=None,
    warned=None,
    ours=None,
    now=NOW,
    settings=SETTINGS,
):
    """Decide about nodes and then about jobs, as one look at Slurm does."""
    snapshot = Snapshot(now, {n.name: n for n in nodes}, tuple(jobs))
    drains = {d.node: d for d in wanted}
    ours = set(drains) if ours is None else ours
    known = requeueable if requeueable is not None else {j.id: True for j in jobs}
    if signalled is None:
        deadline = min((d.deadline for d in wanted if d.deadline), default=NOW)
        lead = timedelta(seconds=settings.checkpoint_lead)
        signalled = dict.fromkeys((leader(j) for j in jobs), deadline - lead)
    outlooks = look_ahead(snapshot, job_deadlines(drains, ours), known, settings, now)
    warned = {j.id for j in jobs} if warned is None else warned
    return [
        *plan_nodes(snapshot, drains, ours=ours, now=now),
        *plan_jobs(outlooks, signalled, warned, settings, now),
    ]


def test_all_nodes_of_one_notice_are_drained_in_one_request_with_the_deadline_in_the_reason() -> None:
    actions = plan(
        [Node("pc1", "IDLE"), Node("pc2", "MIXED")], [], [revoked("pc1", 900), revoked("pc2", 900)]
    )
    assert actions == [DrainNodes(("pc1", "pc2"), "esagent: revoked by Cloudlab, due 2026-11-22T12:15:00Z")]


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


def test_an_empty_drained_node_is_left() -> None:
    drain = revoked("pc1", 900)
    (action,) = plan([drained("pc1", drain, "IDLE")], [], [drain])
    assert action == LeaveNode("pc1", DrainCause.REVOKED, drain.deadline, "no job is left on it")


def test_a_node_that_is_idle_but_not_drained_yet_is_not_left() -> None:
    (action,) = plan([Node("pc1", "IDLE")], [], [revoked("pc1", 900)])
    assert isinstance(action, DrainNodes)


def test_a_machine_that_slurm_does_not_know_is_left_at_once() -> None:
    (action,) = plan([Node("n1", "IDLE")], [], [revoked("pc1", 900)])
    assert isinstance(action, LeaveNode)


def test_a_machine_is_not_left_while_the_queue_says_that_a_job_is_on_it() -> None:
    assert plan([Node("n1", "IDLE")], [running("7", "pc1", ends=10)], [revoked("pc1", 900)]) == []


def test_an_unknown_state_word_keeps_a_node_from_being_left() -> None:
    drain = revoked("pc1", 900)
    assert plan([drained("pc1", drain, "PERFORMING")], [], [drain]) == []


def test_an_administrators_drain_empties_and_keeps_the_machine() -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why="disk")
    assert plan([Node("pc1", "MIXED")], [running("7", "pc1")], [drain]) == [
        DrainNodes(("pc1",), "esagent: drained by ada: disk")
    ]
    assert plan([drained("pc1", drain, "IDLE")], [], [drain]) == []


def test_a_drain_without_a_deadline_never_touches_a_job() -> None:
    for cause in (DrainCause.ADMIN, DrainCause.SURPLUS):
        drain = Drain("pc1", cause, who="ada", why="x")
        assert plan([drained("pc1", drain)], [running("7", "pc1")], [drain]) == []


def test_our_drain_is_lifted_when_nobody_wants_it_and_a_foreign_one_never_is() -> None:
    ours = drained("pc1", revoked("pc1", 900), "IDLE")
    foreign = Node("pc2", "IDLE", frozenset({"DRAIN"}), reason="disk is dying")
    actions = plan([ours, foreign], [], [], ours={"pc1", "pc2"})
    assert actions == [UndrainNodes(("pc1",), down=False)]


def test_a_node_that_is_not_ours_is_never_touched() -> None:
    wanted = [revoked("n1", 10)]
    assert plan([Node("n1", "MIXED")], [running("7", "n1")], wanted, ours={"pc1"}) == []


def test_another_administrators_reason_is_not_overwritten() -> None:
    node = Node("pc1", "MIXED", frozenset({"DRAIN"}), reason="disk is dying")
    assert plan([node], [], [revoked("pc1", 900)]) == []


def test_a_deadline_that_moves_is_followed_in_the_reason_and_one_that_jitters_is_not() -> None:
    old = drained("pc1", revoked("pc1", 900))
    busy = [running("7", "pc1", ends=10)]
    assert plan([old], busy, [revoked("pc1", 904)]) == []
    (action,) = plan([old], busy, [revoked("pc1", 600)])
    assert isinstance(action, DrainNodes)
    assert action.reason.endswith("due 2026-11-22T12:10:00Z")


def test_new_words_of_an_administrator_come_into_the_reason() -> None:
    old = drained("pc1", Drain("pc1", DrainCause.ADMIN, who="ada", why="the fan"))
    new = Drain("pc1", DrainCause.ADMIN, who="bob", why="the disk too")
    assert plan([old], [], [new]) == [DrainNodes(("pc1",), "esagent: drained by bob: the disk too")]


@pytest.mark.parametrize("why", ['the "fan"', "two  spaces ", "it's\u2028it", "x" * 2000])
def test_words_that_slurm_cannot_keep_as_they_are_are_not_written_again_and_again(why: str) -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why=why)
    kept = " ".join(drain.reason[:1000].split()).rstrip('"')
    assert plan([replace(drained("pc1", drain), reason=kept)], [], [drain]) == []


NAMES = ["n1", "pc1", "pc2", "pc3"]
states = st.sampled_from(["IDLE", "MIXED", "ALLOCATED", "DOWN", "UNKNOWN", "PERFORMING"])
flags = st.frozensets(st.sampled_from(["DRAIN", "COMPLETING", "NOT_RESPONDING"]))
reasons = st.sampled_from(["", "disk", revoked("x", 50).reason, "esagent: nonsense"])
seconds = st.integers(-1000, 5000)
nodes_st = st.fixed_dictionaries(
    {n: st.builds(Node, st.just(n), states, flags, reason=reasons) for n in NAMES}
)
jobs_st = st.lists(
    st.builds(
        Job,
        id=st.integers(1, 99).map(str),
        state=st.sampled_from(["RUNNING", "PENDING", "COMPLETING", "SUSPENDED"]),
        nodes=st.frozensets(st.sampled_from(NAMES), min_size=1),
        ends=st.none() | seconds.map(at),
    ),
    unique_by=lambda j: j.id,
)
causes = st.sampled_from(DrainCause)
wanted_st = st.dictionaries(st.sampled_from(NAMES), st.tuples(causes, seconds)).map(
    lambda chosen: {
        n: Drain(n, c, at(s) if c is DrainCause.REVOKED else None, who="ada", why="x")
        for n, (c, s) in chosen.items()
    }
)


@given(nodes_st, jobs_st, wanted_st, st.frozensets(st.sampled_from(NAMES[1:])), st.booleans())
def test_whatever_slurm_says_only_our_own_empty_nodes_are_left_and_only_jobs_at_risk_are_ended(
    nodes, jobs, wanted, ours, may_requeue
) -> None:
    actions = plan(
        nodes.values(),
        jobs,
        wanted.values(),
        ours=ours,
        requeueable={j.id: may_requeue for j in jobs},
        signalled={},
        warned=(),
    )
    ended = [a.job.id for a in actions if isinstance(a, RequeueJob | CancelJob)]
    assert len(ended) == len(set(ended)), "a job is ended once"
    for action in actions:
        match action:
            case DrainNodes(names, _) | UndrainNodes(names, _) | DownNodes(names, _, _):
                assert set(names) <= ours
            case LeaveNode(name, _, _, _):
                assert name in ours
                assert not any(name in j.nodes and j.state != "PENDING" for j in jobs)
                assert nodes[name].drained
            case WarnJob(job, _):
                assert not may_requeue
            case RequeueJob(job, _) | CancelJob(job, _) | SignalJob(job):
                deadlines = [wanted[n].deadline for n in job.nodes & ours if n in wanted]
                assert any(d is not None and (d - NOW).total_seconds() <= 600 for d in deadlines)
                assert job.state in {"RUNNING", "SUSPENDED"}


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


def test_a_machine_that_is_gone_is_told_to_slurm_at_once_if_jobs_are_on_it() -> None:
    gone, empty = Drain("pc1", DrainCause.TAKEN), Drain("pc2", DrainCause.TAKEN)
    job = running("7", "pc1")
    actions = plan([Node("pc1", "MIXED"), Node("pc2", "IDLE")], [job], [gone, empty])
    reason = "esagent: taken by Cloudlab"
    assert actions == [DrainNodes(("pc1", "pc2"), reason), DownNodes(("pc1",), reason, (job,))]
    down = Node("pc1", "DOWN", frozenset({"DRAIN"}), reason=reason)
    assert plan([down], [], [gone]) == []


def test_a_machine_that_is_ours_after_all_comes_back_from_down() -> None:
    down = Node("pc1", "DOWN", frozenset({"DRAIN"}), reason=Drain("pc1", DrainCause.TAKEN).reason)
    assert plan([down], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=True)]


def test_a_node_that_is_down_until_its_machine_joins_stays_so() -> None:
    for reason in ("esagent: no machine behind it", "esagent: its machine joins"):
        down = Node("pc1", "DOWN", frozenset({"CLOUD"}), reason=reason)
        assert plan([down], [], [], ours={"pc1"}) == []


def test_a_drain_by_hand_is_not_lifted_though_its_words_begin_like_ours() -> None:
    for words in ("esagent: flaky disk, ask bob", "esagent: revoked", "esagent: "):
        node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=words)
        assert plan([node], [], [], ours={"pc1"}) == []
        assert plan([node], [], [Drain("pc1", DrainCause.ADMIN, who="ada", why="x")], ours={"pc1"}) == []


def test_a_drain_of_ours_is_lifted_whatever_it_was_for() -> None:
    for words in (JOINING, KEPT, f"{FAILED}none free", Drain("pc1", DrainCause.ADMIN, who="ada").reason):
        node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=words.strip())
        assert plan([node], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=False)]


def test_a_drain_of_a_machine_that_heard_nothing_of_us_is_lifted() -> None:
    script = (ROOT / "contrib/slurm-plugin/esagent-orphan").read_text()
    (words,) = re.findall(r'Reason="(.*)"', script)
    node = Node("pc1", "MIXED", frozenset({"DRAIN"}), reason=words)
    assert plan([node], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=False)]


def test_an_administrator_may_take_a_drain_over_and_have_the_machine_given_back() -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why="x", give_back=True, takes_over=True)
    foreign = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="disk is dying")
    first, second = plan([foreign], [], [drain])
    assert first == DrainNodes(("pc1",), "esagent: drained by ada, to be given back: x")
    assert isinstance(second, LeaveNode)
    assert parse_reason("pc1", drain.reason) == replace(drain, takes_over=False)


def test_a_drain_whose_time_has_not_come_leaves_the_node_to_the_scheduler() -> None:
    drain = replace(revoked("pc1", 900), since=at(100))
    assert plan([Node("pc1", "IDLE")], [], [drain]) == []
    (action,) = plan([Node("pc1", "IDLE")], [], [drain], now=at(100))
    assert isinstance(action, DrainNodes)


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
