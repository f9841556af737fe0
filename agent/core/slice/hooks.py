"""Telling a helper what became of machines: each thing once, in order, and outside every lock of state."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class HookQueue:
    """Calls that are owed to a helper, per CM.

    What happened to one CM's machines is told in the order in which it was seen; a slow hook holds up no
    other CM.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owed: dict[str, deque[Callable[[], object]]] = defaultdict(deque)
        self._running: dict[str, threading.RLock] = defaultdict(threading.RLock)

    def put(self, cm: str, call: Callable[[], object]) -> None:
        """Owe a call; costs nothing."""
        with self._guard:
            self._owed[cm].append(call)

    def run(self, cm: str) -> None:
        """Make the calls that are owed, or leave them to the thread that makes such calls already.

        A fault in one is logged and costs no other.
        """
        with self._guard:
            running = self._running[cm]
        while self._owes(cm) and running.acquire(blocking=False):
            try:
                while (call := self._next(cm)) is not None:
                    self._make(cm, call)
            finally:
                running.release()

    def _make(self, cm: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:  # a helper's fault over one machine must not cost the others
            log.exception("a helper's hook failed", cm=cm)

    def _owes(self, cm: str) -> bool:
        with self._guard:
            return bool(self._owed[cm])

    def _next(self, cm: str) -> Callable[[], object] | None:
        with self._guard:
            return self._owed[cm].popleft() if self._owed[cm] else None
