"""What becomes of the jobs on nodes that are emptied: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from agent.cluster.drain.saving import AT_THE_NOTICE, NO_SAVING, Saving, saving_of
from agent.cluster.reasons import (
    MOVED,
    Obstacle,
    cancel_comment,
    must_be_empty,
    prospect,
    requeue_comment,
    signal_comment,
    warn_comment,
    why_cancelled,
    why_requeued,
    write_time,
)
from agent.cluster.settings.drain import DrainSettings, policy_for
from agent.slurm import names
from agent.slurm.model import Job, OwnSignal, SignalTarget, Snapshot
from agent.slurm.states import SIGNALLED_STATES


class Fate(StrEnum):
    """How a job leaves its node."""

    ENDS = "ends by itself"
    REQUEUE = "is requeued"
    CANCEL = "is cancelled"
    STAYS = "runs on"
    UNKNOWN = "not known yet"


@dataclass(frozen=True)
class Outlook:
    """What will happen to one job, seen from now."""

    job: Job
    """Of a heterogeneous job the component that has the earliest deadline."""
    nodes: frozenset[str]
    """Those of its nodes, and of its other components', that are being emptied."""
    deadline: datetime | None
    """The earliest of its nodes; None where it may take as long as it likes."""
    fate: Fate
    at: datetime | None
    """When that happens, as far as it is known."""
    hold: bool = False
    """A requeue leaves it held."""
    warn: bool = False
    """Its user is told early: its work cannot be saved by a requeue."""
    saving: Saving = NO_SAVING
    """How it is told to save its work."""
    expected: str = ""
    """When it is expected to end and what it loses by starting over, in words; "" where nobody knows."""
    obstacle: Obstacle = Obstacle.OWN
    """Why no requeue saves it, where it is cancelled."""

    @property
    def signal(self) -> str:
        """What tells it to save its work; "" for nothing."""
        return self.saving.signal

    @property
    def saves(self) -> str:
        """What tells it to save its work and when, in words; "" for nothing."""
        if not self.signal or self.deadline is None:
            return ""
        whose = "its own " if self.saving.is_own else ""
        at = self.deadline - _seconds(self.saving.lead)
        when = "at the notice" if self.saving.lead == AT_THE_NOTICE else f"at {write_time(at)}"
        return f"{whose}{self.signal} {when}"


@dataclass(frozen=True)
class WarnJob:
    """Tell a job's user early what the deadline will do to it."""

    job: Job
    reason: str

    @property
    def comment(self) -> str:
        """What its user reads."""
        return warn_comment(self.reason)


@dataclass(frozen=True)
class SignalJob:
    """Tell a job to save its work."""

    job: Job
    signal: str
    target: SignalTarget
    reason: str
    at: datetime
    is_own: bool = False
    """The job asked for it (``sbatch --signal``)."""

    @property
    def comment(self) -> str:
        """What its user reads."""
        return signal_comment(self.signal, self.at, self.reason)


@dataclass(frozen=True)
class RequeueJob:
    """Put a job back into the queue, from the head node, while its machine still stands."""

    job: Job
    reason: str
    hold: bool
    expected: str = ""
    """Why it is requeued before it has to be, in words; "" where it has to be."""

    @property
    def comment(self) -> str:
        """What its user reads."""
        return requeue_comment(self.reason)


@dataclass(frozen=True)
class CancelJob:
    """End a job that no requeue saves."""

    job: Job
    reason: str

    @property
    def comment(self) -> str:
        """What its user reads."""
        return cancel_comment(self.reason)


JobAction = WarnJob | SignalJob | RequeueJob | CancelJob


def leader(job: Job) -> str:
    """Return the id that acts on the whole of a heterogeneous job; its own id for any other."""
    return names.leader(job.id)


