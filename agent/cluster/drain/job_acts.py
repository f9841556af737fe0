"""What is done to the jobs on nodes that are emptied: they are warned, signalled, requeued or cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.comments import Comments
from agent.cluster.drain.foresight import Foresight
from agent.cluster.drain.hands import Hands
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
from agent.cluster.drain.own_signals import OwnSignals
from agent.cluster.drain.reckoning import Reckoning
from agent.cluster.drain.refusals import Refusals
from agent.cluster.drain.restarts import Restarts
from agent.cluster.drain.wanted import Wishes
from agent.cluster.job_comment import ours_in
from agent.cluster.reasons import signal_told, told_before
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.events import EventKind
from agent.slurm.model import Job, SlurmBackend, Snapshot
from agent.slurm.words import means_unreached

log = structlog.get_logger()

_Action = TypeVar("_Action", bound=JobAction)


class JobActs:
    """Acts on what ``plan_jobs`` says, and remembers who was told what.

    Args:
        desk: has the time; told what is done.
        backend: the way in to Slurm.
        hands: do what is due, beside each other.
        foresight: tells which jobs had better start over at once.

    Attributes:
        outlooks: what will happen to the jobs on draining nodes, as of the last look.
    """

    def __init__(self, desk: Desk, backend: SlurmBackend, hands: Hands, foresight: Foresight) -> None:
        self._desk = desk
        self._backend = backend
        self._hands = hands
        self._foresight = foresight
        self._signalled: dict[str, datetime] = {}
        """``leader`` of a job -> when it had its checkpoint signal, by the steady clock."""
        self._unheard: dict[str, datetime] = {}
        """``leader`` of a job that was refused its signal -> when it was first, by the steady clock."""
        self._warned: set[str] = set()
        """``leader`` of the jobs whose users were told."""
        self._recalled: set[str] = set()
        """``leader`` of the jobs whose AdminComment was read."""
        self._refusals = Refusals()
        self._own_signals = OwnSignals(backend, hands)
        self._restarts = Restarts(desk, backend, hands)
        self._reckoning = Reckoning(desk, backend, hands, self._is_acted_on, self._restarts.note)
        self._following = self._reckoning.following
        self._comments = Comments(backend, hands)
        self.outlooks: tuple[Outlook, ...] = ()

    def see_to(self, snapshot: Snapshot, wishes: Wishes, settings: DrainSettings) -> None:
        """Look at the jobs on draining nodes, and do what is due.

        What Slurm refuses is tried again. A job that it refuses to requeue is treated as one that may not be.

        A requeue or a cancellation waits for nothing that may hang, such as a signal.
        """
        deadlines = job_deadlines(wishes.drains, wishes.ours)
        known = {job.id: job.requeueable for job in snapshot.jobs if job.requeueable is not None}
        now = self._desk.clock.steady() + wishes.ahead
        unsure = [name for name, drain in wishes.drains.items() if drain.unconfirmed]
        refused = self._refusals.standing(snapshot.jobs)
        own = self._own_signals.of(_most_urgent(snapshot, deadlines))
        seen = look_ahead(snapshot, deadlines, known, settings, now, unsure, refused, own)
        outlooks = self._reckoning.spare(seen)
        outlooks = self._foresight.look(outlooks, snapshot, wishes, self._desk.settings, now)
        self.outlooks = outlooks
        self._reckoning.look(snapshot, outlooks, wishes)
        for job, why in self._refusals.untold(outlook.job for outlook in outlooks):
            words = f"Slurm refused to requeue job {job.id}: {why}"
            self._reckoning.tell(EventKind.UNREQUEUED, job, words, self._following.cause(job))
        held_up = {leader(outlook.job) for outlook in outlooks}
        self._signalled = {job: at for job, at in self._signalled.items() if job in held_up}
        self._unheard = {job: at for job, at in self._unheard.items() if job in held_up}
        self._warned &= held_up
        self._recalled &= held_up
        actions = self._plan(outlooks, wishes.ahead, settings, now)
        if self._recall(actions, wishes.ahead, now):
            actions = self._plan(outlooks, wishes.ahead, settings, now)
        told = [action for action in actions if leader(action.job) in self._recalled]
        self._each(told, SignalJob, lambda a: (a.signal, a.target, a.comment), self._write)
        self._each(actions, CancelJob, lambda a: a.reason, self._write)
        self._hands.gather()
        self._each(told, SignalJob, lambda a: (a.signal, a.target), self._signal)
        self._each(actions, RequeueJob, lambda a: (a.reason, a.hold), self._requeue)
        self._each(actions, CancelJob, lambda a: a.reason, self._cancel)
        self._hands.gather()
        # What can wait comes last.
        self._each(told, WarnJob, lambda a: a.comment, self._warn)
        self._reckoning.ask()
        self._comments.look_back(snapshot, wishes.ours, lambda said, jobs: self._look_back(said, jobs, now))
        self._restarts.note(self._desk.losses.take())
        self._restarts.look(snapshot)
        self._hands.gather()
        self._comments.tidy(snapshot, held_up | self._following.leaders)
        self._hands.gather()

    @property
    def is_settled(self) -> bool:
        """Of all jobs that left a draining node it is known how, and none is kept from starting again."""
        is_waiting = self._restarts.is_waiting or self._desk.losses.has_handed
        return self._following.is_idle and not is_waiting

    @property
    def is_done(self) -> bool:
        """Nothing is left to be done to any job, also to those that were requeued."""
        return self.is_settled and self._comments.are_clean

    def lose(self, jobs: Iterable[Job]) -> None:
        """Take note that jobs lost their machine."""
        for job in jobs:
            self._end(EventKind.LOST, job, "lost its machine", "taken")
            self._restarts.note([job])

    def _look_back(self, words: Mapping[str, str], jobs: Collection[Job], now: datetime) -> None:
        self._restarts.note_earlier(jobs, now)
        self._comments.take_off(self._reckoning.lost_before(words, jobs, now))

    def _is_acted_on(self, lead: str) -> bool:
        """Tell whether an act that ends a job is under way."""
        return self._hands.is_at((RequeueJob, lead)) or self._hands.is_at((CancelJob, lead))

    def _plan(
        self, outlooks: Iterable[Outlook], ahead: timedelta, settings: DrainSettings, now: datetime
    ) -> list[JobAction]:
        signalled = {job: at + ahead for job, at in self._signalled.items()}
        unheard = {job: at + ahead for job, at in self._unheard.items()}
        return list(plan_jobs(outlooks, signalled, self._warned, settings, now, unheard))

    def _recall(self, actions: Iterable[JobAction], ahead: timedelta, now: datetime) -> bool:
        """Look up whom an earlier run of the agent has told already, once a job, before it is told anything.

        Who it is not known of is told nothing meanwhile; where Slurm does not say, nobody was told.

        Returns:
            Whether it became known of somebody.
        """
        jobs = [a.job for a in actions if isinstance(a, WarnJob | SignalJob)]
        new = {job.id: leader(job) for job in jobs if leader(job) not in self._recalled}
        new = {job_id: lead for job_id, lead in new.items() if not self._hands.is_at(("recall", lead))}

        def take(comments: Mapping[str, str]) -> None:
            self._recalled.update(new.values())
            self._comments.carry(comments, jobs)
            for job in jobs:
                words = ours_in(comments.get(job.id, ""))
                warned, signalled = told_before(words, now)
                if warned:
                    self._warned.add(leader(job))
                if signalled:
                    self._signalled[leader(job)] = signalled - ahead
                    self._following.signalled(job, signal_told(words))

        if new:
            before = len(self._recalled)
            keys = [("recall", lead) for lead in new.values()]
            self._hands.begin(
                "recall", keys, partial(self._backend.comments, list(new)), take, lambda _: take({})
            )
            self._hands.gather()
            return len(self._recalled) > before
        return False

    def _each(
        self,
        actions: Iterable[JobAction],
        kind: type[_Action],
        likeness: Callable[[_Action], Hashable],
        act: Callable[[list[_Action]], None],
    ) -> None:
        """Do what is alike, such as for all jobs of one deadline, at once.

        Args:
            actions: all that is due.
            kind: which of them are meant.
            likeness: what those have in common that are done at once.
            act: begins it.
        """
        groups: dict[Hashable, list[_Action]] = {}
        for action in actions:
            # One that was taken up since Slurm was read may have been done after that.
            if isinstance(action, kind) and not self._hands.was_at((kind, leader(action.job))):
                groups.setdefault(likeness(action), []).append(action)
        for group in groups.values():
            act(group)

    def _begin(
        self,
        group: Sequence[_Action],
        act: Callable[[list[str]], Mapping[str, SlurmRefusedError]],
        then: Callable[[list[_Action]], None],
        words: str,
        otherwise: Callable[[SlurmError], None] | None = None,
        refusals: Callable[[Mapping[str, SlurmRefusedError]], None] | None = None,
    ) -> None:
        """Begin what is done to jobs; ``then`` has those that Slurm took, ``refusals`` why not the others."""
        kind, ids = type(group[0]), [action.job.id for action in group]

        def take(refused: Mapping[str, SlurmRefusedError]) -> None:
            for error in refused.values():
                log.warning(words, error=str(error))
            then([action for action in group if action.job.id not in refused])
            if refusals is not None:
                refusals(refused)

        keys = [(kind, leader(action.job)) for action in group]
        self._hands.begin(f"{kind.__name__} {ids[0]}", keys, partial(act, ids), take, otherwise)

    def _signal(self, group: list[SignalJob]) -> None:
        """Signal jobs, once each: a signal that hangs may have been delivered all the same."""
        first, causes, at = group[0], self._causes(group), self._desk.clock.steady()
        for action in group:
            self._signalled[leader(action.job)] = at
            self._following.signalled(action.job, action.signal)

        def tell(done: list[SignalJob]) -> None:
            sent = {action.job.id for action in done}
            refused = [action.job for action in group if action.job.id not in sent]
            # In its comment another act has written, or is about to.
            self._comments.take_off([j for j in refused if not self._is_acted_on(leader(j))])
            for job in refused:
                self._signalled.pop(leader(job), None)
                self._unheard.setdefault(leader(job), at)
                self._following.signalled(job, "")
            for action in done:
                job = action.job
                self._unheard.pop(leader(job), None)
                whose = "its own " if action.is_own else ""
                words = f"{whose}{action.signal} to job {job.id} ({action.target}): {action.reason}"
                self._reckoning.tell(EventKind.SIGNAL, job, words, causes[job.id])

        def failed(error: SlurmError) -> None:
            if isinstance(error, SlurmRefusedError) or means_unreached(str(error)):
                tell([])

        self._begin(
            group,
            lambda ids: self._backend.signal_all(ids, first.signal, first.target),
            tell,
            "a job got no checkpoint signal; it is tried again",
            failed,
        )

    def _requeue(self, group: list[RequeueJob]) -> None:
        """Requeue jobs; why is written into them when they are safe."""
        first, causes = group[0], self._causes(group)

        def said(action: RequeueJob) -> str:
            expected = f"; {action.expected}" if action.expected else ""
            return f"requeued{' and held' if action.hold else ''}: {action.reason}{expected}"

        def tell(done: list[RequeueJob]) -> None:
            for action in done:
                self._end(EventKind.REQUEUE, action.job, said(action), causes[action.job.id])
            self._write(done)
            if not first.hold:
                self._restarts.note(action.job for action in done)

        def requeue(ids: list[str]) -> Mapping[str, SlurmRefusedError]:
            return self._backend.requeue_all(ids, hold=first.hold)

        doubt = partial(self._doubt, group, EventKind.REQUEUE, said)
        self._begin(group, requeue, tell, "a job was not requeued", doubt, partial(self._refused, group))

    def _refused(self, group: Iterable[RequeueJob], refused: Mapping[str, SlurmRefusedError]) -> None:
        """Take note of requeues that Slurm refused; the next look, at once, sees what is left to be done."""
        for action in group:
            error = refused.get(action.job.id)
            if error is not None and self._refusals.note(action.job, str(error)):
                self._desk.look_at_drains()

    def _cancel(self, group: list[CancelJob]) -> None:
        """End jobs."""
        causes = self._causes(group)

        def said(action: CancelJob) -> str:
            return f"cancelled: {action.reason}"

        def tell(done: list[CancelJob]) -> None:
            for action in done:
                self._end(EventKind.CANCEL, action.job, said(action), causes[action.job.id])

        words = "a job was not cancelled; it is tried again"
        doubt = partial(self._doubt, group, EventKind.CANCEL, said)
        self._begin(group, self._backend.cancel_all, tell, words, doubt)

    def _doubt(
        self, group: Iterable[_Action], kind: EventKind, said: Callable[[_Action], str], error: SlurmError
    ) -> None:
        """Keep in mind what may have been done: Slurm did not say, and a later look shows it."""
        if not isinstance(error, SlurmRefusedError):
            for action in group:
                self._following.tried(action.job, kind, said(action))

    def _warn(self, group: list[WarnJob]) -> None:
        """Tell users early, on their terminals, and in writing where a signal's comment does not."""
        self._write([action for action in group if leader(action.job) not in self._signalled])
        causes = self._causes(group)

        def tell(action: WarnJob, refused: Mapping[str, SlurmRefusedError]) -> None:
            # With salloc --no-shell nobody is at the job.
            where = " in its AdminComment alone" if action.job.id in refused else ""
            words = f"the user of job {action.job.id} was told{where}: {action.reason}"
            self._reckoning.tell(EventKind.WARN, action.job, words, causes[action.job.id])

        for action in group:
            self._warned.add(leader(action.job))
            act, told = partial(self._notify, action), partial(tell, action)
            self._begin([action], act, lambda _: None, "a user was not told at the job", refusals=told)

    def _notify(self, action: WarnJob, ids: list[str]) -> Mapping[str, SlurmRefusedError]:
        refused = {}
        for job_id in ids:
            try:
                self._backend.notify(job_id, action.comment)
            except SlurmRefusedError as error:
                refused[job_id] = error
        return refused

    def _write(self, group: Sequence[JobAction]) -> None:
        """Write to jobs' users, in their AdminComment; that fails without harm."""
        if not group:
            return
        self._comments.write([action.job for action in group], group[0].comment)

    def _causes(self, group: Iterable[JobAction]) -> dict[str, str]:
        """Return job id -> why its nodes are emptied; when an act is over, its job may be forgotten."""
        return {action.job.id: self._following.cause(action.job) for action in group}

    def _end(self, kind: EventKind, job: Job, words: str, cause: str) -> None:
        self._reckoning.end(kind, job, words, cause)


def _most_urgent(snapshot: Snapshot, deadlines: Mapping[str, datetime | None]) -> list[Job]:
    """Return the jobs on nodes with a deadline, the earliest first."""
    dated = {name: deadline for name, deadline in deadlines.items() if deadline is not None}
    jobs = (job for job in snapshot.jobs_on(dated) if job.state != "COMPLETING")
    return sorted(jobs, key=lambda job: min(dated[name] for name in job.nodes if name in dated))
