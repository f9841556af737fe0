"""Foreign text and times as a person reads them. Pure."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

MAX_TEXT = 300
"""Characters of one piece of text that are shown."""
UNSHOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for each character that would steer a terminal or turn the text's direction, and for bad UTF-8."""


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """Return text that can be shown anywhere: no control characters, not too long."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(_shown(character) for character in cut)


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    return UNSHOWN if unicodedata.category(character).startswith("C") else character


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units.

    >>> span(timedelta(days=2, hours=3, minutes=4)), span(timedelta(seconds=75)), span(timedelta(seconds=-5))
    ('2 d 3 h', '1 min 15 s', '0 s')
    """
    left = max(int(length.total_seconds()), 0)
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def until(when: datetime, now: datetime) -> str:
    """Tell how far off a time is: "in 3 min 5 s", or "20 s ago"."""
    return f"in {span(when - now)}" if when >= now else f"{span(now - when)} ago"


def cm_name(urn: str) -> str:
    """Return the authority of a CM's URN: ``utah.cloudlab.us``."""
    parts = urn.split("+")
    return parts[1] if len(parts) > 2 else urn
