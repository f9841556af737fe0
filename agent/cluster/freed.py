"""Which requeued jobs a node was set down under: its record has to stay until they have started again."""

from __future__ import annotations

import threading
from collections.abc import Collection

from agent.slurm.model import Snapshot


class Freed:
    """Remembers them. Safe for many threads.

    Slurm goes on naming the node, unseen, in a job that was completing there, and a slurmctld that starts
    without a record of it has the job complete for ever: ``scancel`` does not end that (22.05).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, frozenset[str]] = {}
        """Node name -> ids of the jobs."""

    def note(self, nodes: Collection[str], snapshot: Snapshot) -> None:
        """Take note that nodes are set down, given what Slurm said before."""
        with self._lock:
            for name in nodes:
                jobs = (job for job in snapshot.jobs_on([name]) if job.state == "COMPLETING")
                self._jobs[name] = self._jobs.get(name, frozenset()) | {job.id for job in jobs}

    def waiting(self, name: str, snapshot: Snapshot) -> str:
        """Return a job that has not started again since this node was set down; "" where there is none.

        Args:
            name: of the node.
            snapshot: of later; jobs that run by then, or are gone, are forgotten.
        """
        idle = {job.id for job in snapshot.jobs if job.state in {"PENDING", "COMPLETING"}}
        with self._lock:
            left = self._jobs.pop(name, frozenset()) & idle
            if left:
                self._jobs[name] = left
            return min(left, default="")
