"""The thread that empties nodes: reads Slurm, asks ``plan_drain`` what to do, and does it.

It runs beside the management cycle, because a call to Cloudlab may take ten minutes and a deadline does not
wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.model import Event
from agent.core.ports import Clock, EventSink, HostResult
from agent.slurm.drain import (
    CancelJob,
    Drain,
    DrainAction,
    DrainNodes,
    DrainSettings,
    LeaveNode,
    RequeueJob,
    SignalJob,
    UndrainNodes,
    jobs_at_risk,
    plan_drain,
)
from agent.slurm.model import Job, SlurmBackend, Snapshot

log = structlog.get_logger()

IDLE_TICK = 60.0
"""Seconds between two looks when nothing is being emptied: what a crash left behind is mended then."""


@dataclass(frozen=True)
class Wishes:
    """What is to be emptied now, and what is ours to touch."""

    drains: Mapping[str, Drain]
    """Node name -> drain."""
    ours: Collection[str]
    """Names of the nodes that are Cloudlab machines of ours; empty before the first manifest is read."""


class Drainer:
    """Keeps Slurm in step with the wishes until every wanted node is empty and left.

    Args:
        backend: the way in to Slurm.
        wishes: asked at every tick; answers from memory.
        leave: runs the delete commands on one node (slow; bounded by the seconds it is given).
        left: told once a node when nothing is left on it and its commands have run (or failed).
        settings: asked at every tick, so that a reload takes effect.
        clock: time.
        events: where acts are told.
    """

    def __init__(
        self,
        backend: SlurmBackend,
        wishes: Callable[[], Wishes],
        leave: Callable[[str, float], HostResult],
        left: Callable[[LeaveNode], None],
        *,
        settings: Callable[[], DrainSettings],
        clock: Clock,
        events: EventSink,
    ) -> None:
        self._backend = backend
        self._wishes = wishes
        self._leave = leave
        self._left = left
        self._settings = settings
        self._clock = clock
        self._events = events
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._leaving: set[str] = set()
        self._gone_from: set[str] = set()
        self._signalled: set[str] = set()
        self._looked = clock.monotonic()

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="drainer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End; wait at most ``timeout`` seconds for a tick under way."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def wake(self) -> None:
        """Look now: a notice came, a job ended, an administrator asked."""
        self._wake.set()

    def seconds_since_look(self) -> float:
        """Tell how long ago the last look at Slurm ended, well or not: a watchdog's heartbeat."""
        return self._clock.monotonic() - self._looked

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                busy = self.tick()
            except SlurmError as error:
                log.warning("Slurm could not be read; draining goes on at the next tick", error=str(error))
                busy = True
            except Exception:  # a deadline does not wait until a fault of ours is mended
                log.exception("a look at the drains failed; draining goes on at the next tick")
                busy = True
            self._looked = self._clock.monotonic()
            self._wake.wait(self._settings().tick if busy else IDLE_TICK)

    def tick(self) -> bool:
        """Look once and do what is due.

        Returns:
            Whether anything is being emptied.

        Raises:
            SlurmError: Slurm could not be read; nothing was done.
        """
        settings = self._settings()
        wishes = self._wishes()
        with self._lock:
            self._gone_from &= set(wishes.drains)
        if not wishes.ours:
            return bool(wishes.drains)
        snapshot = self._backend.snapshot()
        actions = plan_drain(
            snapshot,
            wishes.drains,
            ours=wishes.ours,
            signalled=self._signalled,
            requeueable=self._requeueable(snapshot, wishes, settings),
            settings=settings,
            now=self._clock.now(),
        )
        for action in actions:
            try:
                self._act(action, settings)
            except SlurmError as error:
                log.warning("an act on Slurm failed and is tried again", act=action, error=str(error))
        self._signalled &= {job.id for job in snapshot.jobs}
        return bool(wishes.drains)

    def _requeueable(self, snapshot: Snapshot, wishes: Wishes, settings: DrainSettings) -> Mapping[str, bool]:
        soon = max(settings.requeue_lead, settings.kill_lead)
        now = self._clock.now()
        asked = [
            job.id
            for job, deadline in jobs_at_risk(snapshot, wishes.drains, settings)
            if (deadline - now).total_seconds() <= soon
        ]
        try:
            return self._backend.requeueable(asked) if asked else {}
        except SlurmRefusedError as error:
            log.warning("whether jobs may be requeued is not known yet", error=str(error))
            return {}

    def _act(self, action: DrainAction, settings: DrainSettings) -> None:
        match action:
            case DrainNodes(nodes, reason):
                self._backend.drain(nodes, reason)
                for node in nodes:
                    self._tell("drain", node, f"drained in Slurm: {reason}")
            case UndrainNodes(nodes, reason):
                self._backend.undrain(nodes)
                for node in nodes:
                    self._tell("resume", node, f"back in service: {reason}")
            case SignalJob(job, signal, reason):
                self._backend.signal(job.id, signal)
                self._signalled.add(job.id)
                self._tell_job("signal", job, f"{signal} to job {job.id}: {reason}")
            case RequeueJob(job, reason):
                self._comment(job.id, f"requeued by esagent: {reason}")
                self._backend.requeue(job.id)
                self._tell_job("requeue", job, f"job {job.id} requeued: {reason}")
            case CancelJob(job, reason):
                self._comment(job.id, f"cancelled by esagent: {reason}")
                self._backend.cancel(job.id)
                self._tell_job("cancel", job, f"job {job.id} cancelled: {reason}")
            case LeaveNode():
                self._begin_leaving(action, settings)

    def _comment(self, job_id: str, text: str) -> None:
        try:
            self._backend.comment(job_id, text)
        except SlurmError as error:
            log.warning("the job's user will not read why", job=job_id, error=str(error))

    def _begin_leaving(self, action: LeaveNode, settings: DrainSettings) -> None:
        with self._lock:
            if action.node in self._leaving or action.node in self._gone_from:
                return
            self._leaving.add(action.node)
        limit = settings.cleanup_limit
        if action.deadline is not None:
            limit = min(limit, max(1.0, (action.deadline - self._clock.now()).total_seconds()))
        threading.Thread(
            target=self._do_leave, args=(action, limit), name=f"leave-{action.node}", daemon=True
        ).start()

    def _do_leave(self, action: LeaveNode, limit: float) -> None:
        try:
            result = self._leave(action.node, limit)
            with self._lock:
                self._gone_from.add(action.node)
        finally:
            with self._lock:
                self._leaving.discard(action.node)
        said = "the delete commands ran" if result.ok else f"the delete commands failed: {result.error}"
        self._tell("leave", action.node, f"{action.reason}; {said}")
        self._left(action)

    def _tell(self, kind: str, subject: str, message: str) -> None:
        self._events.record(Event(self._clock.now(), kind, subject, message))

    def _tell_job(self, kind: str, job: Job, message: str) -> None:
        subject = ",".join(sorted(job.nodes))
        self._events.record(Event(self._clock.now(), kind, subject, message, {"job": job.id}))
