"""Threads of ours, each watched: one that ends unexpectedly is told, and begun anew or ends the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

FIRST_PAUSE = 1.0
"""Seconds before a loop that ended unexpectedly is begun anew; each further pause is twice as long."""
LONGEST_PAUSE = 60.0
"""Seconds of the longest pause; a loop that ran so long before it ended is begun anew after the first one."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """A thread ended that was not to end so."""

    thread: str
    """Its name."""
    error: BaseException
    follows: str
    """What follows, in words."""
    is_fatal: bool = False
    """The process is of no use without it."""

    def __str__(self) -> str:
        """Say it to a person."""
        said = f"{type(self.error).__name__}: {self.error}" if str(self.error) else type(self.error).__name__
        return f"the thread {self.thread} ended unexpectedly, {self.follows}: {said}"


Listener = Callable[[Fault], object]


_LISTENERS: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have somebody told of each fault, besides the log; it may be called from any thread."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def errand(name: str, work: Work) -> threading.Thread:
    """Do something once, in a thread of its own. A fault is told, and nothing follows."""
    return _start(name, lambda: _watched(name, work, "and is not repeated"))


def keep(name: str, work: Work, is_over: Callable[[], bool]) -> threading.Thread:
    """Have a loop run in a thread of its own, and begun anew after a fault.

    Args:
        name: of the thread.
        work: the loop; returns when it is to end.
        is_over: tells whether it is to end, so that it is not begun anew.
    """

    def run() -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            if not _watched(name, work, "and is begun anew") or is_over():
                return
            if time.monotonic() - began >= LONGEST_PAUSE:
                pause = FIRST_PAUSE
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if is_over():
                return

    return _start(name, run)


def rely(name: str, work: Work) -> threading.Thread:
    """Do what cannot be begun anew, in a thread of its own: a fault is fatal for the process."""
    return _start(name, lambda: _watched(name, work, "and the agent with it", is_fatal=True))


def _start(name: str, work: Work) -> threading.Thread:
    # Daemons: a peer that hangs must not hold up the process's end.
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _watched(name: str, work: Work, follows: str, *, is_fatal: bool = False) -> bool:
    """Work; return whether that failed."""
    try:
        work()
    except BaseException as error:
        fault = Fault(name, error, follows, is_fatal)
        log.exception(str(fault))
        for listener in [*_LISTENERS]:
            try:
                listener(fault)
            except Exception:  # it must not end a thread that is to be begun anew
                log.exception("a thread's fault could not be told", thread=name)
        return True
    return False
