"""What is done to jobs, against a Slurm in memory."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.drain.foresight import Foresight
from agent.cluster.drain.own_signals import AT_ONCE
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.core.events import EventKind
from agent.slurm.model import Job, JobEnd, Node, OwnSignal, SignalTarget, Snapshot
from tests.unit.cluster.drain.conftest import NOW, Bench, Slurm, busy, revoked


def test_one_refused_act_does_not_cost_the_others() -> None:
    pc1, job1 = busy("pc1", "7")
    pc2, job2 = busy("pc2", "8")
    bench = Bench(Slurm([pc1, pc2], [job1, job2]), revoked("pc1", 100), revoked("pc2", 100))
    bench.slurm.refuse = {"drain", "comment", "signal"}
    bench.obey(DrainSettings(kill_lead=60))
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == ["7", "8"]


def test_a_job_that_may_not_be_requeued_is_cancelled_with_a_word_to_its_user() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 70))
    bench.slurm.may_requeue = {"7": False}
    bench.drainer.tick()
    assert bench.slurm.said("cancel") == []
    bench.after(10).drainer.tick()
    assert bench.slurm.said("cancel") == ["7"]
    (_, early), (about, words) = bench.slurm.said("comment")
    ((told, warning),) = bench.slurm.said("notify")
    assert told == "7"
    assert "is cancelled at" in warning
    assert "USR1 at" in early
    assert "is cancelled at" in early
    assert about == "7"
    assert "may not be requeued" in words


def test_the_cost_of_draining_is_told_with_its_cause() -> None:
    bench = Bench(Slurm([Node("pc1", "MIXED")]), revoked("pc1", 100))
    for job in ("7", "8"):
        bench.slurm.jobs[job] = Job(
            job, "RUNNING", nodes=frozenset({"pc1"}), cpus=2, started=NOW - timedelta(seconds=50)
        )
    bench.obey(DrainSettings(requeue_lead=90))
    bench.drainer.tick()
    del bench.slurm.jobs["8"]
    bench.after(10).drainer.tick()
    told = {e.kind: e.fields for e in bench.events if "job" in e.fields}
    assert told["finish"] == {"job": "8", "drain_cause": "revoked"}
    assert told["requeue"] == {"job": "7", "drain_cause": "revoked", "lost_cpu_seconds": 120.0}


def test_a_restarted_agent_tells_no_job_twice() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [job])
    slurm.may_requeue = {"7": False}
    first = Bench(slurm, revoked("pc1", 700))
    first.drainer.tick()
    first.after(110).drainer.tick()
    assert (len(slurm.said("notify")), len(slurm.said("signal"))) == (1, 1)
    second = Bench(slurm, revoked("pc1", 700)).after(120)
    second.drainer.tick()
    second.drainer.tick()
    assert (len(slurm.said("notify")), len(slurm.said("signal"))) == (1, 1)
    assert slurm.said("comments")[-1] == ("7",), "before it tells anybody"


def test_a_job_is_told_to_save_again_for_a_deadline_that_comes_later() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 500))
    bench.drainer.tick()
    bench.drains["pc1"] = revoked("pc1", 3600)
    bench.after(400).drainer.tick()
    assert len(bench.slurm.said("signal")) == 1
    bench.after(3000).drainer.tick()
    assert len(bench.slurm.said("signal")) == 2


def test_two_hundred_jobs_of_one_deadline_are_requeued_by_one_act_and_then_told_why() -> None:
    found = [busy(f"pc{n}", str(n)) for n in range(200)]
    slurm = Slurm([node for node, _ in found], [job for _, job in found])
    bench = Bench(slurm, *(revoked(f"pc{n}", 1000) for n in range(200)))
    bench.obey(DrainSettings())
    bench.after(880).drainer.tick()
    kinds = [what for what, _ in slurm.calls]
    told = ["comments", *["comment"] * 200]
    assert kinds == [
        "snapshot",
        "drain",
        "own_signals",
        *["requeue"] * 200,
        *told,
        "comments",
        "reservations",
    ]


def test_two_hundred_jobs_are_signalled_and_cancelled_by_one_act_each() -> None:
    found = [busy(f"pc{n}", str(n)) for n in range(200)]
    slurm = Slurm([node for node, _ in found], [job for _, job in found])
    slurm.may_requeue = {str(n): False for n in range(200)}
    bench = Bench(slurm, *(revoked(f"pc{n}", 1000) for n in range(200)))
    bench.after(400).drainer.tick()
    assert slurm.acts == ["signal_all"]
    bench.after(940).drainer.tick()
    assert slurm.acts == ["signal_all", "cancel_all"]
    assert len(slurm.said("cancel")) == 200


@pytest.mark.parametrize(
    "hanging", ["own_signals", "comments", "comment", "signal", "notify", "drain", "reservations"]
)
def test_nothing_that_hangs_keeps_a_job_from_being_requeued_or_ended(hanging: str) -> None:
    pc1, job1 = busy("pc1", "7")
    pc2, job2 = busy("pc2", "8")
    bench = Bench(Slurm([pc1, pc2], [job1, job2]), revoked("pc1", 100), revoked("pc2", 50))
    bench.impatient()
    bench.slurm.may_requeue = {"8": False}
    bench.slurm.hold_at = hanging
    bench.drainer.tick()
    bench.after(45).drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    assert bench.slurm.said("cancel") == ["8"]
    bench.slurm.go_on.set()


def test_a_signal_that_hangs_is_sent_once_and_told_when_it_is_over() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 500))
    bench.impatient()
    bench.slurm.hold_at = "signal"
    for seconds in (0, 5, 10):
        bench.after(seconds).drainer.tick()
    assert [e.kind for e in bench.events] == ["drain"]
    bench.slurm.go_on.set()
    assert bench.desk.bell.wait(10)
    bench.drainer.tick()
    assert bench.slurm.said("signal") == [("7", "USR1")]
    assert [e.kind for e in bench.events] == ["drain", "signal"]


def test_a_requeue_that_is_over_after_slurm_was_read_is_neither_repeated_nor_told_twice(monkeypatch) -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 50))
    bench.impatient()
    bench.slurm.hold_at = "requeue"
    bench.drainer.tick()
    read = bench.slurm.snapshot

    def read_too_early() -> Snapshot:
        snapshot = read()
        bench.slurm.go_on.set()
        assert bench.desk.bell.wait(10)
        return snapshot

    monkeypatch.setattr(bench.slurm, "snapshot", read_too_early)
    bench.after(5).drainer.tick()
    bench.after(10).drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    assert [e.kind for e in bench.events if "job" in e.fields] == ["signal", "requeue"]


def test_a_cancelled_job_whose_end_is_seen_first_has_not_ended_by_itself() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 50))
    bench.impatient()
    bench.slurm.may_requeue = {"7": False}
    bench.slurm.hold_at = "cancel"
    bench.drainer.tick()
    del bench.slurm.jobs["7"]
    bench.after(5).drainer.tick()
    bench.slurm.jobs["7"] = job
    bench.slurm.go_on.set()
    assert bench.desk.bell.wait(10)
    bench.drainer.tick()
    assert [e.kind for e in bench.events if "job" in e.fields] == ["signal", "cancel"]


def test_a_requeue_that_is_over_when_the_job_was_told_as_lost_is_not_told_too() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [replace(job, started=NOW)]), revoked("pc1", 50))
    bench.impatient()
    bench.slurm.hold_at = "requeue"
    bench.drainer.tick()
    bench.drains["pc1"] = Drain("pc1", DrainCause.TAKEN)
    bench.after(5).drainer.tick()
    bench.slurm.go_on.set()
    assert bench.desk.bell.wait(10)
    bench.drainer.tick()
    assert [e.kind for e in bench.events if "lost_cpu_seconds" in e.fields] == ["lost"]


def test_a_job_that_starts_over_at_once_is_told_with_what_was_expected() -> None:
    started, ends = NOW - timedelta(seconds=60), NOW + timedelta(hours=1)
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}), cpus=2, started=started, ends=ends)
    foresight = Foresight(find_places=lambda snapshot, jobs, *_: [job.id for job in jobs])
    bench = Bench(Slurm([Node("pc1", "MIXED")], [job]), revoked("pc1", 900), foresight=foresight)
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    (told,) = [event for event in bench.events if event.kind == "requeue"]
    assert "by its limit; starting over now loses 60s, later 14m (120 CPU-seconds lost)" in told.message


@pytest.mark.parametrize("changes", [{"cause": DrainCause.LEASE}, {"unconfirmed": True}])
def test_no_job_starts_over_for_a_deadline_that_may_be_put_off(changes) -> None:
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}), started=NOW, ends=NOW + timedelta(hours=1))
    foresight = Foresight(find_places=lambda snapshot, jobs, *_: [job.id for job in jobs])
    drain = replace(revoked("pc1", 900), **changes)
    bench = Bench(Slurm([Node("pc1", "MIXED")], [job]), drain, foresight=foresight)
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == []


def test_an_agent_without_foresight_leaves_each_job_to_try() -> None:
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}), started=NOW, ends=NOW + timedelta(hours=1))
    bench = Bench(Slurm([Node("pc1", "MIXED")], [job]), revoked("pc1", 900))
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == []


def signalled(*users: str) -> Bench:
    """Jobs 1, 2, ... of these users on a node each, and all but the last two of them just signalled."""
    found = [busy(f"pc{n}", str(n)) for n in range(1, len(users) + 1)]
    jobs = [replace(job, user=user, restarts=0) for (_, job), user in zip(found, users, strict=True)]
    slurm = Slurm([node for node, _ in found], jobs)
    late = len(users) - 2
    bench = Bench(slurm, *(revoked(f"pc{n + 1}", 500 if n < late else 900) for n in range(len(users))))
    bench.drainer.tick()
    assert len(slurm.said("signal")) == late
    return bench


def test_a_job_that_dies_of_our_signal_is_told_as_work_lost_and_others_of_its_user_are_spared() -> None:
    bench = signalled("ann", "ann", "bob")
    slurm = bench.slurm
    slurm.jobs["1"] = replace(slurm.jobs["1"], started=NOW - timedelta(seconds=50), cpus=2)
    bench.after(5).drainer.tick()
    del slurm.jobs["1"]
    slurm.ends["1"] = JobEnd("FAILED", 0, 10, NOW + timedelta(seconds=10), 0)
    bench.after(20).drainer.tick()
    (event,) = [e for e in bench.events if e.kind is EventKind.KILLED]
    assert event.fields == {"job": "1", "drain_cause": "revoked", "lost_cpu_seconds": 120.0}
    assert event.is_notable
    assert "jobs of ann" in event.message
    bench.after(400).drainer.tick()
    assert [job for job, _ in slurm.said("signal")] == ["1", "3"], "it might end the other one too"
    assert {o.job.id: o.signal for o in bench.drainer.outlooks} == {"2": "", "3": "USR1"}
    bench.after(790).drainer.tick()
    assert slurm.said("requeue") == ["2"], "it waits for no signal that nobody sends"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (JobEnd("COMPLETED"), "ended by itself"),
        (JobEnd("CANCELLED", 0, 15), "was cancelled by its user"),
        (JobEnd("TIMEOUT", 0, 15), "time limit"),
        (JobEnd("FAILED", 2), "exit code 2"),
    ],
)
def test_a_job_that_somebody_else_or_itself_ended_is_not_told_as_ours(end: JobEnd, words: str) -> None:
    bench = signalled("ann", "bob", "bob")
    del bench.slurm.jobs["1"]
    bench.slurm.ends["1"] = end
    bench.after(20).drainer.tick()
    (event,) = [e for e in bench.events if e.kind is EventKind.FINISH]
    assert words in event.message
    assert not event.is_notable


def test_how_a_job_ended_is_asked_again_when_slurm_answers() -> None:
    bench = signalled("ann", "bob", "bob")
    del bench.slurm.jobs["1"]
    bench.slurm.ends["1"] = JobEnd("FAILED", 138)
    bench.slurm.hang_at = "endings"
    bench.drains.clear()
    assert bench.after(20).drainer.tick(), "it is not idle before that is known"
    bench.slurm.hang_at = ""
    assert not bench.drainer.tick()
    assert [e.fields["job"] for e in bench.events if e.kind is EventKind.KILLED] == ["1"]


def test_a_job_that_went_with_its_machine_while_slurm_hung_is_told_as_lost_when_it_answers() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [replace(job, restarts=0, started=NOW)]), revoked("pc1", 900))
    bench.drainer.tick()
    bench.slurm.down = True
    bench.drains.clear()
    bench.ours.clear()
    with pytest.raises(SlurmDownError):
        bench.after(1000).drainer.tick()
    bench.slurm.down = False
    assert bench.drainer.tick(), "the job hangs there still"
    bench.slurm.jobs["7"] = replace(job, state="PENDING", nodes=frozenset(), restarts=1)
    assert bench.after(1010).drainer.tick(), "Slurm holds it back"
    assert bench.after(1013).drainer.tick()
    assert bench.slurm.said("let_start") == [("7",)]
    (event,) = [e for e in bench.events if e.kind is EventKind.LOST]
    assert event.fields == {"job": "7", "drain_cause": "taken", "lost_cpu_seconds": 1010.0}


def test_a_requeue_whose_answer_was_lost_is_told_when_a_look_shows_it() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [replace(job, restarts=0)]), revoked("pc1", 100))
    bench.obey(DrainSettings())
    bench.slurm.hang_at = "requeue"
    bench.drainer.tick()
    assert not [e for e in bench.events if e.kind is EventKind.REQUEUE]
    bench.slurm.jobs["7"] = replace(job, state="PENDING", nodes=frozenset(), restarts=1)
    bench.after(5).drainer.tick()
    (event,) = [e for e in bench.events if e.kind is EventKind.REQUEUE]
    assert "requeued: its machine has to be empty" in event.message


def test_the_sites_comment_stands_beside_ours_until_the_job_runs_elsewhere() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node, Node("pc2", "IDLE")], [replace(job, restarts=0)])
    slurm.notes["7"] = "project\n42 "
    bench = Bench(slurm, revoked("pc1", 500))
    bench.drainer.tick()
    order = [what for what, _ in slurm.calls]
    assert order.index("comment") < order.index("signal")
    assert slurm.notes["7"].startswith("project\n42  [esagent: USR1 at ")
    bench.after(450).drainer.tick()
    assert slurm.notes["7"].startswith("project\n42  [requeued by esagent: ")
    bench.after(460).drainer.tick()
    assert "requeued" in slurm.notes["7"], "who waits reads why"
    slurm.notes["7"] += " more"
    slurm.jobs["7"] = replace(job, nodes=frozenset({"pc2"}), restarts=1)
    bench.after(500).drainer.tick()
    assert slurm.notes["7"] == "project\n42  more"


def test_nothing_of_ours_is_left_in_a_job_whose_drain_is_lifted_or_that_got_no_signal() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [replace(job, restarts=0)])
    bench = Bench(slurm, revoked("pc1", 500))
    slurm.refuse = {"signal"}
    bench.drainer.tick()
    assert slurm.notes["7"] == ""
    slurm.refuse = set()
    bench.after(5).drainer.tick()
    assert slurm.notes["7"]
    bench.drains.clear()
    bench.after(10).drainer.tick()
    assert slurm.notes["7"] == ""


def test_a_job_that_is_refused_its_signal_is_requeued_as_if_it_had_got_it_the_first_time() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [replace(job, restarts=0)])
    bench = Bench(slurm, revoked("pc1", 600))
    slurm.refuse = {"signal"}
    bench.drainer.tick()
    bench.after(479).drainer.tick()
    assert (len(slurm.said("signal")), slurm.said("requeue")) == (2, [])
    bench.after(480).drainer.tick()
    assert (len(slurm.said("signal")), slurm.said("requeue")) == (3, ["7"])
    assert "requeued by esagent" in slurm.notes["7"], "not taken off with what the signal left"


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("scancel: error: Unable to contact slurm controller (connect failure)", 2),
        ("scancel: no answer within 30 s", 1),
    ],
)
def test_a_signal_that_never_reached_slurm_is_sent_again_and_no_other(words: str, times: int) -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [job])
    bench = Bench(slurm, revoked("pc1", 500))
    slurm.fault = SlurmDownError(words)
    slurm.hang_at = "signal"
    bench.drainer.tick()
    slurm.hang_at = ""
    bench.after(5).drainer.tick()
    bench.after(10).drainer.tick()
    assert len(slurm.said("signal")) == times
    assert "USR1 at" in slurm.notes["7"]


def test_a_comment_that_cannot_be_read_is_not_overwritten() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [replace(job, restarts=0)])
    slurm.notes["7"] = "the site's"
    bench = Bench(slurm, revoked("pc1", 100))
    bench.obey(DrainSettings())
    slurm.refuse = {"comments"}
    bench.drainer.tick()
    assert slurm.said("requeue") == ["7"]
    assert slurm.notes["7"] == "the site's"


def test_an_agent_that_starts_anew_tidies_up_after_the_last_one() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node, Node("pc2", "MIXED")], [replace(job, restarts=0)])
    slurm.notes["7"] = "the site's"
    first = Bench(slurm, revoked("pc1", 100))
    first.obey(DrainSettings())
    first.drainer.tick()
    slurm.jobs["7"] = replace(job, nodes=frozenset({"pc2"}), restarts=1)
    other = replace(job, id="8", nodes=frozenset({"pc2"}), restarts=0)
    slurm.jobs["8"], slurm.notes["8"] = other, "[not ours]"
    Bench(slurm).after(300).drainer.tick()
    assert slurm.notes == {"7": "the site's", "8": "[not ours]"}


def test_a_job_that_went_with_its_machine_while_no_agent_ran_is_told_as_lost_once() -> None:
    node, job = busy("pc1", "7")
    slurm = Slurm([node], [replace(job, restarts=0)])
    Bench(slurm, revoked("pc1", 500)).drainer.tick()
    slurm.jobs["7"] = replace(job, state="PENDING", nodes=frozenset(), restarts=1)
    for expected in (["7"], []):
        bench = Bench(slurm)
        bench.after(600).drainer.tick()
        assert [e.fields["job"] for e in bench.events if e.kind is EventKind.LOST] == expected
    assert slurm.notes["7"] == ""


def refused_a_requeue(words: str, seconds: float = 200) -> Bench:
    """A job on a node with a deadline, its requeue due, which Slurm refuses in these words."""
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", seconds))
    bench.obey(DrainSettings(requeue_lead=150, kill_lead=60, checkpoint_signal="USR1", checkpoint_lead=150))

    def refuse(job_id: str, *, hold: bool = False) -> None:
        bench.slurm.calls.append(("requeue", job_id))
        raise SlurmRefusedError(f"scontrol requeue: {words} for job {job_id}")

    bench.slurm.requeue = refuse  # type: ignore[method-assign]
    return bench


@pytest.mark.parametrize(
    "words",
    [
        "Only batch jobs are accepted or processed",
        "Requested operation is presently disabled",
        "Access/permission denied",
        "a plugin says no",
    ],
)
def test_a_job_that_slurm_refuses_to_requeue_is_warned_at_the_next_look_and_ended_in_time(words: str) -> None:
    bench = refused_a_requeue(words)
    bench.after(50).drainer.tick()
    assert bench.desk.bell.is_set(), "the next look is at once"
    for seconds in (81, 86, 91):
        bench.after(seconds).drainer.tick()
    assert bench.slurm.said("requeue") == ["7"], "once"
    ((told, warning),) = bench.slurm.said("notify")
    assert told == "7"
    assert "it was refused a requeue and is cancelled at 12:02:20 UTC" in warning
    assert bench.slurm.said("cancel") == []
    bench.after(140).drainer.tick()
    assert bench.slurm.said("cancel") == ["7"]
    kinds = [e.kind for e in bench.events if "job" in e.fields]
    assert kinds == ["signal", "unrequeued", "warn", "cancel"]
    (refusal,) = [e for e in bench.events if e.kind == "unrequeued"]
    assert words in refusal.message
    assert refusal.fields["drain_cause"] == "revoked"


def test_a_job_that_is_refused_a_requeue_too_late_for_a_warning_is_ended_at_once() -> None:
    bench = refused_a_requeue("Requested operation is presently disabled", 50)
    bench.drainer.tick()
    bench.drainer.tick()
    assert bench.slurm.said("cancel") == ["7"]


@pytest.mark.parametrize(
    "words",
    [
        "Job can not be altered now, try again later",
        "expected it to run, it is STAGE_OUT",
        "HTTP 401: rest_token and rest_user are not let in",
        "slurmrestd cannot requeue a job, and nothing else can",
    ],
)
def test_a_refusal_for_a_passing_reason_is_tried_again(words: str) -> None:
    bench = refused_a_requeue(words)
    for seconds in (50, 80, 85, 90):
        bench.after(seconds).drainer.tick()
    assert bench.slurm.said("requeue") == ["7"] * 4
    assert not bench.slurm.said("notify")
    assert [e.kind for e in bench.events if "job" in e.fields] == ["signal"]


def test_a_refusal_holds_for_that_run_of_the_job_alone() -> None:
    bench = refused_a_requeue("Requested operation is presently disabled")
    bench.after(80).drainer.tick()
    del bench.slurm.requeue  # type: ignore[attr-defined]
    # Somebody else requeued it, and it came back here.
    bench.slurm.jobs["7"] = replace(bench.slurm.jobs["7"], started=NOW + timedelta(seconds=82))
    bench.after(85).drainer.tick()
    bench.after(121).drainer.tick()
    assert bench.slurm.jobs["7"].state == "PENDING"
    assert not [e for e in bench.events if e.kind == "unrequeued"]


def test_a_user_who_is_nowhere_near_the_job_is_told_in_writing() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [replace(job, batch=False)]), revoked("pc1", 900))
    bench.slurm.refuse = {"notify"}
    bench.drainer.tick()
    bench.drainer.tick()
    assert len(bench.slurm.said("notify")) == 1
    (event,) = [e for e in bench.events if e.kind == "warn"]
    assert "told in its AdminComment alone: its machine has to be empty" in event.message
    assert "as an interactive job it cannot be requeued" in bench.slurm.notes["7"]


def test_a_loss_that_somebody_else_told_already_is_not_told_again() -> None:
    node, job = busy("pc1", "7")
    job = replace(job, restarts=0, started=NOW)
    bench = Bench(Slurm([node], [job]), revoked("pc1", 900))
    bench.drainer.tick()
    assert bench.desk.losses.is_new(job), "as who takes the node's record out of Slurm does"
    bench.drains.clear()
    bench.ours.clear()
    bench.slurm.jobs["7"] = replace(job, state="PENDING", nodes=frozenset(), restarts=1)
    bench.after(1000).drainer.tick()
    assert not [e for e in bench.events if e.kind is EventKind.LOST]
    assert not bench.desk.losses.is_new(job)
    assert bench.desk.losses.is_new(replace(job, started=NOW + timedelta(seconds=5))), "another run"


def test_a_job_is_asked_once_for_its_own_signal_which_is_told_as_that() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 1000))
    bench.slurm.own = {"7": OwnSignal("USR2", 300, SignalTarget.BATCH)}
    for seconds in (0, 5, 580):
        bench.after(seconds).drainer.tick()
    assert bench.slurm.said("own_signals") == [("7",)]
    assert bench.slurm.said("signal") == [("7", "USR2")]
    (told,) = [event for event in bench.events if event.kind is EventKind.SIGNAL]
    assert told.message.startswith("its own USR2 to job 7 (batch): ")


def test_a_job_whose_own_signal_slurm_does_not_tell_gets_that_of_all_jobs() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 600))
    bench.slurm.hang_at = "own_signals"
    for seconds in (0, 5):
        bench.after(seconds).drainer.tick()
    assert bench.slurm.said("signal") == [("7", "USR1")]
    assert len(bench.slurm.said("own_signals")) == 2


def test_in_a_storm_some_jobs_are_asked_at_a_look_and_the_next_at_the_next() -> None:
    found = [busy(f"pc{n}", str(n)) for n in range(AT_ONCE + 1)]
    slurm = Slurm([node for node, _ in found], [job for _, job in found])
    bench = Bench(slurm, *(revoked(f"pc{n}", 9000 - n) for n in range(AT_ONCE + 1)))
    for seconds in (0, 5, 10):
        bench.after(seconds).drainer.tick()
    first, second = bench.slurm.said("own_signals")
    assert len(first) == AT_ONCE
    assert second == ("0",)
