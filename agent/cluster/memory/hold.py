"""An administrator's wish that growth be held up, kept over restarts."""

from __future__ import annotations

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
    """Holds the wish in force. Thread-safe.

    Args:
        lock: of all that is remembered.
        store: where it survives a restart.
        stored: the wish that it had there; None for none.
    """

    def __init__(self, lock: Lock, store: DrainStore, stored: AdminDrain | None) -> None:
        self._lock = lock
        self._store = store
        self._wish = stored
        self._done = False

    @property
    def wish(self) -> AdminDrain | None:
        """The wish that holds growth up, with reason ``PAUSE`` or ``TEARDOWN``; None for none."""
        with self._lock:
            return self._wish

    @property
    def tearing_down(self) -> bool:
        """Everything is being given back, or was."""
        wish = self.wish
        return wish is not None and wish.reason == TEARDOWN

    def put(self, reason: str, who: str, now: datetime, deadline: datetime | None = None) -> AdminDrain:
        """Take a wish in place of an earlier one.

        Raises:
            LedgerError: it cannot be written down.
        """
        wish = AdminDrain(WHOLE_SLICE, reason, who, now, deadline)
        self._store.put_drain(wish)
        with self._lock:
            self._wish, self._done = wish, False
        return wish

    def lift(self) -> bool:
        """Strike the wish; False where there is none.

        Raises:
            LedgerError: it cannot be struck.
        """
        if self.wish is None:
            return False
        self._store.remove_drain(WHOLE_SLICE)
        with self._lock:
            self._wish = None
        return True

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
