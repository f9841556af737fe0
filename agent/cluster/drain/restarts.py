"""Lifts Slurm's own hold on jobs that were just requeued, so that no younger job overtakes them.

Slurm lets a requeued job wait for ``cred_expire`` and a second more (``AuthInfo`` in slurm.conf(5), 121 s
by default), so that no slurmd takes the credential of its new run for the old one, which was revoked: the new
one has to be younger. Two seconds are enough for that, on the same node too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.hands import Hands
from agent.cluster.drain.jobs import leader
from agent.core.errors import SlurmRefusedError
from agent.slurm.model import Job, SlurmBackend, Snapshot

log = structlog.get_logger()

YOUNGER = 2.0
"""Seconds after the requeue from which on a credential is younger than the one that was revoked."""
TRIES = 5
"""Looks at which a job is tried that Slurm does not show, or not as one that it holds."""

LONGEST = 300.0
"""Seconds after which nobody looks for the sake of a job alone."""


@dataclass
class _Requeued:
    at: float
    tries: int = TRIES


class Restarts:
    """Remembers which jobs were requeued, until they may start.

    Args:
        desk: has the time.
        backend: the way in to Slurm.
        hands: do it, beside all else.
    """

    def __init__(self, desk: Desk, backend: SlurmBackend, hands: Hands) -> None:
        self._desk = desk
        self._backend = backend
        self._hands = hands
        self._requeued: dict[str, _Requeued] = {}
        """``leader`` of a job -> since when."""

    @property
    def is_waiting(self) -> bool:
        """Whether a job is still to be let go."""
        now = self._desk.clock.monotonic()
        return any(now - requeued.at < LONGEST for requeued in self._requeued.values())

    def note(self, jobs: Iterable[Job]) -> None:
        """Take note that jobs were requeued just now; those that Slurm does not run again are left out."""
        at = self._desk.clock.monotonic()
        again = (job for job in jobs if job.requeueable is not False and job.batch is not False)
        self._requeued.update({leader(job): _Requeued(at) for job in again})

    def note_earlier(self, jobs: Iterable[Job], now: datetime) -> None:
        """Take note of jobs that an earlier run of the agent requeued, or that lost their machine then.

        One that begins later than Slurm holds jobs back was put off by somebody.
        """
        latest = now + timedelta(seconds=LONGEST)
        self.note(job for job in jobs if _is_held(job) and (job.begins is None or job.begins <= latest))

    def look(self, snapshot: Snapshot) -> None:
        """Let those start that are off their nodes; forget those that run, or that something else holds."""
        seen: dict[str, list[Job]] = {}
        for job in snapshot.jobs if self._requeued else ():
            if leader(job) in self._requeued:
                seen.setdefault(leader(job), []).append(job)
        now = self._desk.clock.monotonic()
        due = []
        for job_id, requeued in list(self._requeued.items()):
            parts = seen.get(job_id, [])
            if now - requeued.at < YOUNGER or any(job.state == "COMPLETING" for job in parts):
                continue
            if requeued.tries == 0 or any(not _is_held(job) for job in parts):
                del self._requeued[job_id]
            elif not self._hands.is_at((Restarts, job_id)):
                requeued.tries -= 1
                due.append(job_id)
        if due:
            keys = [(Restarts, job_id) for job_id in due]
            self._hands.begin(f"start {due[0]}", keys, partial(self._backend.let_start, due), _tell)


def _is_held(job: Job) -> bool:
    return job.state == "PENDING" and job.reason in {"BeginTime", "None", ""}


def _tell(refused: Mapping[str, SlurmRefusedError]) -> None:
    for error in refused.values():
        log.warning("a requeued job waits for as long as Slurm holds it", error=str(error))
