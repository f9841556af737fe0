"""The wall clock beside the steady one: how far it is ahead, and when somebody set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from agent.core.ports import Clock

SMALLEST = timedelta(seconds=1)
"""A smaller jump is taken for the time that passes between two looks at the clocks."""


def ahead(clock: Clock) -> timedelta:
    """Return how far the wall clock is ahead of the steady one."""
    steady = clock.steady()
    return clock.now() - steady


def on_the_wall(clock: Clock, time: datetime) -> datetime:
    """Return what people are shown for a time of the steady clock."""
    return time + ahead(clock)


class Jumps:
    """Tells how far the wall clock was set since it was asked last. Not thread-safe.

    Args:
        clock: returns the clock.
    """

    def __init__(self, clock: Callable[[], Clock]) -> None:
        self._clock = clock
        self._ahead: timedelta | None = None

    def since_last(self) -> timedelta:
        """Return that, negative where it was set back; zero the first time."""
        now = ahead(self._clock())
        before = now if self._ahead is None else self._ahead
        if self._ahead is not None and abs(now - before) < SMALLEST:
            return timedelta()
        self._ahead = now
        return now - before
