"""Administrators' wishes that one CM be emptied, kept over restarts."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
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
        self._wishes = {wish.cm: wish for wish in store.teardowns()}
        self._done: set[str] = set()

    @property
    def wishes(self) -> dict[str, CmTeardown]:
        """CM -> the wish that it be emptied."""
        with self._lock:
            return dict(self._wishes)

    def put(self, wish: CmTeardown) -> None:
        """Take a wish in place of an earlier one."""
        with self._writing:
            self._store.put_teardown(wish)
            with self._lock:
                self._wishes[wish.cm] = wish
                self._done.discard(wish.cm)

    def lift(self, cm: str) -> bool:
        """Strike the wish for a CM; False where there is none."""
        with self._writing:
            if cm not in self.wishes:
                return False
            self._store.remove_teardown(cm)
            with self._lock:
                self._wishes.pop(cm, None)
                self._done.discard(cm)
            return True

    def fresh(self, bare: Collection[str]) -> list[str]:
        """Return, each once, the CMs that are empty now: ``bare`` are those at which nothing is held."""
        with self._lock:
            done = self._wishes.keys() & set(bare)
            news, self._done = done - self._done, set(done)
        return sorted(news)


def teardown_words(wish: CmTeardown) -> str:
    """Tell who has a CM emptied, and since when."""
    due = f", due {write_time(wish.deadline)}" if wish.deadline else ""
    return f"everything at {wish.cm} is given back by {wish.who} since {write_time(wish.since)}{due}"
