"""What administrators said of single machines, kept until a machine is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from agent.core.desk import Lock
from agent.core.model import AdminDrain, SliverNode


class DrainStore(Protocol):
    """Where administrators' drains survive a restart."""

    def drains(self) -> Sequence[AdminDrain]:
        """Return what is stored."""

    def put_drain(self, drain: AdminDrain) -> None:
        """Store one, in place of an older one of the same machine."""

    def remove_drain(self, node_id: str) -> None:
        """Forget one; no error where there is none."""


class Drains:
    """Remembers what was said. Thread-safe.

    Args:
        lock: of all that is remembered.
        store: where it survives a restart.
        stored: what it had there.
    """

    def __init__(self, lock: Lock, store: DrainStore, stored: Iterable[AdminDrain]) -> None:
        self._lock = lock
        self._store = store
        self._wishes = {drain.node_id: drain for drain in stored}
        self._take_over: set[str] = set()

    @property
    def wishes(self) -> dict[str, AdminDrain]:
        """node_id -> the administrator's wish."""
        with self._lock:
            return dict(self._wishes)

    @property
    def take_over(self) -> frozenset[str]:
        """node_ids of machines whose drain by somebody else an administrator wants replaced."""
        with self._lock:
            return frozenset(self._take_over)

    def put(self, drain: AdminDrain, *, take_over: bool = False) -> None:
        """Take an administrator's wish, with ``take_over`` in place of a drain by somebody else.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._store.put_drain(drain)
        with self._lock:
            self._wishes[drain.node_id] = drain
            if take_over:
                self._take_over.add(drain.node_id)

    def get(self, node_id: str) -> AdminDrain | None:
        """Return the administrator's wish for a machine."""
        with self._lock:
            return self._wishes.get(node_id)

    def remove(self, node_id: str) -> None:
        """Strike an administrator's wish; none is no error.

        Raises:
            LedgerError: it cannot be struck.
        """
        self._store.remove_drain(node_id)
        with self._lock:
            self._wishes.pop(node_id, None)
            self._take_over.discard(node_id)

    def forget(self, machine: SliverNode) -> None:
        """Strike what was said of a machine, and nothing that was said of the next one.

        Raises:
            LedgerError: it cannot be struck.
        """
        wish = self.get(machine.node_id)
        if wish is not None and wish.means(machine):
            self.remove(machine.node_id)
