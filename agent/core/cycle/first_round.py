"""The first round of a cycle: in order, as each step builds on the one before; who is slow is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from agent.core.cycle.schedule import Key

FIRST_WAIT = 10.0
"""Seconds that a step of the first round may run before the others go on without its lane."""


class FirstRound:
    """Tells each lane when its next step may begin. Thread-safe.

    Args:
        keys: all steps, in the order in which they run.
        lane_of: names the lane of a step.
        changed: notified when the cycle stops; its lock guards what is kept here.
    """

    def __init__(
        self, keys: Sequence[Key], lane_of: Callable[[Key], str], changed: threading.Condition
    ) -> None:
        self._lanes = {key: lane_of(key) for key in keys}
        self._places = {step: place for place, step in enumerate(dict.fromkeys(key.step for key in keys))}
        self._changed = changed
        self._left = set(keys)
        self._begun: dict[str, float] = {}
        """Lane -> when the step began that runs there now."""
        self._behind: set[str] = set()

    def steps_of(self, lane: str) -> list[list[Key]]:
        """Return the steps of a lane, in order; those of one name together."""
        mine = [key for key in self._lanes if self._lanes[key] == lane]
        return [[key for key in mine if key.step == step] for step in dict.fromkeys(key.step for key in mine)]

    def wait_for_turn(self, keys: Sequence[Key], go_on: Callable[[], bool]) -> None:
        """Wait until the steps before these have run, but in lanes that are left behind; then they begin."""
        with self._changed:
            while go_on() and (lanes := self._awaited(keys[0])):
                now = time.monotonic()
                left = {lane: self._begun[lane] + FIRST_WAIT - now for lane in lanes if lane in self._begun}
                late = {lane for lane, seconds in left.items() if seconds <= 0}
                self._behind |= late
                if not late:
                    self._changed.wait(min(left.values(), default=None))
            self._begun[self._lanes[keys[0]]] = time.monotonic()
            self._changed.notify_all()

    def done(self, keys: Sequence[Key]) -> None:
        """Take note that these have run."""
        with self._changed:
            self._left.difference_update(keys)
            self._begun.pop(self._lanes[keys[0]], None)
            self._changed.notify_all()

    def _awaited(self, key: Key) -> set[str]:
        """Return the lanes that have a step before this one to run, and are not behind."""
        before = {self._lanes[k] for k in self._left if self._places[k.step] < self._places[key.step]}
        return before - self._behind - {self._lanes[key]}
