"""Which nodes are being emptied to be given back, and how far that is."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.desk import Lock


class Chosen:
    """Remembers them by node name, from the decision until the machine is gone. Thread-safe.

    Args:
        lock: of all that is remembered.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._chosen: set[str] = set()
        self._emptied: set[str] = set()
        self._blocking: set[str] = set()

    @property
    def chosen(self) -> frozenset[str]:
        """Those that are emptied to be given back."""
        with self._lock:
            return frozenset(self._chosen)

    @property
    def emptied(self) -> frozenset[str]:
        """Those that nothing is left on, a teardown's included; their delete commands have run."""
        with self._lock:
            return frozenset(self._emptied)

    @property
    def blocking(self) -> frozenset[str]:
        """Those that are in the way of the lease's renewal."""
        with self._lock:
            return frozenset(self._blocking)

    def choose(self, name: str) -> None:
        """Begin to give it back."""
        with self._lock:
            self._chosen.add(name)

    def choose_blocking(self, name: str) -> bool:
        """Give it back however much the queue wants it; False where that was decided before."""
        with self._lock:
            new = name not in self._blocking
            self._blocking.add(name)
            self._chosen.add(name)
            return new

    def choose_emptied(self) -> None:
        """Give all back that are emptied: the delete commands ran there, so that they are of no more use."""
        with self._lock:
            self._chosen |= self._emptied

    def keep(self, names: Iterable[str]) -> frozenset[str]:
        """Let those go back into service that still may; return which."""
        with self._lock:
            kept = frozenset(names) & self._chosen - self._emptied - self._blocking
            self._chosen -= kept
            return kept

    def empty(self, name: str) -> None:
        """Take note that nothing is left on it."""
        with self._lock:
            self._emptied.add(name)

    def forget(self, name: str) -> None:
        """Take note that its machine is not ours any more."""
        with self._lock:
            for names in (self._chosen, self._emptied, self._blocking):
                names.discard(name)
