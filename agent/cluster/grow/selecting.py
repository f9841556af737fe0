"""Keeps how Slurm chooses nodes: it changes seldom, so it is read anew now and then."""

from __future__ import annotations

import structlog

from agent.core.errors import SlurmError
from agent.core.ports import Clock
from agent.slurm.model import SlurmBackend, Snapshot
from agent.slurm.scheduling import Scheduling

log = structlog.get_logger()

EVERY = 300.0
"""Seconds between two readings."""
SOONEST = 30.0
"""Seconds that pass in any case before it is read again."""


class Selecting:
    """Reads it where it is due. For one thread.

    Args:
        backend: the way in to Slurm.
        clock: tells when it is due.
    """

    def __init__(self, backend: SlurmBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._tried: float | None = None
        self._last: Scheduling | None = None
        self._complaint = ""

    def read(self, snapshot: Snapshot) -> Scheduling | None:
        """Return what was read last, which is now where it is due; None where it could never be read.

        Args:
            snapshot: what Slurm says now: a partition that was not there before makes it due.
        """
        now = self._clock.monotonic()
        if self._is_due(now, snapshot):
            self._tried = now
            try:
                self._last = self._backend.scheduling()
                self._complaint = ""
            except SlurmError as error:
                # Planning goes on by what was known, or by the old fields of jobs.
                if str(error) != self._complaint:
                    log.warning("it could not be read how Slurm chooses nodes", error=str(error))
                self._complaint = str(error)
        return self._last

    def _is_due(self, now: float, snapshot: Snapshot) -> bool:
        if self._tried is None or now - self._tried >= EVERY:
            return True
        if now - self._tried < SOONEST:
            return False
        if self._last is None:
            return True
        there = {name for node in snapshot.nodes.values() for name in node.partitions}
        return not there <= self._last.partitions.keys()
