"""Follows the jobs on draining nodes to their end, whoever or whatever ends them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from agent.cluster.drain.ended import How, how_it_ended, runs_anew
from agent.cluster.drain.jobs import Outlook, leader
from agent.cluster.reasons import Drain, DrainCause
from agent.core.events import EventKind
from agent.slurm import names
from agent.slurm.model import Job, JobEnd, Snapshot


@dataclass(frozen=True)
class Followed:
    """A job that was on a draining node."""

    job: Job
    """As it was seen there last."""
    nodes: frozenset[str]
    """Those of its nodes that were being emptied."""
    cause: str
    """Why, in one word."""
    signal: str = ""
    """The checkpoint signal that this run of it was sent; "" for none."""
    tried: tuple[EventKind, str] | None = None
    """What we tried to do to it, with the words for it, when Slurm did not say what came of it."""
    gone: bool = False
    """A machine of it is gone."""
    awaited: bool = False
    """It was not where it was any more at the last look, and how it ended is not known yet."""


@dataclass(frozen=True)
class Ended:
    """A job that came to its end, and not by an act of ours that Slurm confirmed."""

    followed: Followed
    how: How
    end: JobEnd | None
    """What Slurm said of it; None where it does not know it any more."""


class Following:
    """Remembers who was on a draining node, and what was done to them, until each has come to its end."""

    def __init__(self) -> None:
        self._followed: dict[str, Followed] = {}
        self._ended: set[str] = set()

    def look(
        self,
        snapshot: Snapshot,
        outlooks: Iterable[Outlook],
        drains: Mapping[str, Drain],
        ours: Collection[str],
        is_busy: Callable[[str], bool] = lambda _: False,
    ) -> list[Ended]:
        """Take in a look at Slurm; return the jobs that were put back into the queue since the last.

        Args:
            snapshot: what Slurm says.
            outlooks: of the jobs on nodes that are emptied now.
            drains: node name -> its drain.
            ours: names of the nodes that have a machine of ours.
            is_busy: tells of the ``leader`` of a job whether an act of ours on it is under way.
        """
        present = {leader(outlook.job): outlook for outlook in outlooks}
        seen = {leader(job): job for job in snapshot.jobs}
        before, self._followed = self._followed, {}
        ended: list[Ended] = []
        for lead, followed in before.items():
            if lead in present or lead in self._ended:
                continue
            gone = followed.gone or _is_gone(followed, snapshot, drains, ours)
            here, job = replace(followed, gone=gone), seen.get(lead)
            if job is None or job.state == "COMPLETING" or is_busy(lead):
                self._followed[lead] = replace(here, awaited=job is None)
            elif runs_anew(followed.job, job):
                how = How.LOST if gone else How.REQUEUED
                ended.append(Ended(here, how, JobEnd(job.state, restarts=job.restarts)))
            elif gone or drains.keys() & followed.nodes:
                self._followed[lead] = here
        # What we ended after Slurm was read is still there in this reading.
        self._ended &= present.keys() & before.keys()
        for lead, outlook in present.items():
            old = before.get(lead)
            if old is None or runs_anew(old.job, outlook.job):
                self._ended.discard(lead)
                old = Followed(outlook.job, outlook.nodes, "")
            seen_now = replace(old, job=outlook.job, nodes=outlook.nodes, awaited=False)
            self._followed[lead] = replace(seen_now, cause=_cause(outlook, drains))
        return ended

    @property
    def awaited(self) -> tuple[Job, ...]:
        """Those that left without a word of how: Slurm is to be asked."""
        return tuple(followed.job for followed in self._followed.values() if followed.awaited)

    @property
    def leaders(self) -> frozenset[str]:
        """``leader`` of all that are followed."""
        return frozenset(self._followed)

    @property
    def is_idle(self) -> bool:
        """Nobody is left who has not come to an end that is told."""
        return not self._followed

    def settle(self, asked: Iterable[Job], ends: Mapping[str, JobEnd]) -> Iterator[Ended]:
        """Take in how jobs ended; yield those that have, each once."""
        of_jobs: dict[str, list[JobEnd]] = {}
        for job_id, told in ends.items():
            of_jobs.setdefault(names.leader(job_id), []).append(told)
        for job in asked:
            lead = leader(job)
            followed = self._followed.get(lead)
            if followed is None or lead in self._ended or not followed.awaited:
                continue
            end = max(of_jobs.get(lead, ()), key=_weight, default=None)
            how = how_it_ended(followed.job, end, signal=followed.signal, gone=followed.gone)
            if how is not None:
                self._followed.pop(lead)
                yield Ended(followed, how, end)

    def cause(self, job: Job) -> str:
        """Return why the nodes of a job are emptied, in one word."""
        return self._followed[leader(job)].cause

    def ended(self, job: Job) -> None:
        """Take note that we ended a job ourselves, or told its end."""
        self._ended.add(leader(job))

    def signalled(self, job: Job, signal: str) -> None:
        """Take note of the checkpoint signal that a job was sent; "" where it was not sent after all."""
        self._change(job, signal=signal)

    def tried(self, job: Job, kind: EventKind, words: str) -> None:
        """Take note of what we tried to do to a job when Slurm did not say what came of it."""
        self._change(job, tried=(kind, words))

    def _change(self, job: Job, **changes: object) -> None:
        if followed := self._followed.get(leader(job)):
            self._followed[leader(job)] = replace(followed, **changes)  # type: ignore[arg-type]


def _is_gone(
    followed: Followed, snapshot: Snapshot, drains: Mapping[str, Drain], ours: Collection[str]
) -> bool:
    """Tell whether a machine of a job is gone: Cloudlab took it, or Slurm gave it up."""
    for name in followed.nodes:
        node, drain = snapshot.nodes.get(name), drains.get(name)
        if name not in ours or node is None or node.state == "DOWN":
            return True
        if drain is not None and drain.cause is DrainCause.TAKEN:
            return True
    return False


def _weight(end: JobEnd) -> tuple[bool, bool, bool]:
    """Rank the components of a heterogeneous job: one that waits says most, then one that runs or failed."""
    return end.state == "PENDING", not end.is_over, end.state != "COMPLETED"


def _cause(outlook: Outlook, drains: Mapping[str, Drain]) -> str:
    """Of several nodes the one with the earliest deadline says it."""
    dated = [drains[name] for name in sorted(outlook.nodes) if drains[name].deadline == outlook.deadline]
    return dated[0].cause.value
