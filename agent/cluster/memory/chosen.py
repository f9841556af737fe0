"""Which machines are being emptied to be given back, and how far that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from agent.core.desk import Lock
from agent.core.model import MachineId, SliverNode


class Chosen:
    """Remembers them by key, from the decision until a machine is gone: the next one is another. Thread-safe.

    Args:
        lock: of all that is remembered.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._chosen: set[MachineId] = set()
        self._leaving: set[MachineId] = set()
        self._emptied: set[MachineId] = set()
        self._blocking: dict[MachineId, datetime | None] = {}

    @property
    def chosen(self) -> frozenset[MachineId]:
        """Keys of those that are emptied to be given back."""
        with self._lock:
            return frozenset(self._chosen)

    @property
    def leaving(self) -> frozenset[MachineId]:
        """Keys of those whose delete commands have begun: none of them may be kept any more."""
        with self._lock:
            return frozenset(self._leaving)

    @property
    def emptied(self) -> frozenset[MachineId]:
        """Keys of those that nothing is left on, a teardown's included; their delete commands have run."""
        with self._lock:
            return frozenset(self._emptied)

    @property
    def blocking(self) -> Mapping[MachineId, datetime | None]:
        """Key of each that is in the way of the lease's renewal -> when it has to be empty, if ever."""
        with self._lock:
            return dict(self._blocking)

    def choose(self, machine: SliverNode) -> None:
        """Begin to give it back."""
        with self._lock:
            self._chosen.add(machine.key)

    def choose_blocking(self, machine: SliverNode, due: datetime | None = None) -> bool:
        """Give it back by a deadline, whatever the queue wants; False where that was decided before."""
        with self._lock:
            new = machine.key not in self._blocking
            self._blocking[machine.key] = due
            self._chosen.add(machine.key)
            return new

    def unblock(self, cm: str) -> None:
        """Take note that no machine of a CM is in the way of its renewal: they are surplus like others."""
        with self._lock:
            self._blocking = {key: due for key, due in self._blocking.items() if key.cm != cm}

    def keep(self, machines: Iterable[SliverNode]) -> tuple[SliverNode, ...]:
        """Let those go back into service that still may; return which."""
        with self._lock:
            may = self._chosen - self._leaving - self._emptied - self._blocking.keys()
            kept = tuple(machine for machine in machines if machine.key in may)
            self._chosen.difference_update(machine.key for machine in kept)
            return kept

    def leave(self, machine: SliverNode) -> None:
        """Take note that its delete commands begin: from now on it goes, whoever wanted it emptied."""
        with self._lock:
            self._chosen.add(machine.key)
            self._leaving.add(machine.key)

    def empty(self, machine: SliverNode) -> None:
        """Take note that nothing is left on it."""
        with self._lock:
            self._emptied.add(machine.key)

    def forget(self, machine: SliverNode) -> None:
        """Take note that it is not ours any more."""
        with self._lock:
            for keys in (self._chosen, self._leaving, self._emptied):
                keys.discard(machine.key)
            self._blocking.pop(machine.key, None)
