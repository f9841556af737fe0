"""Nodes that are emptied, jobs on them, and a Slurm in memory that does what scontrol would."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from agent.cluster.drain.drainer import Drainer
from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.foresight import BLIND, Foresight
from agent.cluster.drain.jobs import leader, look_ahead, plan_jobs
from agent.cluster.drain.nodes import LeaveNode, job_deadlines, plan_nodes
from agent.cluster.drain.wanted import Wishes
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import LedgerError, SlurmDownError, SlurmRefusedError
from agent.core.ports import Host, HostResult
from agent.slurm.model import Job, JobEnd, Node, OwnSignal, SignalTarget, Snapshot
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.rest.backend import refused_of
from tests.unit.cluster.conftest import NOW, Clock, Events, a_desk, settings_with

SLICE = "urn:publicid:IDN+example.net+slice+demo"
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
    unsure = [d.node for d in wanted if d.unconfirmed]
    outlooks = look_ahead(snapshot, job_deadlines(drains, ours), known, settings, now, unsure)
    warned = {j.id for j in jobs} if warned is None else warned
    return [
        *plan_nodes(snapshot, drains, ours=ours, settings=settings, now=now),
        *plan_jobs(outlooks, signalled, warned, settings, now),
    ]


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
        """What gets no answer in time."""
        self.fault = SlurmDownError("no controller answered")
        self.hold_at = ""
        """What does not return until ``go_on`` is set."""
        self.go_on = threading.Event()
        self.refuse: set[str] = set()
        self.may_requeue: dict[str, bool] = {}
        self.notes: dict[str, str] = {}
        """Job id -> AdminComment."""
        self.ends: dict[str, JobEnd] = {}
        """How those ended that are not in ``jobs`` any more."""
        self.own: dict[str, OwnSignal] = {}
        """Job id -> the signal that it asked for."""
        self.fences: dict[str, Reservation] = {}

    def _called(self, what: str, about: object) -> None:
        self.calls.append((what, about))
        if what == self.hold_at:
            self.go_on.wait(30)
        if self.down or what == self.hang_at:
            raise self.fault
        if what in self.refuse:
            raise SlurmRefusedError(f"{what}: Invalid node name specified")

    def snapshot(self) -> Snapshot:
        self._called("snapshot", None)
        return Snapshot(NOW, dict(self.nodes), tuple(map(self._told, self.jobs.values())))

    def _told(self, job: Job) -> Job:
        if job.requeueable is not None:
            return job
        return replace(job, requeueable=self.may_requeue.get(job.id, True))

    def requests_of(self, jobs: Collection[Job]) -> Mapping[str, Request]:
        return {}

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

    def let_start(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        ids = tuple(job_ids)
        self._called("let_start", ids)
        return {}

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        self._called("signal", (job_id, signal))

    def own_signals(self, job_ids: Iterable[str]) -> dict[str, OwnSignal]:
        self._called("own_signals", tuple(job_ids))
        return {job_id: self.own[job_id] for job_id in job_ids if job_id in self.own}

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

    def endings(self, job_ids: Iterable[str]) -> dict[str, JobEnd]:
        self._called("endings", tuple(job_ids))
        return {job_id: self.ends[job_id] for job_id in job_ids if job_id in self.ends}

    def comments(self, job_ids: Iterable[str]) -> dict[str, str]:
        self._called("comments", tuple(job_ids))
        return {job_id: self.notes[job_id] for job_id in job_ids if job_id in self.notes}

    def said(self, what: str) -> list[object]:
        return [about for name, about in self.calls if name == what]


class Made:
    """Keeps which fences were made, in memory."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.fault: LedgerError | None = None

    def put_fence(self, name: str) -> None:
        self._reach()
        self.names.add(name)

    def remove_fence(self, name: str) -> None:
        self._reach()
        self.names.discard(name)

    def fences(self) -> set[str]:
        self._reach()
        return set(self.names)

    def _reach(self) -> None:
        if self.fault is not None:
            raise self.fault


class Bench:
    """A drainer with its surroundings."""

    def __init__(self, slurm: Slurm, *drains: Drain, result: str = "", foresight: Foresight = BLIND) -> None:
        self.slurm = slurm
        self.clock = Clock()
        self.drains = {d.node: d for d in drains}
        self.ours = set(slurm.nodes) | set(self.drains)
        self.fences: dict[str, datetime] | None = {}
        self.held: set[str] = set()
        self.events = Events()
        self.commands: list[tuple[str, float]] = []
        self.left: list[LeaveNode] = []
        self.all_left = threading.Event()
        self.result = result
        self.desk = a_desk(clock=self.clock, events=self.events)
        self.obey(SETTINGS.model_copy(update={"checkpoint_to": SignalTarget.BATCH}))
        fencer = Fencer(slurm, SLICE, Made())
        self.drainer = Drainer(self.desk, slurm, self._wishes, self._leave, self._left, fencer, foresight)

    def obey(self, settings: DrainSettings) -> None:
        """Reload [drain]."""
        self.desk.settings = settings_with(drain=settings)

    def impatient(self) -> None:
        """Wait for acts that hang for less than a moment."""
        self.drainer._hands._patience = 0.02

    def _wishes(self) -> Wishes:
        return Wishes(dict(self.drains), frozenset(self.ours), self.fences, held=set(self.held))

    def _leave(self, action: LeaveNode, timeout: float) -> HostResult:
        self.commands.append((action.node, timeout))
        return HostResult(Host(action.node, "10.0.0.1", "root"), "", self.result)

    def _left(self, action: LeaveNode) -> None:
        self.left.append(action)
        self.all_left.set()

    def after(self, seconds: float) -> Bench:
        self.clock.time = NOW + timedelta(seconds=seconds)
        return self


def busy(name: str, job: str) -> tuple[Node, Job]:
    return Node(name, "MIXED"), Job(job, "RUNNING", nodes=frozenset({name}))
