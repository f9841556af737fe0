"""An administrator's wish that growth be held up, kept over restarts."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime

from agent.cluster.memory.drains import DrainStore
from agent.cluster.reasons import TEARDOWN, write_time
from agent.core.desk import Lock
from agent.core.model import AdminDrain

WHOLE_SLICE = ""
"""Stands where a wish has its node_id: an administrator's wish that concerns every machine."""
PAUSE = "pause"
"""Reason of such a wish: no machine is asked for."""


class GrowthHold:
    """Holds the wish in force, in memory as in the store. Thread-safe.

    Whoever reads waits for nobody who writes: those wait for each other, so that orders that are given at the
    same time end alike in both.

    Args:
        lock: of all that is remembered.
        store: where it survives a restart.
        stored: the wish that it had there; None for none.

    Raises:
        LedgerError: from each method that writes: nothing is changed then.
    """

    def __init__(self, lock: Lock, store: DrainStore, stored: AdminDrain | None) -> None:
        self._lock = lock
        self._store = store
        self._writing = threading.Lock()
        self._said = stored
        self._done = False

    @property
    def wish(self) -> AdminDrain | None:
        """The wish that holds growth up, with reason ``PAUSE`` or ``TEARDOWN``; None for none."""
        said = self._last()
        return said if said and not said.lifted else None

    @property
    def lifted(self) -> AdminDrain | None:
        """The wish that was lifted, and of which Slurm may still show something; None for none."""
        said = self._last()
        return said if said and said.lifted else None

    @property
    def tearing_down(self) -> bool:
        """Everything is being given back, or was."""
        wish = self.wish
        return wish is not None and wish.reason == TEARDOWN

    def put(self, reason: str, who: str, now: datetime, deadline: datetime | None = None) -> AdminDrain:
        """Take a wish in place of an earlier one; return it."""
        with self._writing:
            return self._put(AdminDrain(WHOLE_SLICE, reason, who, now, deadline))

    def begin(
        self, reason: str, who: str, now: datetime, deadline: datetime | None = None
    ) -> tuple[AdminDrain, bool]:
        """Take a wish where none is in force; return the one in force, and whether it is this one."""
        with self._writing:
            if wish := self.wish:
                return wish, False
            return self._put(AdminDrain(WHOLE_SLICE, reason, who, now, deadline)), True

    def lift(self) -> bool:
        """Strike the wish, and remember that; False where there is none."""
        with self._writing:
            wish = self.wish
            if wish is not None:
                self._put(replace(wish, lifted=True))
            return wish is not None

    def forget_lifted(self, drain: AdminDrain) -> None:
        """Take note that nothing of this lifted wish is left in Slurm."""
        with self._writing:
            if self.lifted == drain:
                self._store.remove_drain("", WHOLE_SLICE)
                with self._lock:
                    self._said = None

    def _last(self) -> AdminDrain | None:
        with self._lock:
            return self._said

    def _put(self, wish: AdminDrain) -> AdminDrain:
        self._store.put_drain(wish)
        with self._lock:
            self._said, self._done = wish, False
        return wish

    def is_news(self, bare: bool) -> bool:
        """Tell once whether a teardown is complete: ``bare`` says that nothing is held now."""
        with self._lock:
            news, self._done = bare and not self._done, bare
        return news


def hold_words(hold: AdminDrain | None) -> str:
    """Tell who holds growth up, and since when; "" for nobody."""
    if hold is None:
        return ""
    due = f", due {write_time(hold.deadline)}" if hold.deadline else ""
    what = "everything is given back" if hold.reason == TEARDOWN else "growth is paused"
    return f"{what} by {hold.who} since {write_time(hold.since)}{due}"
