"""Which step of the cycle is due. Pure: time is an argument, in seconds of a clock that never goes back."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.core.errors import ConfigError

BACKOFF_LIMIT = 16
"""A failing step waits ``retry_interval``, then twice as long each time, up to this many times as long."""


WOKEN_BY = {
    "SetResourceValues": ("set_system_state",),
    "NotifyDeletePending": ("get_system_state", "set_system_state"),
    "NotifyDeleteComplete": ("update_sliver_status", "set_system_state"),
    "end_delete": ("set_system_state",),
    "lease": ("get_system_state",),
}
"""Call from Cloudlab, ``end_delete``, or the news of a lease that ends -> the steps that it makes due."""


class Key(NamedTuple):
    """A step, at one CM or (cm "") once in all."""

    step: str
    cm: str = ""

    def __str__(self) -> str:
        """Write it as logs and sentences do."""
        return f"{self.step} at {self.cm}" if self.cm else self.step


@dataclass
class _Timer:
    due: float = -math.inf
    running: bool = False
    woken: bool = False
    """Something happened while it ran: what it read may be older than that."""
    hurried: bool = False
    """It failed, and runs again without a wait since it was woken meanwhile."""
    failures: int = 0
    latest: float = math.inf
    """When it is due again at the latest, should this run go well."""


class Schedule:
    """Keeps, per step and CM, when it is due next.

    Every step is due at first. Not thread-safe: its owner holds a lock.

    Args:
        order: step names, in the order in which they run.
        intervals: step -> seconds from the end of a run that went well to the next.
        triggers: step -> steps that are due at once after it went well.
        retry_interval: seconds until a step that failed is tried again; grows while it goes on failing.
        cm_steps: steps that run once for each CM.
        cms: URNs of the CMs.
        default_interval: for steps that ``intervals`` does not name.

    Raises:
        ConfigError: an interval that is not above 0.
    """

    def __init__(
        self,
        order: Sequence[str],
        intervals: Mapping[str, float],
        *,
        triggers: Mapping[str, Sequence[str]],
        retry_interval: float,
        cm_steps: Collection[str],
        cms: Sequence[str],
        default_interval: float,
    ) -> None:
        self._intervals = {step: float(intervals.get(step, default_interval)) for step in order}
        self._triggers = triggers
        self._retry = float(retry_interval)
        for name, seconds in {**self._intervals, "retry_interval": self._retry}.items():
            if not (seconds > 0 and math.isfinite(seconds)):
                raise ConfigError(f"interval of {name}: more than 0 seconds is expected, not {seconds:g}")
        self.keys: tuple[Key, ...] = tuple(
            Key(step, cm)
            for step in dict.fromkeys(order)
            for cm in (dict.fromkeys(cms) if step in cm_steps else [""])
        )
        self._timers = {key: _Timer() for key in self.keys}

    def is_due(self, key: Key, now: float) -> bool:
        """Tell whether this one is to run now."""
        timer = self._timers[key]
        return not timer.running and timer.due <= now

    def begin(self, key: Key) -> bool:
        """Take it up; False where it is running already."""
        timer = self._timers[key]
        if timer.running:
            return False
        timer.running, timer.woken, timer.latest = True, False, math.inf
        return True

    def succeed(self, key: Key, now: float) -> None:
        """Put it down: it went well. Makes the steps due that it triggers."""
        timer = self._end(key)
        timer.failures, timer.hurried = 0, False
        timer.due = now if timer.woken else min(now + self._intervals[key.step], timer.latest)
        self.wake(self._triggers.get(key.step, ()), now, cm=key.cm)

    def fail(self, key: Key, now: float, *, grow: bool = True) -> float:
        """Put it down: it failed. Return the seconds until it is tried again.

        What woke it while it ran may have mended the fault, so it is tried again at once. Should that fail
        too, and be woken, it waits ``retry_interval``: two steps may wake each other for ever.

        Args:
            key: the step.
            now: time.
            grow: whether it waits longer at each failure; False for a fault that is known to pass.
        """
        timer = self._end(key)
        timer.failures += 1
        times = min(2.0 ** min(timer.failures - 1, 30), BACKOFF_LIMIT) if grow else 1
        delay = self._retry * times
        timer.hurried = timer.woken and not timer.hurried
        if timer.woken:
            delay = 0.0 if timer.hurried else self._retry
        # What has to be done by a certain time does not wait for the longest back-off.
        timer.due = min(now + delay, max(timer.latest, now + self._retry))
        return timer.due - now

    def _end(self, key: Key) -> _Timer:
        timer = self._timers[key]
        timer.running = False
        return timer

    def wake(self, steps: Iterable[str], now: float, cm: str = "") -> None:
        """Make steps due now, at this CM or (cm "") at all; unknown names are passed over."""
        steps = set(steps)
        for key, timer in self._timers.items():
            if key.step in steps and (not cm or not key.cm or key.cm == cm):
                timer.due = min(timer.due, now)
                timer.woken = True

    def no_later(self, step: str, at: float) -> None:
        """Bring a step forward to this time, if it would be later."""
        for key, timer in self._timers.items():
            if key.step == step:
                timer.due = min(timer.due, at)
                timer.latest = min(timer.latest, at)

    def failures(self, key: Key) -> int:
        """Count how often it failed in a row."""
        return self._timers[key].failures

    def next_due(self, keys: Iterable[Key]) -> float:
        """Return when the first of these is due; infinite while all are running."""
        return min((t.due for k in keys if not (t := self._timers[k]).running), default=math.inf)
