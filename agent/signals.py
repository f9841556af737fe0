"""Waits for signals; wakes whichever thread the kernel hands one to."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self


class SignalWaiter:
    """Takes signals over from their handlers, in the main thread, for as long as it is entered.

    A handler of Python's runs in the main thread only, and only when that thread awakes: a wait on a lock
    goes on where the kernel gave the signal to another thread. Each signal therefore writes its number to a
    pipe (``signal.set_wakeup_fd``), and that pipe is what is waited for.

    Args:
        numbers: the signals.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._before: dict[signal.Signals, Any] = {}
        self._before_fd = -1
        self._read = self._write = -1
        self._lock = threading.Lock()
        """Guards the pipe's end: its number may be another file's once it is closed."""

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _nothing) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        with self._lock:
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1

    def wake(self) -> None:
        """Let ``wait`` return now; from any thread, also when this is over."""
        self.put_back(0)

    def put_back(self, number: int) -> None:
        """Have ``wait`` return the number of a signal that it returned before."""
        with self._lock:
            if self._write >= 0:
                with suppress(BlockingIOError):
                    os.write(self._write, bytes([number]))

    def wait(self, timeout: float) -> frozenset[int]:
        """Wait for signals, ``timeout`` seconds at most; return the numbers of those that came."""
        ready, _, _ = select.select([self._read], [], [], timeout)
        return frozenset(os.read(self._read, 4096)).intersection(self._numbers) if ready else frozenset()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Stand in for a handler: without one, the pipe is not written to."""
