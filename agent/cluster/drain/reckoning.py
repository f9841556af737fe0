"""Tells how jobs on draining nodes came to their end, and how much work was lost with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from agent.cluster.desk import Desk
from agent.cluster.drain.ended import How, has_begun_anew, in_words
from agent.cluster.drain.figures import lost_cpu_seconds
from agent.cluster.drain.following import Ended, Following
from agent.cluster.drain.hands import Hands
from agent.cluster.drain.jobs import Outlook, leader
from agent.cluster.drain.saving import NO_SAVING
from agent.cluster.drain.wanted import Wishes
from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.events import EventKind, JobLost, OfJob
from agent.slurm.model import Job, JobEnd, SlurmBackend, Snapshot


class Reckoning:
    """Follows jobs to their end, asks Slurm how those ended that we did not end, and tells it once.

    Args:
        desk: has the time; told what became of whom.
        backend: the way in to Slurm.
        hands: ask it.
        is_acted_on: tells of the ``leader`` of a job whether an act that ends it is under way.
        starts_anew: told of the jobs that may wait to run again: we requeued them, as a later look showed, or
            they lost their machine.

    Attributes:
        following: the jobs that have not come to their end.
    """

    def __init__(
        self,
        desk: Desk,
        backend: SlurmBackend,
        hands: Hands,
        is_acted_on: Callable[[str], bool],
        starts_anew: Callable[[Iterable[Job]], None],
    ) -> None:
        self._desk = desk
        self._backend = backend
        self._hands = hands
        self._is_acted_on = is_acted_on
        self._starts_anew = starts_anew
        self.following = Following()
        self._deadly: set[tuple[str, tuple[str, ...], str]] = set()
        """User, partitions and checkpoint signal of the jobs that died of it."""

    def spare(self, outlooks: Iterable[Outlook]) -> tuple[Outlook, ...]:
        """Send no job a signal of which another of its user died there: more than its work would be lost.

        One that asked for the signal itself knows it.
        """
        return tuple(
            replace(outlook, saving=NO_SAVING)
            if _likeness(outlook.job, outlook.signal) in self._deadly and not outlook.saving.is_own
            else outlook
            for outlook in outlooks
        )

    def look(self, snapshot: Snapshot, outlooks: Iterable[Outlook], wishes: Wishes) -> None:
        """Take in a look at Slurm; tell what it shows by itself."""
        for ended in self.following.look(snapshot, outlooks, wishes.drains, wishes.ours, self._is_acted_on):
            self._tell_ended(ended)

    def ask(self) -> None:
        """Ask Slurm how those ended that are not there any more, and tell it."""
        jobs = [j for j in self.following.awaited if not self._is_acted_on(leader(j))]
        jobs = [job for job in jobs if not self._hands.is_at(("ended", leader(job)))]
        if not jobs:
            return

        def take(ends: Mapping[str, JobEnd]) -> None:
            for ended in self.following.settle(jobs, ends):
                self._tell_ended(ended)

        def refused(error: SlurmError) -> None:
            if isinstance(error, SlurmRefusedError):
                take({})

        keys, ids = [("ended", leader(job)) for job in jobs], [job.id for job in jobs]
        self._hands.begin(f"ends of {ids[0]}", keys, partial(self._backend.endings, ids), take, refused)

    def end(self, kind: EventKind, job: Job, words: str, cause: str) -> None:
        """Tell that a job was ended, by us or with its machine."""
        self.following.ended(job)
        self._tell_lost(kind, job, f"job {job.id} {words}", cause)

    def lost_before(self, words: Mapping[str, str], jobs: Iterable[Job], now: datetime) -> list[Job]:
        """Tell of the jobs that went with their machine while no agent ran; return them.

        They were told that it goes, nobody requeued them in time, and they have begun anew. How long they had
        run then nobody knows.
        """
        lost = [job for job in jobs if has_begun_anew(words[job.id], job, now)]
        for job in lost:
            said = f"job {job.id} lost its machine while no agent ran"
            self._tell_lost(EventKind.LOST, replace(job, started=None), said, "taken")
        return lost

    def tell(self, kind: EventKind, job: Job, message: str, cause: str) -> None:
        """Tell something of a job."""
        self._record(kind, job, message, OfJob(job.id, cause))

    def _tell_ended(self, ended: Ended) -> None:
        """Tell how a job ended whose end nobody here knew of."""
        followed, end = ended.followed, ended.end
        job, cause, at = followed.job, followed.cause, end.ended if end else None
        if ended.how is How.LOST or (ended.how is How.REQUEUED and followed.tried):
            self._starts_anew([job])
        match ended.how:
            case How.KILLED:
                self._deadly.add(_likeness(job, followed.signal))
                whose, where = job.user or "its user", ", ".join(job.partitions) or "its partition"
                words = (
                    f"died of {followed.signal}, which told it to save its work: "
                    f"jobs of {whose} in {where} are not sent it any more"
                )
                self._tell_lost(EventKind.KILLED, job, f"job {job.id} {words}", cause, at)
            case How.LOST:
                self._tell_lost(EventKind.LOST, job, f"job {job.id} lost its machine", "taken", at)
            case How.REQUEUED | How.CANCELLED if followed.tried:
                kind, words = followed.tried
                self._tell_lost(kind, job, f"job {job.id} {words}", cause, at)
            case How.REQUEUED:
                words = f"job {job.id} was requeued by somebody else"
                self._tell_lost(EventKind.REQUEUE, job, words, cause)
            case how:
                self.tell(EventKind.FINISH, job, f"job {job.id} {in_words(how, end)}", cause)

    def _tell_lost(
        self, kind: EventKind, job: Job, message: str, cause: str, at: datetime | None = None
    ) -> None:
        # An act that hangs may be over when the job was told as lost with its machine.
        is_new = self._desk.losses.is_new(job)
        if not is_new and (kind is EventKind.LOST or job.started is not None):
            return
        lost = lost_cpu_seconds(job, at or self._desk.clock.now())
        self._record(kind, job, f"{message} ({lost:.0f} CPU-seconds lost)", JobLost(job.id, cause, lost))

    def _record(self, kind: EventKind, job: Job, message: str, data: OfJob) -> None:
        self._desk.record(kind, ",".join(sorted(job.nodes)), message, data)


def _likeness(job: Job, signal: str) -> tuple[str, tuple[str, ...], str]:
    """Return what jobs have in common that know a signal or do not."""
    return job.user, job.partitions, signal
