"""The daemon as a service: hears signals and tells the init system of itself, whatever else it does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import sdnotify
import structlog

from agent.core import threads
from agent.signals import SignalWaiter

log = structlog.get_logger()

ENDS = frozenset({signal.SIGTERM, signal.SIGINT})
STARTS_BY = 30
"""Seconds that the init system is told to wait for the next word while the daemon starts."""
_BEAT = 10.0
T = TypeVar("T")


class AskedToEndError(Exception):
    """SIGTERM or SIGINT came while something was done; it is left as it is."""


class ThreadLostError(Exception):
    """A thread ended that the process cannot do without; why, in words."""


class Service:
    """What stands between the process and whoever started it.

    Args:
        signals: entered, with SIGTERM, SIGINT and SIGHUP.
        notifier: the way to the init system, if there is one.

    Attributes:
        lost: which thread ended without which the process is of no use, and why; "" while all run.
        ending: the process was asked to end.
    """

    def __init__(self, signals: SignalWaiter, notifier: sdnotify.SystemdNotifier) -> None:
        self._signals = signals
        self._notifier = notifier
        self._is_ready = False
        self.interval = int(os.environ.get("WATCHDOG_USEC", "60000000")) / 1e6 / 3
        """Seconds between two words to the watchdog."""
        self.lost = ""
        self.ending = False

    def take(self, fault: threads.Fault) -> None:
        """Take note that a thread ended unexpectedly; from any thread."""
        if fault.is_fatal:
            self.lose(str(fault))

    def lose(self, reason: str) -> None:
        """Have the next ``wait`` end the process, at once, for a reason that is no signal."""
        self.lost = self.lost or reason
        self._signals.wake()

    def wait(self, timeout: float) -> frozenset[int]:
        """Wait for signals, or a thread that is lost; return the signals that came.

        Raises:
            AskedToEndError: the process is to end.
            ThreadLostError: a thread ended that it cannot do without.
        """
        came = self._signals.wait(timeout)
        if came & ENDS or self.lost:
            self.ending = True
            self._notifier.notify("STOPPING=1")
            raise ThreadLostError(self.lost) if self.lost else AskedToEndError
        return came

    def do(self, work: Callable[[], T]) -> T:
        """Do something that may hang, in a thread of its own, and hear signals meanwhile.

        A SIGHUP that comes is heard at the next ``wait``. What hangs is left behind when the process is to
        end, and each part of it has a time limit of its own: so the init system is told to be patient.

        Raises:
            AskedToEndError: the process is to end.
            ThreadLostError: a thread ended that it cannot do without.
        """
        future: Future[T] = Future()

        def settle() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)
            self._signals.wake()

        threads.errand("aside", settle)
        came: frozenset[int] = frozenset()
        while not future.done():
            came |= self.wait(min(_BEAT, self.interval) if self._is_ready else _BEAT)
            if not future.done():
                self._notifier.notify("WATCHDOG=1" if self._is_ready else _PATIENCE)
        for number in came:
            self._signals.put_back(number)
        return future.result()

    def ready(self) -> None:
        """Tell that it is up, or has read its settings again."""
        self._is_ready = True
        self._notifier.notify("READY=1")

    def reloading(self) -> None:
        """Tell that it reads its settings again."""
        self._notifier.notify("RELOADING=1")

    def is_well(self) -> None:
        """Tell the watchdog."""
        self._notifier.notify("WATCHDOG=1")


_PATIENCE = f"EXTEND_TIMEOUT_USEC={STARTS_BY}000000"
"""As sd_notify(3) has it: without it, a start ends after ``TimeoutStartSec=``."""
