"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 180.0
"""Seconds to wait for what is to come, on a slow machine too: Slurm may look at its queue once a minute."""


class NotInTimeError(Exception):
    """A condition that was waited for did not come true in time."""


def wait_for(what: str, check: Callable[[], T], *, timeout: float = PATIENCE, interval: float = 0.05) -> T:
    """Call ``check`` every ``interval`` seconds until it returns something true, and return that.

    Args:
        what: what is waited for, in words, for the error.
        check: looks once; has a time limit of its own.
        timeout: seconds.
        interval: seconds between two looks.

    Raises:
        NotInTimeError: ``timeout`` passed.
    """
    end = time.monotonic() + timeout
    while True:
        seen = check()
        if seen:
            return seen
        if time.monotonic() >= end:
            raise NotInTimeError(f"{what}: not within {timeout:g} s (last seen: {seen!r})")
        time.sleep(interval)
