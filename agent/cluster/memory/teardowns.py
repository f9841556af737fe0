"""Administrators' wishes that one CM be emptied, kept over restarts."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from agent.cluster.reasons import write_time
from agent.core.desk import Lock
from agent.core.model import CmTeardown


class TeardownStore(Protocol):
    """Where they survive a restart."""

    def teardowns(self) -> Sequence[CmTeardown]:
        """Return what is stored."""

    def put_teardown(self, wish: CmTeardown) -> None:
        """Store one in place of an older one of that CM."""

    def remove_teardown(self, cm: str) -> None:
        """Forget one; no error where there is none."""


class Teardowns:
    """Holds the wishes in force, in memory as in the store. Thread-safe.

    Whoever reads waits for nobody who writes: those wait for each other, so that orders that are given at the
    same time end alike in both.

    Args:
        lock: of all that is remembered.
        store: where they survive a restart; read once, here.

    Raises:
        LedgerError: the store cannot be read, or, from each method that changes them, written: nothing has
            changed then.
    """

    def __init__(self, lock: Lock, store: TeardownStore) -> None:
        self._lock = lock
        self._store = store
        self._writing = threading.Lock()
        self._kept = {wish.cm: wish for wish in store.teardowns()}
        self._done: set[str] = set()

    @property
    def wishes(self) -> dict[str, CmTeardown]:
        """CM -> the wish that it be emptied."""
        return {cm: wish for cm, wish in self._all().items() if not wish.lifted}

    @property
    def lifted(self) -> tuple[CmTeardown, ...]:
        """The wishes that were struck, and of which Slurm may still show something."""
        return tuple(wish for wish in self._all().values() if wish.lifted)

    def put(self, wish: CmTeardown) -> None:
        """Take a wish in place of an earlier one."""
        with self._writing:
            self._put(wish)

    def adopt(self, wish: CmTeardown) -> bool:
        """Take what an earlier run wrote into Slurm; False where it is remembered otherwise."""
        with self._writing:
            is_new = wish.cm not in self._all()
            if is_new:
                self._put(wish)
            return is_new

    def lift(self, cm: str) -> bool:
        """Strike the wish for a CM, and remember that; False where there is none."""
        with self._writing:
            wish = self.wishes.get(cm)
            if wish is not None:
                self._put(replace(wish, lifted=True))
            return wish is not None

    def forget_lifted(self, wish: CmTeardown) -> None:
        """Take note that nothing of this lifted wish is left in Slurm."""
        with self._writing:
            if wish in self.lifted:
                self._store.remove_teardown(wish.cm)
                with self._lock:
                    del self._kept[wish.cm]

    def fresh(self, bare: Collection[str]) -> list[str]:
        """Return, each once, the CMs that are empty now: ``bare`` are those at which nothing is held."""
        with self._lock:
            done = self.wishes.keys() & set(bare)
            news, self._done = done - self._done, set(done)
        return sorted(news)

    def _all(self) -> dict[str, CmTeardown]:
        with self._lock:
            return dict(self._kept)

    def _put(self, wish: CmTeardown) -> None:
        self._store.put_teardown(wish)
        with self._lock:
            self._kept[wish.cm] = wish
            self._done.discard(wish.cm)


def teardown_words(wish: CmTeardown) -> str:
    """Tell who has a CM emptied, and since when."""
    due = f", due {write_time(wish.deadline)}" if wish.deadline else ""
    return f"everything at {wish.cm} is given back by {wish.who} since {write_time(wish.since)}{due}"
