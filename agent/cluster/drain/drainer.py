"""The thread that empties nodes: reads Slurm, asks ``plan_nodes`` and ``plan_jobs`` what to do, and does it.

It runs beside the management cycle, because a call to Cloudlab may take ten minutes and a deadline does not
wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog

from agent.cluster.drain.cleaner import Cleaner
from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.figures import JobFigures, lost_cpu_seconds
from agent.cluster.drain.jobs import (
    CancelJob,
    JobAction,
    Outlook,
    RequeueJob,
    SignalJob,
    WarnJob,
    leader,
    look_ahead,
    plan_jobs,
)
from agent.cluster.drain.nodes import (
    DownNodes,
    DrainNodes,
    LeaveNode,
    NodeAction,
    UndrainNodes,
    job_deadlines,
    plan_nodes,
)
from agent.cluster.drain.wanted import Wishes
from agent.cluster.reasons import cancel_comment, requeue_comment, told_before
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmDownError, SlurmError
from agent.core.events import Event, EventKind, JobLost, OfJob
from agent.core.ports import Clock, EventSink, HostResult
from agent.slurm.model import Job, SignalTarget, SlurmBackend, Snapshot

log = structlog.get_logger()

IDLE_TICK = 60.0
"""Seconds between two looks when nothing is being emptied: what a crash left behind is mended then."""
SHORTEST_TICK = 0.5
"""Seconds between two looks at least, however often it is woken: each costs Slurm a few requests."""


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
        self._left = left
        self._settings = settings
        self._clock = clock
        self._events = events
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cleaner = Cleaner(leave, self._cleaned, settings=settings, clock=clock)
        self._signalled: dict[str, datetime] = {}
        self._warned: set[str] = set()
        self._recalled: set[str] = set()
        """``leader`` of the jobs whose AdminComment was read."""
        self._figures = JobFigures()
        self._fencer = Fencer(backend)
        self._looked = clock.monotonic()
        self._outlooks: tuple[Outlook, ...] = ()

    @property
    def outlooks(self) -> tuple[Outlook, ...]:
        """What will happen to the jobs on draining nodes, as of the last look."""
        return self._outlooks

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
            self._stop.wait(SHORTEST_TICK)
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
        self._cleaner.forget_all_but(set(wishes.drains))
        if not wishes.ours:
            # The last machine's fence would keep its record in Slurm.
            self._fence(wishes.fences)
            return bool(wishes.drains)
        snapshot = self._backend.snapshot()
        now = self._clock.now()
        try:
            plan = plan_nodes(snapshot, wishes.drains, ours=wishes.ours, unread=wishes.unread, now=now)
            for action in plan:
                self._try(partial(self._act_on_node, action))
            self._see_to_jobs(snapshot, wishes, settings)
            self._fence(wishes.fences)
        except SlurmDownError as error:
            log.warning("Slurm stopped to answer; draining goes on at the next tick", error=str(error))
        return bool(wishes.drains)

    def _fence(self, wanted: Mapping[str, datetime] | None) -> None:
        if wanted is not None:
            self._try(partial(self._move_fences, wanted))

    def _move_fences(self, wanted: Mapping[str, datetime]) -> None:
        plan = self._fencer.step(wanted, self._clock.now())
        for fence in plan.reserve if plan else ():
            for node in sorted(fence.nodes):
                self._tell(
                    EventKind.FENCE, node, f"no job that would run beyond {fence.starts:%Y-%m-%dT%H:%M:%SZ}"
                )

    def _see_to_jobs(self, snapshot: Snapshot, wishes: Wishes, settings: DrainSettings) -> None:
        deadlines = job_deadlines(wishes.drains, wishes.ours)
        known = self._requeueable(snapshot, deadlines)
        now = self._clock.now()
        outlooks = self._outlooks = look_ahead(snapshot, deadlines, known, settings, now)
        for job, cause in self._figures.finished(snapshot, outlooks, wishes.drains):
            self._tell_job(EventKind.FINISH, job, f"job {job.id} ended by itself", OfJob(job.id, cause))
        held_up = {leader(outlook.job) for outlook in outlooks}
        self._signalled = {job: at for job, at in self._signalled.items() if job in held_up}
        self._warned &= held_up
        self._recalled &= held_up
        actions = list(plan_jobs(outlooks, self._signalled, self._warned, settings, now))
        if self._recall(actions, now):
            actions = list(plan_jobs(outlooks, self._signalled, self._warned, settings, now))
        self._signal([a for a in actions if isinstance(a, SignalJob)])
        self._requeue([a for a in actions if isinstance(a, RequeueJob)])
        self._cancel([a for a in actions if isinstance(a, CancelJob)])
        # What can wait comes last.
        self._warn([a for a in actions if isinstance(a, WarnJob)])

    def _recall(self, actions: Iterable[JobAction], now: datetime) -> bool:
        """Look up whom an earlier run of the agent has told already, once a job, before it is told anything.

        Returns:
            Whether there was anybody to look up.
        """
        about = (a.job for a in actions if isinstance(a, WarnJob | SignalJob))
        new = {job.id: leader(job) for job in about if leader(job) not in self._recalled}
        if not new:
            return False
        try:
            comments = self._backend.comments(new)
        except SlurmDownError:
            raise
        except SlurmError as error:
            log.warning("what jobs were told before is not known", error=str(error))
            return False
        self._recalled.update(new.values())
        for job_id, comment in comments.items():
            warned, signalled = told_before(comment, now)
            if warned:
                self._warned.add(new[job_id])
            if signalled:
                self._signalled[new[job_id]] = signalled
        return True

    def _requeueable(
        self, snapshot: Snapshot, deadlines: Mapping[str, datetime | None]
    ) -> Mapping[str, bool]:
        """Tell which jobs on nodes with a deadline may be requeued: one request for those not known yet."""
        jobs = snapshot.jobs_on(name for name, deadline in deadlines.items() if deadline)
        known = {job.id: job.requeueable for job in jobs if job.requeueable is not None}
        unknown = [job.id for job in jobs if job.requeueable is None and job.state != "COMPLETING"]
        if unknown:
            try:
                known.update(self._backend.requeueable(unknown))
            except SlurmDownError:
                raise
            except SlurmError as error:
                log.warning("whether jobs may be requeued is not known yet", error=str(error))
        return known

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except SlurmDownError:
            raise
        except SlurmError as error:
            log.warning("an act on Slurm failed and is tried again", error=str(error))

    def _act_on_node(self, action: NodeAction) -> None:
        match action:
            case DrainNodes(nodes, reason):
                self._backend.drain(nodes, reason)
                for node in nodes:
                    self._tell(EventKind.DRAIN, node, f"drained in Slurm: {reason}")
            case UndrainNodes(nodes, down):
                (self._backend.resume if down else self._backend.undrain)(nodes)
                for node in nodes:
                    self._tell(EventKind.RESUME, node, "back in service: nobody wants it emptied any more")
            case DownNodes(nodes, reason, lost):
                self._backend.set_down(nodes, reason)
                self._tell(EventKind.DOWN, ",".join(nodes), f"gone with jobs on it: Slurm was told: {reason}")
                for job in lost:
                    self._figures.ended(job)
                    self._tell_lost(EventKind.LOST, job, f"job {job.id} lost its machine", "taken")
            case LeaveNode():
                self._cleaner.put(action)

    def _signal(self, actions: Iterable[SignalJob]) -> None:
        """Signal the jobs of one deadline at once; for their users it is written into them."""
        groups: dict[tuple[str, SignalTarget, str], list[SignalJob]] = {}
        for action in actions:
            groups.setdefault((action.signal, action.target, action.comment), []).append(action)
        for group in groups.values():
            self._try(partial(self._signal_all, group))

    def _signal_all(self, group: Sequence[SignalJob]) -> None:
        first = group[0]
        refused = self._backend.signal_all([a.job.id for a in group], first.signal, first.target)
        for error in refused.values():
            log.warning("a job got no checkpoint signal; it is tried again", error=str(error))
        done = [action for action in group if action.job.id not in refused]
        for action in done:
            job = action.job
            self._signalled[leader(job)] = self._clock.now()
            words = f"{action.signal} to job {job.id} ({action.target}): {action.reason}"
            self._tell_job(EventKind.SIGNAL, job, words, OfJob(job.id, self._figures.cause(job)))
        # A later run of the agent reads it there too.
        self._comment([action.job.id for action in done], first.comment)

    def _cancel(self, actions: Iterable[CancelJob]) -> None:
        """End the jobs of one deadline at once; why is written into them before."""
        groups: dict[str, dict[str, Job]] = {}
        for action in actions:
            groups.setdefault(action.reason, {})[action.job.id] = action.job
        for reason, jobs in groups.items():
            self._try(partial(self._cancel_all, jobs, reason))

    def _cancel_all(self, jobs: Mapping[str, Job], reason: str) -> None:
        self._comment(jobs, cancel_comment(reason))
        refused = self._backend.cancel_all(jobs)
        for error in refused.values():
            log.warning("a job was not cancelled; it is tried again", error=str(error))
        for job_id, job in jobs.items():
            if job_id not in refused:
                self._figures.ended(job)
                self._tell_lost(EventKind.CANCEL, job, f"job {job.id} cancelled: {reason}")

    def _requeue(self, actions: Iterable[RequeueJob]) -> None:
        """Requeue all jobs of one deadline at once; why is written into them when they are safe."""
        groups: dict[tuple[str, bool], dict[str, Job]] = {}
        for action in actions:
            groups.setdefault((action.reason, action.hold), {})[action.job.id] = action.job
        for (reason, hold), jobs in groups.items():
            self._try(partial(self._requeue_all, jobs, reason, hold))

    def _requeue_all(self, jobs: Mapping[str, Job], reason: str, hold: bool) -> None:
        refused = self._backend.requeue_all(jobs, hold=hold)
        for error in refused.values():
            log.warning("a job was not requeued; it is tried again if it still runs", error=str(error))
        done = [job for job_id, job in jobs.items() if job_id not in refused]
        held = " and held" if hold else ""
        for job in done:
            self._figures.ended(job)
            self._tell_lost(EventKind.REQUEUE, job, f"job {job.id} requeued{held}: {reason}")
        self._comment([job.id for job in done], requeue_comment(reason))

    def _warn(self, actions: Sequence[WarnJob]) -> None:
        """Tell users early; what a signal's comment told is not written again."""
        unwritten: dict[str, list[str]] = {}
        for action in actions:
            if leader(action.job) not in self._signalled:
                unwritten.setdefault(action.comment, []).append(action.job.id)
        for comment, jobs in unwritten.items():
            self._comment(jobs, comment)
        for action in actions:
            self._try(partial(self._notify, action))

    def _notify(self, action: WarnJob) -> None:
        self._warned.add(leader(action.job))
        self._backend.notify(action.job.id, action.comment)
        job = action.job
        told = OfJob(job.id, self._figures.cause(job))
        self._tell_job(EventKind.WARN, job, f"the user of job {job.id} was told: {action.reason}", told)

    def _comment(self, jobs: Collection[str], text: str) -> None:
        """Write to jobs' users; that fails without harm."""
        try:
            refused = self._backend.comment_all(jobs, text) if jobs else {}
        except SlurmDownError:
            raise
        except SlurmError as error:
            log.warning("jobs' users will not read why", jobs=sorted(jobs), error=str(error))
            return
        for job_id, why in refused.items():
            log.warning("the job's user will not read why", job=job_id, error=str(why))

    def _cleaned(self, action: LeaveNode, result: HostResult) -> None:
        said = "the delete commands ran" if result.ok else f"the delete commands failed: {result.error}"
        self._tell(EventKind.LEAVE, action.node, f"{action.reason}; {said}")
        self._left(action)

    def _tell(self, kind: EventKind, subject: str, message: str) -> None:
        self._events.record(Event(self._clock.now(), kind, subject, message))

    def _tell_lost(self, kind: EventKind, job: Job, message: str, cause: str = "") -> None:
        lost = lost_cpu_seconds(job, self._clock.now())
        data = JobLost(job.id, cause or self._figures.cause(job), lost)
        self._tell_job(kind, job, f"{message} ({lost:.0f} CPU-seconds lost)", data)

    def _tell_job(self, kind: EventKind, job: Job, message: str, data: OfJob) -> None:
        self._events.record(Event(self._clock.now(), kind, ",".join(sorted(job.nodes)), message, data))
