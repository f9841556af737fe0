"""What Slurm said last, whichever thread read it, and what the readings so far tell together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from agent.cluster.moment import History
from agent.core.desk import Lock
from agent.slurm.model import Snapshot
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling


@dataclass(frozen=True)
class _Noted:
    """A weight that Slurm took, and the newest reading that had begun by then."""

    reading: int
    name: str
    weight: int


class Known:
    """Keeps the newest reading of Slurm. Thread-safe.

    Readings are ordered by when they began: an older one never takes the place of a newer one, however long
    it was under way.

    Args:
        lock: of all that is remembered.

    Attributes:
        snapshot: what Slurm said last; None before it was read once.
        history: since when things are so; None before the first reading was taken in.
        reservations: Slurm's reservations as the newest full reading found them; None where it did not look.
        limited: names of the partitions that give every job a time limit.
        scheduling: how Slurm chooses nodes; None where it was not read.
        read_back: the CMs of whose machines it is known what an earlier run of the agent did to them.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._begun = 0
        self._taken = 0
        self._noted: list[_Noted] = []
        self._read_at: datetime | None = None
        self.snapshot: Snapshot | None = None
        self.history: History | None = None
        self.reservations: tuple[Reservation, ...] | None = None
        self.limited: frozenset[str] = frozenset()
        self.scheduling: Scheduling | None = None
        self.read_back: frozenset[str] = frozenset()

    def read_at(self) -> datetime | None:
        """Return when the newest reading began, by the steady clock; None before the first."""
        return self._read_at

    def begin(self) -> int:
        """Take note that a reading begins; return its number."""
        with self._lock:
            self._begun += 1
            return self._begun

    def take(self, reading: int, snapshot: Snapshot, began: datetime | None = None) -> bool:
        """Take in what a reading found; False where one that began later came first.

        Args:
            reading: its number.
            snapshot: what it found.
            began: when it began, by the steady clock; None where the wall clock's time is as good.
        """
        with self._lock:
            if reading < self._taken:
                return False
            self._taken, self._read_at = reading, began or snapshot.taken
            # What was set while it was under way may be missing from it.
            self._noted = [noted for noted in self._noted if noted.reading >= reading]
            self.snapshot = _with_weights(snapshot, self._noted)
            return True

    def learn(self, reading: int, history: History) -> None:
        """Take in what a reading added to those before it, unless a newer one came meanwhile."""
        with self._lock:
            if reading == self._taken:
                self.history = history

    def note_weights(self, names: Iterable[str], weight: int) -> None:
        """Take note of a weight that Slurm took just now; the readings that begin later tell what holds.

        Until then the same would be set, and told, again whenever resource values come.
        """
        with self._lock:
            noted = [_Noted(self._begun, name, weight) for name in names]
            self._noted += noted
            if self.snapshot is not None:
                self.snapshot = _with_weights(self.snapshot, noted)


def _with_weights(snapshot: Snapshot, noted: Iterable[_Noted]) -> Snapshot:
    weights = {each.name: each.weight for each in noted if each.name in snapshot.nodes}
    changed = {name: replace(snapshot.nodes[name], weight=weight) for name, weight in weights.items()}
    return replace(snapshot, nodes={**snapshot.nodes, **changed}) if changed else snapshot
