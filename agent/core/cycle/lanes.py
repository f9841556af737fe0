"""Runs the steps of a cycle when they are due: once in order, or for ever side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from functools import partial

import structlog

from agent.core import threads
from agent.core.cycle.first_round import FirstRound
from agent.core.cycle.schedule import Key, Schedule
from agent.core.errors import FatalError
from agent.core.ports import Clock

log = structlog.get_logger()

LONGEST_WAIT = 60.0
"""Seconds after which a lane looks again although nothing is due: the cost of a clock that was set."""


class Outcome(Enum):
    """How a step ended."""

    DONE = auto()
    BUSY = auto()
    """It failed for a cause that passes by itself soon."""
    FAILED = auto()


class Cycle:
    """Runs steps on a schedule.

    ``forever`` has one thread, a *lane*, for each group of steps, so that who answers slowly, a CM or the SA
    or Slurm, holds up nothing but its own steps. A step never runs twice at the same time.

    Args:
        schedule: says what is due; used under a lock of the cycle.
        clock: time.
        perform: runs one step; raises only ``FatalError`` (or what ends the process).
        lane_of: names the lane of a step.
    """

    def __init__(
        self,
        schedule: Schedule,
        clock: Clock,
        perform: Callable[[Key], Outcome],
        lane_of: Callable[[Key], str],
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._perform = perform
        self._lane_of = lane_of
        self._changed = threading.Condition()
        self._round = 0
        """Counts the calls of ``start``: a lane that was stuck while the cycle was stopped ends then."""
        self._stopping = False
        self._fatal: FatalError | None = None

    def once(self, *, force: bool = False) -> None:
        """Run what is due, in order.

        Args:
            force: run every step, due or not.

        Raises:
            FatalError: a step says that going on cannot help.
        """
        self._run(self._schedule.keys, lambda: True, force=force)

    def _run(self, keys: Sequence[Key], go_on: Callable[[], bool], *, force: bool = False) -> None:
        for key in keys:
            with self._changed:
                if not go_on():
                    return
                due = force or self._schedule.is_due(key, self._clock.monotonic())
                if not due or not self._schedule.begin(key):
                    continue
            outcome = Outcome.FAILED
            try:
                outcome = self._perform(key)
            finally:
                with self._changed:
                    self._put_down(key, outcome)
                    self._changed.notify_all()

    def _put_down(self, key: Key, outcome: Outcome) -> None:
        now = self._clock.monotonic()
        if outcome is Outcome.DONE:
            self._schedule.succeed(key, now)
        else:
            self._schedule.fail(key, now, grow=outcome is Outcome.FAILED)

    def start(self) -> None:
        """Clear an earlier ``stop``; call it before ``forever``."""
        with self._changed:
            self._round += 1
            self._stopping = False
            self._fatal = None

    def forever(self) -> str:
        """Run steps until ``stop``; return why it ended.

        The first round runs in order, at all CMs side by side; who is slow or dead is left behind
        (``FirstRound``). Then each lane runs by itself.

        Raises:
            FatalError: a step says that going on cannot help.
        """
        current = self._round

        def go_on() -> bool:
            return not self._stopping and self._round == current

        lanes: dict[str, list[Key]] = {}
        for key in self._schedule.keys:
            lanes.setdefault(self._lane_of(key), []).append(key)
        first = FirstRound(self._schedule.keys, self._lane_of, self._changed)
        try:
            for name, keys in lanes.items():
                threads.keep(
                    f"cycle-{name}", partial(self._lane, name, keys, first, go_on), lambda: not go_on()
                )
            with self._changed:
                self._changed.wait_for(lambda: not go_on())
        except KeyboardInterrupt:
            return "interrupted by the user"
        finally:
            self.stop()
        if self._fatal is not None:
            raise self._fatal
        return "stopped"

    def _guarded(self, keys: Sequence[Key], go_on: Callable[[], bool]) -> None:
        """Run steps in a thread of the cycle: what is fatal there ends ``forever``."""
        try:
            self._run(keys, go_on)
        except FatalError as error:
            self._fatal = error
            self.stop()

    def _lane(self, name: str, keys: Sequence[Key], first: FirstRound, go_on: Callable[[], bool]) -> None:
        for step in first.steps_of(name):
            first.wait_for_turn(step, go_on)
            try:
                self._guarded(step, go_on)
            finally:
                first.done(step)
        while go_on():
            self._guarded(keys, go_on)
            with self._changed:
                while go_on():
                    wait = self._schedule.next_due(keys) - self._clock.monotonic()
                    if wait <= 0:
                        break
                    self._changed.wait(min(wait, LONGEST_WAIT))

    def stop(self) -> None:
        """Begin no step any more, and let ``forever`` return; a step under way runs to its end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wake(self, steps: Iterable[str], cm: str = "") -> None:
        """Make steps due now."""
        with self._changed:
            self._schedule.wake(steps, self._clock.monotonic(), cm)
            self._changed.notify_all()

    def no_later(self, step: str, seconds: float) -> None:
        """Bring a step forward to so many seconds from now, if it would be later."""
        with self._changed:
            self._schedule.no_later(step, self._clock.monotonic() + seconds)
            self._changed.notify_all()

    def failures(self, key: Key) -> int:
        """Count how often a step failed in a row."""
        with self._changed:
            return self._schedule.failures(key)
