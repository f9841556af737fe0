"""The thread that empties nodes, against a Slurm in memory."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from agent.cluster.drain.drainer import Drainer
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.drain.wanted import Wishes
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.core.events import Event
from agent.core.ports import Host, HostResult
from agent.slurm.many import refused_of
from agent.slurm.model import Job, Node, Reservation, SignalTarget, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class Slurm:
    """Keeps nodes and jobs, and does what scontrol would."""

    def __init__(self, nodes: Sequence[Node], jobs: Sequence[Job] = ()) -> None:
        self.nodes = {n.name: n for n in nodes}
        self.jobs = {j.id: j for j in jobs}
        self.calls: list[tuple[str, object]] = []
        self.acts: list[str] = []
        """What was done to many jobs at once."""
        self.down = False
        self.hang_at = ""
        self.refuse: set[str] = set()
        self.may_requeue: dict[str, bool] = {}
        self.notes: dict[str, str] = {}
        """Job id -> AdminComment."""
        self.fences: dict[str, Reservation] = {}

    def _called(self, what: str, about: object) -> None:
        self.calls.append((what, about))
        if self.down or what == self.hang_at:
            raise SlurmDownError("no controller answered")
        if what in self.refuse:
            raise SlurmRefusedError(f"{what}: Invalid node name specified")

    def snapshot(self) -> Snapshot:
        self._called("snapshot", None)
        return Snapshot(NOW, dict(self.nodes), tuple(self.jobs.values()))

    def requeueable(self, job_ids: Iterable[str]) -> Mapping[str, bool]:
        return {j: self.may_requeue.get(j, True) for j in job_ids}

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        self._called("drain", tuple(nodes))
        for name in nodes:
            node = self.nodes[name]
            self.nodes[name] = replace(node, flags=node.flags | {"DRAIN"}, reason=reason)

    def undrain(self, nodes: Iterable[str]) -> None:
        self._called("undrain", tuple(nodes))
        for name in nodes:
            node = self.nodes[name]
            self.nodes[name] = replace(node, flags=node.flags - {"DRAIN"}, reason="")

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        self._called("set_down", tuple(nodes))
        for name in nodes:
            self.nodes[name] = replace(self.nodes[name], state="DOWN", reason=reason)

    def resume(self, nodes: Iterable[str]) -> None:
        self._called("resume", tuple(nodes))

    def notify(self, job_id: str, text: str) -> None:
        self._called("notify", (job_id, text))

    def requeue(self, job_id: str, *, hold: bool = False) -> None:
        self._called("requeue", job_id)
        for name in self.jobs[job_id].nodes:
            self.nodes[name] = replace(self.nodes[name], state="IDLE")
        self.jobs[job_id] = replace(self.jobs[job_id], state="PENDING", nodes=frozenset())

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> dict[str, SlurmRefusedError]:
        return refused_of(job_ids, partial(self.requeue, hold=hold))

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        self._called("signal", (job_id, signal))

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        self.acts.append("signal_all")
        return refused_of(job_ids, partial(self.signal, signal=signal, target=target))

    def cancel(self, job_id: str) -> None:
        self._called("cancel", job_id)
        del self.jobs[job_id]

    def cancel_all(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        self.acts.append("cancel_all")
        return refused_of(tuple(job_ids), self.cancel)

    def reservations(self) -> tuple[Reservation, ...]:
        self._called("reservations", None)
        return tuple(self.fences.values())

    def reserve(self, reservation: Reservation) -> None:
        self._called("reserve", reservation.name)
        self.fences[reservation.name] = reservation

    def remove_reservation(self, name: str) -> None:
        self._called("remove_reservation", name)
        del self.fences[name]

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        for job_id in job_ids:
            self._called("comment", (job_id, text))
            self.notes[job_id] = text
        return {}

    def comments(self, job_ids: Iterable[str]) -> dict[str, str]:
        self._called("comments", tuple(job_ids))
        return {job_id: self.notes[job_id] for job_id in job_ids if job_id in self.notes}

    def said(self, what: str) -> list[object]:
        return [about for name, about in self.calls if name == what]


class Bench:
    """A drainer with its surroundings."""

    def __init__(self, slurm: Slurm, *drains: Drain, result: str = "") -> None:
        self.slurm = slurm
        self.clock = Clock()
        self.drains = {d.node: d for d in drains}
        self.ours = set(slurm.nodes) | set(self.drains)
        self.fences: dict[str, datetime] | None = {}
        self.events: list[Event] = []
        self.commands: list[tuple[str, float]] = []
        self.left: list[LeaveNode] = []
        self.all_left = threading.Event()
        self.result = result
        self.settings = DrainSettings(
            checkpoint_signal="USR1",
            checkpoint_to=SignalTarget.BATCH,
            checkpoint_lead=600,
            requeue_lead=120,
            kill_lead=60,
            cleanup_lead=30,
        )
        self.drainer = Drainer(
            slurm,
            lambda: Wishes(dict(self.drains), frozenset(self.ours), self.fences),
            self._leave,
            self._left,
            settings=lambda: self.settings,
            clock=self.clock,
            events=self,
        )

    def record(self, event: Event) -> None:
        self.events.append(event)

    def _leave(self, name: str, timeout: float) -> HostResult:
        self.commands.append((name, timeout))
        return HostResult(Host(name, "10.0.0.1", "root"), "", self.result)

    def _left(self, action: LeaveNode) -> None:
        self.left.append(action)
        self.all_left.set()

    def after(self, seconds: float) -> "Bench":
        self.clock.time = NOW + timedelta(seconds=seconds)
        return self


def revoked(node: str, seconds: float) -> Drain:
    return Drain(node, DrainCause.REVOKED, NOW + timedelta(seconds=seconds))


def busy(name: str, job: str) -> tuple[Node, Job]:
    return Node(name, "MIXED"), Job(job, "RUNNING", nodes=frozenset({name}))


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


def test_one_refused_act_does_not_cost_the_others() -> None:
    pc1, job1 = busy("pc1", "7")
    pc2, job2 = busy("pc2", "8")
    bench = Bench(Slurm([pc1, pc2], [job1, job2]), revoked("pc1", 100), revoked("pc2", 100))
    bench.slurm.refuse = {"drain", "comment", "signal"}
    bench.settings = DrainSettings(kill_lead=60)
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == ["7", "8"]


def test_a_slurm_that_does_not_answer_is_an_error_and_nothing_is_done() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 10))
    bench.slurm.down = True
    with pytest.raises(SlurmDownError):
        bench.drainer.tick()
    assert bench.slurm.calls == [("snapshot", None)]


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
    bench.settings = DrainSettings(requeue_lead=90)
    bench.drainer.tick()
    del bench.slurm.jobs["8"]
    bench.after(10).drainer.tick()
    told = {e.kind: e.fields for e in bench.events if "job" in e.fields}
    assert told["finish"] == {"job": "8", "drain_cause": "revoked"}
    assert told["requeue"] == {"job": "7", "drain_cause": "revoked", "lost_cpu_seconds": 120.0}


def test_when_slurm_stops_to_answer_in_the_middle_the_rest_waits_for_the_next_look() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc1", 10))
    bench.slurm.hang_at = "drain"
    assert bench.drainer.tick()
    assert [what for what, _ in bench.slurm.calls] == ["snapshot", "drain"]


def test_a_gone_machine_is_told_to_slurm_and_its_jobs_count_as_lost() -> None:
    node, job = busy("pc1", "7")
    bench = Bench(Slurm([node], [job]), Drain("pc1", DrainCause.TAKEN))
    bench.drainer.tick()
    assert bench.slurm.said("set_down") == [("pc1",)]
    assert [e.kind for e in bench.events] == ["drain", "down", "lost"]


def test_the_thread_looks_when_it_is_woken_and_ends_when_it_is_told() -> None:
    drain = revoked("pc1", 900)
    bench = Bench(Slurm([Node("pc1", "IDLE")]))
    bench.settings = bench.settings.model_copy(update={"tick": 0.1})
    bench.ours.add("pc1")
    bench.drainer.start()
    bench.drains["pc1"] = drain
    bench.drainer.wake()
    assert bench.all_left.wait(20)
    bench.drainer.stop(5)
    assert not any(t.name == "drainer" for t in threading.enumerate())


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
    bench.settings = DrainSettings()
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
