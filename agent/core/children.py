"""The programs that this process has running, so that none of them outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from weakref import WeakSet


class _Children:
    """Those of this process; one that is waited for is told by its status."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: WeakSet[subprocess.Popen[bytes]] = WeakSet()
        self.over = False


_OURS = _Children()


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Take note of a program that was started with ``start_new_session``; after ``end_all`` it is killed."""
    with _OURS.lock:
        _OURS.known.add(child)
        if _OURS.over:
            _kill(child)


def end_all() -> None:
    """Kill every program that still runs, with its children, and all that are started from now on."""
    with _OURS.lock:
        _OURS.over = True
        for child in _OURS.known:
            _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    # The number of one that was waited for may be another's by now.
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
