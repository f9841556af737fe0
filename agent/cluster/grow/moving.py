"""Which running jobs will have to move, and so want room before they are requeued: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.cluster.drain.jobs import Fate, Outlook, leader, look_ahead
from agent.cluster.drain.nodes import job_deadlines
from agent.cluster.drain.wanted import wishes_of
from agent.cluster.moment import Moment
from agent.slurm.model import Job

_HELD_AFTERWARDS = "SUSPENDED"
"""State of a job that a requeue leaves held (``scontrol suspend`` takes its priority): it wants no room."""


@dataclass(frozen=True)
class Move:
    """A running job, or one component of it, that is to be requeued before a deadline."""

    job: Job
    deadline: datetime


def moving_jobs(moment: Moment) -> tuple[Move, ...]:
    """Tell which jobs have to leave their nodes by a deadline and will wait for room again.

    It is what the drainer does to them: those that end in time, are ended, run on, or are held afterwards
    are not among them.
    """
    snapshot = moment.snapshot
    if snapshot is None:
        return ()
    wishes = wishes_of(moment)
    deadlines = job_deadlines(wishes.drains, wishes.ours)
    jobs = snapshot.jobs_on(deadlines)
    requeueable = {job.id: job.requeueable for job in jobs if job.requeueable is not None}
    unsure = [name for name, drain in wishes.drains.items() if drain.unconfirmed]
    outlooks = look_ahead(snapshot, deadlines, requeueable, moment.settings.drain, moment.now, unsure)
    due = {leader(outlook.job): outlook.deadline for outlook in outlooks if _moves(outlook)}
    return tuple(
        Move(job, deadline)
        for job in snapshot.jobs
        if job.holds_nodes and job.state != "COMPLETING" and (deadline := due.get(leader(job)))
    )


def _moves(outlook: Outlook) -> bool:
    return outlook.fate is Fate.REQUEUE and not outlook.hold and outlook.job.state != _HELD_AFTERWARDS
