"""What is done to the jobs on nodes that are emptied: they are warned, signalled, requeued or cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from agent.cluster.desk import Desk
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
from agent.cluster.drain.nodes import job_deadlines
from agent.cluster.drain.wanted import Wishes
from agent.cluster.reasons import told_before
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.events import EventKind, JobLost, OfJob
from agent.slurm.model import Job, SlurmBackend, Snapshot

log = structlog.get_logger()

_Action = TypeVar("_Action", bound=JobAction)


def attempt(act: Callable[[], None]) -> None:
    """Do something in Slurm; a refusal is told, and costs nothing else.

    Raises:
        SlurmDownError: no controller answered.
    """
    try:
        act()
    except SlurmDownError:
        raise
    except SlurmError as error:
        log.warning("an act on Slurm failed and is tried again", error=str(error))


class JobActs:
    """Acts on what ``plan_jobs`` says, and remembers who was told what.

    Args:
        desk: has the time; told what is done.
        backend: the way in to Slurm.

    Attributes:
        outlooks: what will happen to the jobs on draining nodes, as of the last look.
    """

    def __init__(self, desk: Desk, backend: SlurmBackend) -> None:
        self._desk = desk
        self._backend = backend
        self._signalled: dict[str, datetime] = {}
        """``leader`` of a job -> when it had its checkpoint signal, by the steady clock."""
        self._warned: set[str] = set()
        """``leader`` of the jobs whose users were told."""
        self._recalled: set[str] = set()
        """``leader`` of the jobs whose AdminComment was read."""
        self._figures = JobFigures()
        self.outlooks: tuple[Outlook, ...] = ()

    def see_to(self, snapshot: Snapshot, wishes: Wishes, settings: DrainSettings) -> None:
        """Look at the jobs on draining nodes, and do what is due; what Slurm refuses is tried again.

        Raises:
            SlurmDownError: no controller answered; the rest is done at the next look.
        """
        deadlines = job_deadlines(wishes.drains, wishes.ours)
        known = self._requeueable(snapshot, deadlines)
        now = self._desk.clock.steady() + wishes.ahead
        outlooks = self.outlooks = look_ahead(snapshot, deadlines, known, settings, now)
        for job, cause in self._figures.finished(snapshot, outlooks, wishes.drains):
            self._tell(EventKind.FINISH, job, f"job {job.id} ended by itself", cause)
        held_up = {leader(outlook.job) for outlook in outlooks}
        self._signalled = {job: at for job, at in self._signalled.items() if job in held_up}
        self._warned &= held_up
        self._recalled &= held_up
        actions = self._plan(outlooks, wishes.ahead, settings, now)
        if self._recall(actions, wishes.ahead, now):
            actions = self._plan(outlooks, wishes.ahead, settings, now)
        self._each(actions, SignalJob, lambda a: (a.signal, a.target, a.comment), self._signal)
        self._each(actions, RequeueJob, lambda a: (a.reason, a.hold), self._requeue)
        self._each(actions, CancelJob, lambda a: a.reason, self._cancel)
        # What can wait comes last.
        self._each(actions, WarnJob, lambda a: a.comment, self._write_warning)
        self._each(actions, WarnJob, lambda a: a.job.id, self._warn)

    def lose(self, jobs: Iterable[Job]) -> None:
        """Take note that jobs lost their machine."""
        for job in jobs:
            self._figures.ended(job)
            self._tell_lost(EventKind.LOST, job, f"job {job.id} lost its machine", "taken")

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

    def _plan(
        self, outlooks: Iterable[Outlook], ahead: timedelta, settings: DrainSettings, now: datetime
    ) -> list[JobAction]:
        signalled = {job: at + ahead for job, at in self._signalled.items()}
        return list(plan_jobs(outlooks, signalled, self._warned, settings, now))

    def _recall(self, actions: Iterable[JobAction], ahead: timedelta, now: datetime) -> bool:
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
                self._signalled[new[job_id]] = signalled - ahead
        return True

    def _each(
        self,
        actions: Iterable[JobAction],
        kind: type[_Action],
        likeness: Callable[[_Action], Hashable],
        act: Callable[[list[_Action]], None],
    ) -> None:
        """Do what is alike, such as for all jobs of one deadline, at once; a fault costs no other group.

        Args:
            actions: all that is due.
            kind: which of them are meant.
            likeness: what those have in common that are done at once.
            act: does them.
        """
        groups: dict[Hashable, list[_Action]] = {}
        for action in actions:
            if isinstance(action, kind):
                groups.setdefault(likeness(action), []).append(action)
        for group in groups.values():
            attempt(partial(act, group))

    def _signal(self, group: list[SignalJob]) -> None:
        """Signal jobs; what they were told is written into them, also for a later run of the agent."""
        first = group[0]
        refused = self._backend.signal_all(_ids(group), first.signal, first.target)
        done = _accepted(group, refused, "a job got no checkpoint signal; it is tried again")
        for action in done:
            job = action.job
            self._signalled[leader(job)] = self._desk.clock.steady()
            self._tell(
                EventKind.SIGNAL, job, f"{action.signal} to job {job.id} ({action.target}): {action.reason}"
            )
        self._comment(_ids(done), first.comment)

    def _requeue(self, group: list[RequeueJob]) -> None:
        """Requeue jobs; why is written into them when they are safe."""
        first = group[0]
        refused = self._backend.requeue_all(_ids(group), hold=first.hold)
        done = _accepted(group, refused, "a job was not requeued; it is tried again if it still runs")
        held = " and held" if first.hold else ""
        for action in done:
            self._end(EventKind.REQUEUE, action.job, f"requeued{held}: {action.reason}")
        self._comment(_ids(done), first.comment)

    def _cancel(self, group: list[CancelJob]) -> None:
        """End jobs; why is written into them before."""
        self._comment(_ids(group), group[0].comment)
        refused = self._backend.cancel_all(_ids(group))
        for action in _accepted(group, refused, "a job was not cancelled; it is tried again"):
            self._end(EventKind.CANCEL, action.job, f"cancelled: {action.reason}")

    def _write_warning(self, group: list[WarnJob]) -> None:
        """Write into jobs what comes; what a signal's comment told is not written again."""
        unwritten = [action for action in group if leader(action.job) not in self._signalled]
        self._comment(_ids(unwritten), group[0].comment)

    def _warn(self, group: list[WarnJob]) -> None:
        """Tell users early, on their terminals."""
        for action in group:
            job = action.job
            self._warned.add(leader(job))
            self._backend.notify(job.id, action.comment)
            self._tell(EventKind.WARN, job, f"the user of job {job.id} was told: {action.reason}")

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

    def _end(self, kind: EventKind, job: Job, words: str) -> None:
        self._figures.ended(job)
        self._tell_lost(kind, job, f"job {job.id} {words}")

    def _tell_lost(self, kind: EventKind, job: Job, message: str, cause: str = "") -> None:
        lost = lost_cpu_seconds(job, self._desk.clock.now())
        data = JobLost(job.id, cause or self._figures.cause(job), lost)
        self._record(kind, job, f"{message} ({lost:.0f} CPU-seconds lost)", data)

    def _tell(self, kind: EventKind, job: Job, message: str, cause: str = "") -> None:
        self._record(kind, job, message, OfJob(job.id, cause or self._figures.cause(job)))

    def _record(self, kind: EventKind, job: Job, message: str, data: OfJob) -> None:
        self._desk.record(kind, ",".join(sorted(job.nodes)), message, data)


def _ids(group: Iterable[JobAction]) -> list[str]:
    return [action.job.id for action in group]


def _accepted(
    group: Iterable[_Action], refused: Mapping[str, SlurmRefusedError], words: str
) -> list[_Action]:
    """Log what Slurm refused; return the rest."""
    for error in refused.values():
        log.warning(words, error=str(error))
    return [action for action in group if action.job.id not in refused]
