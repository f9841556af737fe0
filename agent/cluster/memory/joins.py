"""What has been tried to make nodes of our machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from agent.cluster.moment import JoinRecord
from agent.core.desk import Lock
from agent.core.model import MachineId, SliverNode

_LOG = 4000
"""Characters of a machine's output that are kept."""


class Joins:
    """Remembers it by key: a machine that comes again starts anew. Thread-safe.

    Args:
        lock: of all that is remembered.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._records: dict[MachineId, JoinRecord] = {}
        self._proven: set[MachineId] = set()
        self._logs: dict[MachineId, str] = {}
        self._failed: dict[MachineId, datetime] = {}

    @property
    def records(self) -> dict[MachineId, JoinRecord]:
        """What has been tried on each machine that has not joined."""
        with self._lock:
            return dict(self._records)

    @property
    def proven(self) -> frozenset[MachineId]:
        """The machines whose probe has passed."""
        with self._lock:
            return frozenset(self._proven)

    @property
    def failed(self) -> dict[MachineId, datetime]:
        """Since when each of the machines that are of no use is seen to be."""
        with self._lock:
            return dict(self._failed)

    def watch(self, machine: SliverNode, now: datetime) -> None:
        """Take note that Slurm has it, and not at work at this moment."""
        with self._lock:
            self._records[machine.key] = JoinRecord(now, now, attempts=0, running=False)

    def begin(
        self, machine: SliverNode, now: datetime, *, attempts: int = 0, probes: int = 0, anew: bool = False
    ) -> None:
        """Take note that something begins on a machine; ``anew`` where Slurm has an earlier one's node."""
        with self._lock:
            earlier = self._records.get(machine.key) or JoinRecord(now, now, 0, running=False)
            self._records[machine.key] = replace(
                earlier,
                last=now,
                attempts=earlier.attempts + attempts,
                probes=earlier.probes + probes,
                running=True,
                anew=earlier.anew or anew,
            )

    def end(self, machine: SliverNode, now: datetime, error: str) -> None:
        """Take note that it is over; ``error`` is "" where it went well."""
        with self._lock:
            record = self._records.get(machine.key)
            if record is not None:
                self._records[machine.key] = replace(record, running=False, last=now, error=error)

    def prove(self, machine: SliverNode) -> None:
        """Take note that its probe has passed."""
        with self._lock:
            self._proven.add(machine.key)

    def join(self, machine: SliverNode) -> JoinRecord | None:
        """Take note that it has joined; return what had been tried, None where that is told already."""
        with self._lock:
            self._proven.add(machine.key)
            self._logs.pop(machine.key, None)
            return self._records.pop(machine.key, None)

    def add_log(self, machine: SliverNode, output: str) -> None:
        """Keep the end of what was printed there."""
        with self._lock:
            log = self._logs.get(machine.key, "") + output
            self._logs[machine.key] = log[-_LOG:]

    def take_log(self, machine: SliverNode) -> str:
        """Return what was printed there, once."""
        with self._lock:
            return self._logs.pop(machine.key, "")

    def see_failed(self, machines: Iterable[SliverNode], now: datetime) -> None:
        """Take note of the machines that are of no use now."""
        with self._lock:
            for machine in machines:
                self._failed.setdefault(machine.key, now)

    def forget(self, machine: SliverNode) -> None:
        """Drop what was tried on a machine that is not ours any more."""
        with self._lock:
            self._proven.discard(machine.key)
            for known in (self._records, self._logs, self._failed):
                known.pop(machine.key, None)
