"""A desk that remembers what crosses it."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.desk import Desk


class FakeOffice:
    """The clock stands still; what is told, noted and woken is listed."""

    def __init__(self):
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.told = []
        """(kind, subject, message), and the data where there is any."""
        self.notes = []
        self.woken = []
        self.desk = Desk(self, threading.RLock(), self._tell, self.notes.append, self._wake)

    def now(self):
        return self.time

    steady = now

    def monotonic(self):
        return self.time.timestamp()

    def advance(self, seconds):
        self.time += timedelta(seconds=seconds)

    def _tell(self, kind, subject, message, data=None):
        self.told.append((kind, subject, message, *([data] if data else [])))

    def _wake(self, *steps):
        self.woken += steps


@pytest.fixture
def office():
    return FakeOffice()