def look_ahead(
    snapshot: Snapshot,
    deadlines: Mapping[str, datetime | None],
    requeueable: Mapping[str, bool],
    settings: DrainSettings,
    now: datetime,
    unconfirmed: Collection[str] = (),
    refused: Collection[str] = (),
    own_signals: Mapping[str, OwnSignal] = MappingProxyType({}),
) -> tuple[Outlook, ...]:
    """Tell for each job on nodes that are emptied what will become of it.

    Args:
        snapshot: what Slurm says.
        deadlines: name of a node that is emptied -> its deadline, if it has one.
        requeueable: job id -> may be requeued; no entry where that is not known.
        settings: leads and policies.
        now: when it is asked.
        unconfirmed: names of those nodes whose deadline may be withdrawn: no job there is requeued before
            ``kill_lead``.
        refused: ``leader`` of the jobs that Slurm has refused to requeue.
        own_signals: ``leader`` of a job -> the signal that it asked for.

    Returns:
        One a job, the earliest deadline first; jobs that are completing have none.
    """
    whole = _whole_jobs(snapshot, deadlines)
    bars = dict.fromkeys(refused, Obstacle.REFUSED) | _barred_elsewhere(snapshot, whole.keys())
    found = [
        _outlook(parts, deadlines, requeueable, settings, now, frozenset(unconfirmed), bars, own_signals)
        for parts in whole.values()
    ]
    return tuple(sorted(found, key=lambda o: (o.deadline is None, o.deadline or now, o.job.id)))


def _whole_jobs(snapshot: Snapshot, nodes: Iterable[str]) -> dict[str, list[Job]]:
    """Gather the jobs on these nodes, the components of a heterogeneous one together."""
    whole: dict[str, list[Job]] = {}
    for job in snapshot.jobs_on(nodes):
        if job.state != "COMPLETING":
            whole.setdefault(leader(job), []).append(job)
    return whole


def _barred_elsewhere(snapshot: Snapshot, leaders: Iterable[str]) -> dict[str, Obstacle]:
    """Return ``leader`` of the heterogeneous jobs of which a component may not be requeued, wherever it runs.

    A requeue would tear such a job apart: Slurm requeues the other components (22.05, 24.11).
    """
    wanted = frozenset(leaders)
    barred = (job for job in snapshot.jobs if job.requeueable is False and "+" in job.id)
    return {leader(job): Obstacle.OWN for job in barred if leader(job) in wanted}


def _outlook(
    parts: list[Job],
    deadlines: Mapping[str, datetime | None],
    requeueable: Mapping[str, bool],
    settings: DrainSettings,
    now: datetime,
    unconfirmed: frozenset[str],
    bars: Mapping[str, Obstacle],
    own_signals: Mapping[str, OwnSignal],
) -> Outlook:
    nodes = frozenset(name for job in parts for name in job.nodes if name in deadlines)
    dated = [(d, job) for job in parts for name in job.nodes if (d := deadlines.get(name)) is not None]
    if not dated:
        return Outlook(parts[0], nodes, None, Fate.ENDS, parts[0].ends)
    deadline, job = min(dated, key=lambda item: (item[0], item[1].id))
    policy = policy_for(job, settings.policies)
    hold = settings.requeue_hold if policy.requeue_hold is None else policy.requeue_hold

    def saving(leaves: float | None) -> Saving:
        whole = replace(job, ends=last, batch=False if _is_interactive(parts) else job.batch)
        return saving_of(whole, own_signals.get(leader(job)), policy, settings, leaves)

    ends = [part.ends for part in parts if part.ends is not None]
    last = max(ends) if len(ends) == len(parts) else None
    may = requeueable.get(job.id)
    obstacle = _obstacle(parts, may, bars)
    # A job that would be lost may use the time that is kept for the delete commands.
    spare = 0.0 if obstacle else settings.cleanup_lead
    in_time = last is not None and last + _seconds(spare) <= deadline
    at_once = policy.method == "requeue-now" and may is True and not obstacle and not nodes <= unconfirmed
    if in_time and not at_once:
        return Outlook(job, nodes, deadline, Fate.ENDS, last)
    if policy.method == "finish":
        return Outlook(job, nodes, deadline, Fate.STAYS, None, warn=True, saving=saving(settings.kill_lead))
    if obstacle:
        at = max(deadline - _seconds(settings.kill_lead), now)
        saved = saving(settings.kill_lead)
        return Outlook(job, nodes, deadline, Fate.CANCEL, at, warn=True, saving=saved, obstacle=obstacle)
    if may is None:
        return Outlook(job, nodes, deadline, Fate.UNKNOWN, None)
    if at_once:
        return Outlook(job, nodes, deadline, Fate.REQUEUE, now, hold=hold, saving=saving(None))
    certain = [d for name in nodes - unconfirmed if (d := deadlines[name]) is not None]
    dues = [deadline - _seconds(settings.kill_lead), *(d - _seconds(settings.requeue_lead) for d in certain)]
    saved = saving((deadline - min(dues)).total_seconds())
    return Outlook(job, nodes, deadline, Fate.REQUEUE, max(min(dues), now), hold=hold, saving=saved)


