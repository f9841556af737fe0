"""What is done to jobs, against a Slurm in memory."""

from datetime import timedelta

import pytest

from agent.cluster.drain.foresight import Foresight
from agent.cluster.settings.drain import DrainSettings
from agent.slurm.model import Job, Node
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
    assert len(slurm.said("comments")) == 2, "each agent looks once"


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
    assert kinds == ["snapshot", "drain", *["requeue"] * 200, *["comment"] * 200, "reservations"]


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


@pytest.mark.parametrize("hanging", ["comments", "comment", "signal", "notify", "drain", "reservations"])
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


def test_an_agent_without_foresight_leaves_each_job_to_try() -> None:
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}), started=NOW, ends=NOW + timedelta(hours=1))
    bench = Bench(Slurm([Node("pc1", "MIXED")], [job]), revoked("pc1", 900))
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == []
