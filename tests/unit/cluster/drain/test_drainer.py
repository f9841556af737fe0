"""The thread that empties nodes, against a Slurm in memory."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmDownError
from agent.slurm.model import Job, Node
from tests.unit.cluster.drain.conftest import NOW, Bench, Slurm, busy, revoked


def test_a_busy_node_is_drained_emptied_cleaned_and_left() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 900))
    bench.drainer.tick()
    assert bench.slurm.said("drain") == [("pc1",)]
    bench.after(300).drainer.tick()
    bench.after(301).drainer.tick()
    assert bench.slurm.said("signal") == [("7", "USR1")]
    bench.after(780).drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    bench.after(790).drainer.tick()
    assert bench.all_left.wait(5)
    assert bench.commands == [("pc1", 82.5)]
    assert bench.left[0].node == "pc1"
    assert [e.kind for e in bench.events] == ["drain", "signal", "requeue", "leave"]


def test_a_fence_goes_with_the_last_machine() -> None:
    bench = Bench(Slurm([Node("pc1", "IDLE")]))
    bench.fences = {"pc1": NOW + timedelta(seconds=900)}
    bench.drainer.tick()
    assert [set(fence.nodes) for fence in bench.slurm.fences.values()] == [{"pc1"}]
    bench.fences = {}
    bench.ours.clear()
    bench.drainer.tick()
    assert bench.slurm.fences == {}


def test_a_node_is_left_once_however_often_slurm_is_looked_at() -> None:
    drain = revoked("pc1", 900)
    bench = Bench(Slurm([Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=drain.reason)]), drain)
    for _ in range(3):
        bench.drainer.tick()
        assert bench.all_left.wait(5)
    assert len(bench.commands) == 1


def test_a_node_that_is_revoked_again_after_a_withdrawal_is_left_again() -> None:
    drain = revoked("pc1", 900)
    bench = Bench(Slurm([Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=drain.reason)]), drain)
    bench.drainer.tick()
    assert bench.all_left.wait(5)
    bench.drains.clear()
    bench.drainer.tick()
    assert bench.slurm.said("undrain") == [("pc1",)]
    bench.drains["pc1"] = drain
    bench.drainer.tick()
    bench.all_left.clear()
    bench.drainer.tick()
    assert bench.all_left.wait(5)
    assert len(bench.commands) == 2


def test_a_dead_machine_is_left_all_the_same_and_reported() -> None:
    drain = revoked("pc1", 900)
    slurm = Slurm([Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=drain.reason)])
    bench = Bench(slurm, drain, result="connect: no answer")
    bench.drainer.tick()
    assert bench.all_left.wait(5)
    assert bench.left
    assert "connect: no answer" in bench.events[-1].message


def test_the_delete_commands_leave_time_for_the_release_before_the_deadline() -> None:
    drain = revoked("pc1", 40)
    bench = Bench(Slurm([Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=drain.reason)]), drain)
    bench.drainer.tick()
    assert bench.all_left.wait(5)
    assert bench.commands == [("pc1", 30.0)]


def test_while_no_manifest_has_been_read_slurm_is_not_touched() -> None:
    node, job = busy("n1", "7")
    bench = Bench(Slurm([node], [job]), revoked("n1", 10))
    bench.ours.clear()
    bench.fences = None
    assert bench.drainer.tick()
    assert bench.slurm.calls == []


def test_a_slurm_that_does_not_answer_is_an_error_and_nothing_is_done() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 10))
    bench.slurm.down = True
    with pytest.raises(SlurmDownError):
        bench.drainer.tick()
    assert bench.slurm.calls == [("snapshot", None)]


def test_an_act_that_gets_no_answer_costs_no_other() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 10))
    bench.slurm.hang_at = "drain"
    assert bench.drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    bench.slurm.hang_at = ""
    bench.drainer.tick()
    assert bench.slurm.said("drain") == [("pc1",)] * 2


def test_a_gone_machine_is_told_to_slurm_and_its_jobs_count_as_lost() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), Drain("pc1", DrainCause.TAKEN))
    bench.drainer.tick()
    assert bench.slurm.said("set_down") == [("pc1",)]
    assert [e.kind for e in bench.events] == ["drain", "down", "lost"]


def test_the_thread_looks_when_it_is_woken_and_ends_when_it_is_told() -> None:
    drain = revoked("pc1", 900)
    bench = Bench(Slurm([Node("pc1", "IDLE")]))
    bench.obey(DrainSettings(tick=0.1))
    bench.ours.add("pc1")
    bench.drainer.start()
    bench.drains["pc1"] = drain
    bench.desk.look_at_drains()
    assert bench.all_left.wait(20)
    bench.drainer.stop(5)
    assert not any(t.name == "drainer" for t in threading.enumerate())


def test_a_node_whose_slurmd_is_silent_is_given_up_told_and_left_and_no_job_counts_as_lost() -> None:
    drain = revoked("pc1", 50)
    flags = frozenset({"DRAIN", "NOT_RESPONDING", "COMPLETING"})
    slurm = Slurm(
        [Node("pc1", "IDLE", flags, reason=drain.reason)],
        [Job("7", "COMPLETING", nodes=frozenset({"pc1"}))],
    )
    bench = Bench(slurm, drain)
    bench.drainer.tick()
    assert (slurm.nodes["pc1"].state, slurm.nodes["pc1"].reason) == ("DOWN", drain.reason)
    assert [str(kind) for kind in bench.events.kinds] == ["down"]
    slurm.jobs["7"] = Job("7", "PENDING")
    assert bench.desk.freed.waiting("pc1", slurm.snapshot()) == "7"
    slurm.jobs.clear()
    slurm.nodes["pc1"] = replace(slurm.nodes["pc1"], flags=frozenset({"DRAIN"}))
    bench.drainer.tick()
    assert bench.all_left.wait(5)
