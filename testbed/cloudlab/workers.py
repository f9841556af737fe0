"""Threads that end when the simulator stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import ParamSpec

_P = ParamSpec("_P")


class Workers:
    """Starts threads and waits for their end."""

    def __init__(self) -> None:
        self.stopping = Event()
        """Set once; every worker looks at it whenever it waits."""
        self._lock = Lock()
        self._threads: list[Thread] = []

    def start(self, name: str, work: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Run ``work`` in a thread; not any more once the simulator stops."""
        thread = Thread(name=name, target=work, args=args, kwargs=kwargs, daemon=True)
        with self._lock:
            if self.stopping.is_set():
                return
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(thread)
            thread.start()

    def join(self, timeout: float) -> list[str]:
        """Wait for all threads after ``stopping`` is set; return the names of those that did not end."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]
