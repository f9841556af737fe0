"""Which jobs Slurm refused to requeue, for as long as they run: they are warned and ended instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from agent.slurm.model import Job
from agent.slurm.states import REQUEUEABLE_STATES
from agent.slurm.words import means_not_now


class Refusals:
    """Remembers the refusals that last. No I/O, and for one thread.

    A job that is over, pending or completing at the next look was refused for that, and is forgotten.
    """

    def __init__(self) -> None:
        self._noted: dict[tuple[str, datetime | None], str] = {}
        """``leader`` of a job and the start of its run -> Slurm's words."""
        self._told: set[tuple[str, datetime | None]] = set()

    def note(self, job: Job, words: str) -> bool:
        """Take note that Slurm refused to requeue a job.

        Returns:
            Whether that lasts; where it does not, the requeue is tried again.
        """
        lasts = not means_not_now(words)
        if lasts:
            self._noted[job.run] = words
        return lasts

    def standing(self, jobs: Iterable[Job]) -> frozenset[str]:
        """Take in the jobs of a look at Slurm; return ``leader`` of those that were refused and still run."""
        running = {job.run for job in jobs if job.state in REQUEUEABLE_STATES}
        self._noted = {run: words for run, words in self._noted.items() if run in running}
        self._told &= running
        return frozenset(job_id for job_id, _ in self._noted)

    def untold(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, str]]:
        """Yield those of these jobs that were refused, with Slurm's words, each once."""
        for job in jobs:
            if job.run in self._noted and job.run not in self._told:
                self._told.add(job.run)
                yield job, self._noted[job.run]
