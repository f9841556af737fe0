"""Leaving something alone for a while, longer each time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FOR_GOOD = datetime.max.replace(tzinfo=UTC)
"""The end of what is left alone until settings change."""


@dataclass(frozen=True)
class Backoff:
    """Leave something alone for a while."""

    until: datetime
    """By the steady clock."""
    delay: float
    """Seconds of this pause; the next is longer."""
    reason: str


def lengthen(old: Backoff | None, now: datetime, reason: str, *, first: float, limit: float) -> Backoff:
    """Begin a pause, twice as long as the one before."""
    delay = min(limit, old.delay * 2 if old else first)
    return Backoff(now + timedelta(seconds=delay), delay, reason)
