"""Two times: wall-clock dates, and simulated seconds of machine life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, so that tests can set it."""

    def now(self) -> datetime:
        """Return the time in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class Pace:
    """How fast machine life and the periodic daemons run."""

    speed: float
    """Simulated seconds per real second."""

    def real(self, simulated: float) -> float:
        """Turn simulated seconds into real ones."""
        return simulated / self.speed

    def sleep(self, simulated: float, until: Event) -> bool:
        """Wait for simulated seconds; return True at once when ``until`` is set."""
        return until.wait(self.real(simulated))
