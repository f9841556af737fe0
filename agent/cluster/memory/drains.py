"""What administrators said of single machines, kept until a machine is gone."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from agent.core.desk import Lock
from agent.core.model import AdminDrain, Place, SliverNode
from agent.core.said import said_of


class DrainStore(Protocol):
    """Where administrators' drains survive a restart."""

    def drains(self) -> Sequence[AdminDrain]:
        """Return what is stored."""

    def put_drain(self, drain: AdminDrain) -> None:
        """Store one in place of an older one of its place; with a CM also of one of its node_id without."""

    def remove_drain(self, cm: str, node_id: str) -> None:
        """Forget one; no error where there is none."""


class Drains:
    """Remembers what was said, in memory as in the store. Thread-safe.

    Whoever reads waits for nobody who writes: those wait for each other, so that orders that are given at the
    same time end alike in both.

    Args:
        lock: of all that is remembered.
        store: where it survives a restart.
        stored: what it had there.

    Raises:
        LedgerError: from each method that writes: nothing is changed then.
    """

    def __init__(self, lock: Lock, store: DrainStore, stored: Iterable[AdminDrain]) -> None:
        self._lock = lock
        self._store = store
        self._writing = threading.Lock()
        self._kept = {drain.place: drain for drain in stored}

    @property
    def wishes(self) -> dict[Place, AdminDrain]:
        """Place -> the administrator's wish."""
        return {key: drain for key, drain in self._all().items() if not drain.lifted}

    @property
    def lifted(self) -> tuple[AdminDrain, ...]:
        """The wishes that were struck, and of which Slurm may still show something."""
        return tuple(drain for drain in self._all().values() if drain.lifted)

    def of(self, machine: SliverNode) -> AdminDrain | None:
        """Return the administrator's wish for a machine."""
        return _meant(machine, self.wishes)

    def put(self, drain: AdminDrain) -> None:
        """Take an administrator's wish in place of an earlier one of that machine."""
        with self._writing:
            self._put(drain)

    def adopt(self, drain: AdminDrain, machine: SliverNode) -> bool:
        """Take what an earlier run wrote into Slurm of a machine; False where it is remembered otherwise."""
        with self._writing:
            if _meant(machine, self._all()) is not None:
                return False
            self._put(drain)
            return True

    def bind(self, wish: AdminDrain, machines: Collection[SliverNode]) -> None:
        """Write down which machine a wish is for that an older agent took, or which of several it may be."""
        with self._writing:
            if self._all().get(wish.place) == wish:
                for machine in machines:
                    self._put(_bound(wish, machine))

    def lift(self, machine: SliverNode) -> AdminDrain | None:
        """Strike the wish for a machine, and remember that; return what it was, None for none."""
        with self._writing:
            wish = self.of(machine)
            if wish is not None:
                self._put(replace(_bound(wish, machine), lifted=True))
            return wish

    def remove(self, drain: AdminDrain) -> bool:
        """Forget a wish, or that it was lifted; False where another one has taken its place."""
        with self._writing:
            if self._all().get(drain.place) != drain:
                return False
            self._store.remove_drain(*drain.place)
            with self._lock:
                del self._kept[drain.place]
            return True

    def forget(self, machine: SliverNode) -> None:
        """Strike what was said of a machine, and nothing that was said of another one of its node_id."""
        for drain in self._all().values():
            # Without a CM it may be for a machine at another one: readings tell (``plan_outlived``).
            if drain.cm and drain.means(machine):
                self.remove(drain)

    def _all(self) -> dict[Place, AdminDrain]:
        with self._lock:
            return dict(self._kept)

    def _put(self, drain: AdminDrain) -> None:
        self._store.put_drain(drain)
        with self._lock:
            self._kept[drain.place] = drain
            if drain.cm:
                self._kept.pop(("", drain.node_id), None)


def _meant(machine: SliverNode, said: Mapping[Place, AdminDrain]) -> AdminDrain | None:
    return next((drain for drain in said_of(said, machine) if drain.means(machine)), None)


def _bound(wish: AdminDrain, machine: SliverNode) -> AdminDrain:
    return replace(wish, cm=machine.cm, client_id=machine.client_id, sliver_id=machine.sliver_id)
