"""Which jobs a requeue may act on, and what became of them. Pure.

Slurm requeues a *finished* job too: it would run again. So a way in acts on what ran when it looked, and asks
for jobs alone that have not completed when slurmctld comes to it (``incomplete`` of scontrol(1), on every
release from 22.05 on). That is answered alike whether the job was requeued or had ended: what became of it
is read. Between the end of a script and slurmd's word of it slurmctld takes the job for running; that
moment, some milliseconds and more on a node that is overloaded, nobody outside of Slurm can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.errors import SlurmRefusedError
from agent.slurm import names
from agent.slurm.model import Job
from agent.slurm.states import REQUEUEABLE_STATES

_PENDING = "PENDING"


def by_leader(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """Group jobs by the id that acts on them: the components of a heterogeneous job stand together."""
    grouped: dict[str, list[Job]] = {}
    for job in jobs:
        grouped.setdefault(names.leader(job.id), []).append(job)
    return grouped


def is_to_be_requeued(leader: str, seen: Iterable[Job]) -> bool:
    """Tell whether a job runs; False where it is back in the queue.

    Args:
        leader: the id that acts on it.
        seen: its record, or those of its components; none where it is over.

    Raises:
        SlurmRefusedError: it is over, or does something else.
    """
    states = {job.state for job in seen}
    if not states:
        raise SlurmRefusedError(f"requeue of job {leader}: it is over")
    if states == {_PENDING}:
        return False
    if not states <= REQUEUEABLE_STATES | {_PENDING}:
        words = ", ".join(sorted(states))
        raise SlurmRefusedError(f"requeue of job {leader}: expected it to run, it is {words}")
    return True


def left_out(
    before: Mapping[str, Iterable[Job]], after: Mapping[str, Iterable[Job]], complaints: Mapping[str, str]
) -> dict[str, SlurmRefusedError]:
    """Tell which jobs were not requeued: leader -> why.

    Args:
        before: leader -> the records of a job that was to be requeued.
        after: the same as read afterwards; nothing of a job that is over.
        complaints: leader -> what Slurm had against it.
    """
    why = {}
    for leader, records in before.items():
        now = {job.id: job for job in after.get(leader, ())}
        words = {_why(then, now.get(then.id), complaints.get(leader, "")) for then in records} - {""}
        if words:
            why[leader] = SlurmRefusedError(f"requeue of job {leader}: {'; '.join(sorted(words))}")
    return why


def _why(then: Job, now: Job | None, complaint: str) -> str:
    """Tell why a record was not requeued; "" where it was."""
    if now is not None and (now.state == _PENDING or (now.restarts or 0) > (then.restarts or 0)):
        return ""
    if now is not None and now.state in REQUEUEABLE_STATES:
        return complaint or "Slurm left it running"
    return "it ended by itself before"
