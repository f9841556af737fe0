"""What the daemon does, as it happens: its events, one call after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from agent.cli.client import TIMEOUT, Call, call

LONGEST_WAIT = 20.0
"""Seconds that one call waits for an event."""
LEAST_TIME = 0.5
"""Seconds between two calls where the daemon does not let us wait: it has many who do."""


class Feed:
    """Events after a moment.

    Args:
        socket: the daemon's.
        after: id of the last event that is known; None begins now.
        subject: only what concerns this machine or CM; "" for all.
    """

    def __init__(self, socket: Path, after: int | None = None, subject: str = "") -> None:
        self._socket = socket
        self._subject = subject
        self._after = after if after is not None else last_event(socket)

    def ask(self, seconds: float) -> Call:
        """Ask for the next events; the answer comes when there are some, or the time is over."""
        query = {"after": self._after, "subject": self._subject, "newest": 1000, "wait": seconds}
        return Call(self._socket, "GET", f"/v1/events?{urlencode(query)}", timeout=min(seconds, 25) + TIMEOUT)

    def take(self, under_way: Call) -> list[Mapping[str, Any]]:
        """Return the events that a call was answered with, oldest first."""
        answer = under_way.answer()
        self._after = answer["last"]
        found: list[Mapping[str, Any]] = answer["events"]
        return found

    def wait(self, seconds: float) -> list[Mapping[str, Any]]:
        """Wait for the next events; empty when the time is over."""
        began = time.monotonic()
        found = self.take(self.ask(max(seconds, 0.0)))
        if not found:
            time.sleep(max(min(seconds, LEAST_TIME) - (time.monotonic() - began), 0.0))
        return found

    def endless(self) -> Iterator[Mapping[str, Any]]:
        """Yield every event from now on."""
        while True:
            yield from self.wait(LONGEST_WAIT)


def last_event(socket: Path) -> int:
    """Return the id of the newest event; 0 before the first."""
    return int(call(socket, "GET", "/v1/events?newest=1")["last"])
