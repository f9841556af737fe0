"""Which CMs are fit to be asked for machines now, and why the others are not: nobody waits for those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.core.desk import Desk
from agent.core.errors import BusyError, CloudlabError, ConfigError, SliceGoneError
from agent.core.jumps import on_the_wall
from agent.core.ports import Clock
from agent.core.scaling.backoff import FOR_GOOD, Backoff, lengthen
from agent.core.scaling.placement import Placement

HANGS_AFTER = 60.0
"""Seconds that a call of ours may take before machines are asked of other CMs instead."""
LONGEST_PAUSE = 16
"""A CM that fails is left alone for the first pause, then twice as long, up to this many times as long."""


def until_words(clock: Clock, pause: Backoff) -> str:
    """Say until when something is left alone."""
    if pause.until == FOR_GOOD:
        return "until settings change"
    return f"until {on_the_wall(clock, pause.until):%H:%M:%SZ}"


class Askable:
    """Remembers how each CM took what was asked of it: a plan shares machines out among the others.

    Thread-safe.

    Args:
        desk: the manager's.
        placement: which CMs said that they have no machines.
        obstacle: tells what else hinders asking a CM; "" for nothing.
        pause: seconds for which a CM is left alone that failed when it was asked.
    """

    def __init__(
        self, desk: Desk, placement: Placement, obstacle: Callable[[str], str], *, pause: float
    ) -> None:
        self._desk = desk
        self._placement = placement
        self._obstacle = obstacle
        self._pause = pause
        self._failures: dict[str, Backoff] = {}
        self._silent: dict[str, str] = {}
        """CM -> why its manifest could not be read the last time."""
        self._held: dict[str, float] = {}
        """CM -> since when a call of ours waits there, by the clock that never goes back."""

    @contextmanager
    def at_work(self, cm: str) -> Iterator[None]:
        """Watch how long a step keeps a CM."""
        with self._desk.lock:
            before = self._held.get(cm)
            self._held[cm] = self._desk.clock.monotonic()
        try:
            yield
        finally:
            with self._desk.lock:
                if before is None:
                    self._held.pop(cm, None)
                else:
                    self._held[cm] = before

    def watched(self, act: Callable[[str], None]) -> Callable[[str], None]:
        """Return a step at a CM that is watched so."""

        def watched(cm: str) -> None:
            with self.at_work(cm):
                act(cm)

        return watched

    @contextmanager
    def reading(self, cm: str) -> Iterator[None]:
        """Watch whether a CM tells what it holds: one that does not lends nothing until it does again."""
        try:
            yield
        except CloudlabError as error:
            with self._desk.lock:
                self._silent[cm] = str(error)
            raise
        with self._desk.lock:
            self._silent.pop(cm, None)
        self.answered(cm)

    def answered(self, cm: str) -> None:
        """Take note that a CM just answered the step that keeps it."""
        with self._desk.lock:
            if cm in self._held:
                self._held[cm] = self._desk.clock.monotonic()

    @contextmanager
    def asking(self, cm: str) -> Iterator[None]:
        """Leave a CM alone for a while if what is asked of it cannot be had, whatever the cause."""
        try:
            yield
        except (CloudlabError, ConfigError) as error:
            # What is only busy is soon ready again, and that there is no slice is no CM's fault.
            self.leave_alone(cm, str(error), longer=not isinstance(error, BusyError | SliceGoneError))
            raise

    def leave_alone(self, cm: str, reason: str, *, longer: bool = True) -> None:
        """Ask nothing of a CM for a while, which is longer each time, or as short as it can be."""
        limit = self._pause * LONGEST_PAUSE
        with self._desk.lock:
            before = self._failures.get(cm) if longer else None
            now = self._desk.clock.steady()
            self._failures[cm] = lengthen(before, now, reason, first=self._pause, limit=limit)

    def worked(self, cm: str) -> None:
        """Take note that a CM gave machines."""
        self._placement.worked(cm, "")
        with self._desk.lock:
            self._failures.pop(cm, None)

    def why_not(self, cm: str) -> str:
        """Say until or while what a CM is asked for no machine; "" where it may be."""
        now = self._desk.clock.steady()
        with self._desk.lock:
            failure = self._failures.get(cm)
            silent, held = self._silent.get(cm), self._held.get(cm)
        for pause in (self._placement.paused(cm, now), failure):
            if pause is not None and now < pause.until:
                return f"{until_words(self._desk.clock, pause)}: {pause.reason}"
        if silent is not None:
            return f"while what it holds cannot be read: {silent}"
        if held is not None and self._desk.clock.monotonic() - held >= HANGS_AFTER:
            return "while a call of ours hangs there"
        return self._obstacle(cm)
