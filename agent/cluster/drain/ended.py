"""How a job on a draining node came to its end, of what Slurm says of it: a pure decision."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from agent.cluster.reasons import REASON_PREFIX, told_before
from agent.slurm.model import Job, JobEnd
from agent.slurm.names import signal_number

_SHELLS_BASE = 128
"""What a shell adds to the number of the signal that ended its command (POSIX, 2.8.2)."""


class How(StrEnum):
    """How a job came to its end."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    KILLED = "killed"
    """It died of the signal that was to have it save its work."""
    REQUEUED = "requeued"
    """Somebody put it back into the queue: the agent did not."""
    LOST = "lost"
    """Its machine was gone before it."""
    UNKNOWN = "unknown"
    """Slurm does not know it any more."""


_OF_STATE = {
    "COMPLETED": How.COMPLETED,
    "CANCELLED": How.CANCELLED,
    "TIMEOUT": How.TIMED_OUT,
    "DEADLINE": How.TIMED_OUT,
    "OUT_OF_MEMORY": How.OUT_OF_MEMORY,
    "PREEMPTED": How.PREEMPTED,
    "NODE_FAIL": How.LOST,
    "BOOT_FAIL": How.LOST,
}


def how_it_ended(job: Job, end: JobEnd | None, *, signal: str, gone: bool) -> How | None:
    """Decide how a job came to its end.

    Args:
        job: as it ran.
        end: what Slurm says of it now; None where it does not know it any more.
        signal: the checkpoint signal that it was sent in this run, ``USR1``; "" for none.
        gone: a machine that it ran on is gone.

    Returns:
        None while it has not: it runs on, or cleans up.
    """
    if end is None:
        return How.LOST if gone else How.UNKNOWN
    if is_back(job, end):
        return How.LOST if gone else How.REQUEUED
    if not end.is_over:
        return None
    if end.state == "FAILED" and signal and died_of(end, signal):
        return How.KILLED
    return _OF_STATE.get(end.state, How.FAILED)


def is_back(job: Job, end: JobEnd) -> bool:
    """Tell whether this run of a job was thrown away, so that it begins anew."""
    if end.state == "PENDING":
        return True
    if end.state == "COMPLETING" or job.restarts is None or end.restarts is None:
        return False
    return end.restarts > job.restarts


def runs_anew(job: Job, now: Job) -> bool:
    """Tell whether a job that was seen before has begun anew meanwhile, or waits to."""
    if is_back(job, JobEnd(now.state, restarts=now.restarts)):
        return True
    told = job.restarts is not None and now.restarts is not None
    return not told and job.started is not None and now.started is not None and now.started > job.started


def has_begun_anew(words: str, job: Job, now: datetime) -> bool:
    """Tell from our words in its comment whether a job lost the machine of which it was told that it goes.

    Where we requeued it ourselves, the words are others.
    """
    warned, signalled = told_before(words, now)
    if warned or not words.startswith(REASON_PREFIX):
        return False
    if job.state == "PENDING":
        return True
    return (
        signalled is not None and job.started is not None and job.started > signalled and bool(job.restarts)
    )


def died_of(end: JobEnd, signal: str) -> bool:
    """Tell whether a job died of a signal: its script, a command whose status that handed on, or a step."""
    number = signal_number(signal)
    return number > 0 and (
        number in {end.signal, end.step_signal}
        or _SHELLS_BASE + number in {end.exit_code, end.step_exit_code}
    )


def in_words(how: How, end: JobEnd | None) -> str:
    """Say how a job ended that nobody here ended, to go on after ``job 7``."""
    match how:
        case How.COMPLETED:
            return "ended by itself"
        case How.TIMED_OUT:
            return "ended by its time limit"
        case How.OUT_OF_MEMORY:
            return "ended for lack of memory"
        case How.CANCELLED:
            return "was cancelled by its user or an administrator"
        case How.PREEMPTED:
            return "was preempted"
        case How.UNKNOWN:
            return "ended, and Slurm does not know any more how"
    if end is not None and end.signal:
        return f"failed by itself, by signal {end.signal}"
    return f"failed by itself, with exit code {end.exit_code}" if end is not None else "failed by itself"
