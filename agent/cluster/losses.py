"""Which runs of jobs were told as lost: emptying nodes, dropping records and late acts all see it."""

from __future__ import annotations

import threading
from datetime import datetime

from agent.slurm.model import Job

_MOST = 10_000
"""Runs that are remembered; what is told twice is told soon after."""


class Losses:
    """Remembers them. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, datetime | None], None] = {}
        self._handed: list[Job] = []

    def is_new(self, job: Job) -> bool:
        """Take note that this run of a job is told as lost; tell whether it was not before."""
        with self._lock:
            if job.run in self._told:
                return False
            self._told[job.run] = None
            if len(self._told) > _MOST:
                del self._told[next(iter(self._told))]
            return True

    def hand_over(self, job: Job) -> None:
        """Leave a job that Slurm may run again to who sees to it that it starts soon."""
        with self._lock:
            self._handed.append(job)
            del self._handed[:-_MOST]

    @property
    def has_handed(self) -> bool:
        """A job was handed over that nobody has taken."""
        return bool(self._handed)

    def take(self) -> list[Job]:
        """Return the jobs that were handed over, each once."""
        with self._lock:
            taken, self._handed = self._handed, []
        return taken
