"""One thing that was looked at, what was seen, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from agent.core.errors import AgentError


class Grade(StrEnum):
    """How it stands."""

    FINE = "ok"
    WARNING = "warning"
    """It works, and a person should look at it."""
    FAULT = "fault"
    """The agent cannot do its work."""
    SKIPPED = "skipped"
    """It was not looked at; ``seen`` says why."""


@dataclass(frozen=True)
class Finding:
    """What one look came to."""

    subject: str
    """What was looked at, such as ``certificate``."""
    grade: Grade
    seen: str
    mend: str = ""
    """How to mend it; "" where there is nothing to mend."""


def fine(subject: str, seen: str) -> Finding:
    """Tell that nothing is wrong."""
    return Finding(subject, Grade.FINE, seen)


def warning(subject: str, seen: str, mend: str) -> Finding:
    """Tell what a person should look at."""
    return Finding(subject, Grade.WARNING, seen, mend)


def fault(subject: str, seen: str, mend: str) -> Finding:
    """Tell what keeps the agent from its work."""
    return Finding(subject, Grade.FAULT, seen, mend)


def skipped(subject: str, why: str) -> Finding:
    """Tell what was not looked at."""
    return Finding(subject, Grade.SKIPPED, why)


Look = Callable[[], Iterable[Finding]]


def look(subject: str, at: Look, mend: str) -> Iterator[Finding]:
    """Look, and turn an error of ours into a fault: its message names the place and what was expected.

    Args:
        subject: what is looked at.
        at: does so.
        mend: what to do about an error.
    """
    try:
        yield from at()
    except AgentError as error:
        yield fault(subject, " ".join(str(error).split()), mend)