def _obstacle(parts: Sequence[Job], may: bool | None, bars: Mapping[str, Obstacle]) -> Obstacle | None:
    """Tell why no requeue saves a job, given its components on the nodes that are emptied."""
    if _is_interactive(parts):
        return Obstacle.INTERACTIVE
    return Obstacle.OWN if may is False else bars.get(leader(parts[0]))


def _is_interactive(parts: Iterable[Job]) -> bool:
    return any(job.batch is False for job in parts)


def plan_jobs(
    outlooks: Iterable[Outlook],
    signalled: Mapping[str, datetime],
    warned: Iterable[str],
    settings: DrainSettings,
    now: datetime,
    unheard: Mapping[str, datetime] | None = None,
) -> Iterator[JobAction]:
    """Decide what to do to jobs now.

    A job that has not been told to save its work is told first; the requeue gives it the time between the
    two leads, or the time that it asked for itself, where the deadline leaves that, and never waits beyond
    ``kill_lead``. One that cannot get a signal now, such as a suspended one, is told when it can.

    Args:
        outlooks: from ``look_ahead``.
        signalled: ``leader`` of a job -> when it had its checkpoint signal; one that was for an earlier
            deadline, or an earlier run of the job, does not count.
        warned: ``leader`` of the jobs whose users have been told.
        settings: the leads.
        now: the time of the decision.
        unheard: ``leader`` of a job that was refused its signal -> when it was first; it is tried again, and
            the requeue waits no longer than if it had got that one.
    """
    told, unheard = frozenset(warned), unheard or {}
    for outlook in outlooks:
        if outlook.deadline is None:
            continue
        job, left = outlook.job, (outlook.deadline - now).total_seconds()
        words = must_be_empty(outlook.deadline)
        if outlook.warn:
            end = outlook.at if outlook.fate is Fate.CANCEL else None
            words += f"; {prospect(end, outlook.obstacle)}"
        is_due = outlook.at is not None and outlook.at <= now
        if outlook.warn and not is_due and leader(job) not in told:
            yield WarnJob(job, words)
        saved = outlook.saving
        told_at = _told_for(outlook, outlook.deadline, signalled.get(leader(job)))
        told_at = saved.told_by_slurm(now) if told_at is None else told_at
        may_tell = saved.signal and told_at is None and job.state in SIGNALLED_STATES
        if may_tell and left <= saved.lead:
            yield SignalJob(job, saved.signal, saved.to, words, now, saved.is_own)
            first = _told_for(outlook, outlook.deadline, unheard.get(leader(job)))
            told_at = now if first is None else first
        saving = told_at is not None and (now - told_at).total_seconds() < saved.time
        if outlook.fate is Fate.REQUEUE and is_due and (not saving or left <= settings.kill_lead):
            why = why_requeued(outlook.deadline, is_suspended=job.state == "SUSPENDED")
            yield RequeueJob(job, why, outlook.hold, outlook.expected)
        elif outlook.fate is Fate.CANCEL and is_due:
            yield CancelJob(job, why_cancelled(outlook.deadline, outlook.obstacle))


def _told_for(outlook: Outlook, deadline: datetime, at: datetime | None) -> datetime | None:
    """Return when a job was told to save its work for this deadline, in this run of it."""
    if at is None or (outlook.job.started and at < outlook.job.started):
        return None
    return at if at >= deadline - _seconds(outlook.saving.since) - MOVED else None


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
