"""What keeps a sliver from being renewed to its full length, and when that is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.errors import (
    AccountError,
    AgentError,
    EndingError,
    LockedDownError,
    PromisedError,
    RefusedError,
    RenewalRefusedError,
    ShutDownError,
)
from agent.core.obstacles import RenewalObstacle

PROMISED = "promised"
"""``Hindrance.kind`` where one machine is promised to others."""
KINDS = (*RenewalObstacle, PROMISED, "ending", "locked-down", "shut-down", "account")
"""All that can be in the way."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=10), timedelta(hours=1)
"""Between two tries: the pause doubles. Reservations are cancelled, and operators lift limits."""
LAST_PAUSE = timedelta(minutes=5)
"""Between two tries while the machines are emptied for the end of their lease, and right before."""
_SEARCHED = frozenset(
    {
        RenewalObstacle.RESERVED,
        RenewalObstacle.PRERESERVE,
        RenewalObstacle.LIMIT,
        RenewalObstacle.MAXIMUM,
        RenewalObstacle.OTHER,
    }
)


@dataclass(frozen=True)
class Hindrance:
    """Why a sliver lasts no longer, as its CM said at the last try."""

    kind: str
    """One of ``KINDS``."""
    words: str
    """The site's."""
    mend: str
    """What a person can do."""
    short_at: str = ""
    """When the site would run short, in its own words and time zone."""
    short_by: int | None = None
    """How many machines are short then."""
    node_id: str = ""
    """Of the machine that is promised to others."""
    refused: datetime | None = None
    """The earliest end that was refused; None where none may be granted."""
    tries: int = 1
    again: datetime | None = None
    """When it is tried again, by the steady clock; None where it was just met."""

    def is_like(self, other: Hindrance) -> bool:
        """Tell whether the same is in the way."""
        mine = (self.kind, self.short_at, self.short_by, self.node_id)
        return mine == (other.kind, other.short_at, other.short_by, other.node_id)


def hindrance_of(error: AgentError) -> Hindrance | None:
    """Tell what a refused renewal is hindered by; None for a fault that may pass by itself."""
    words = str(error)
    match error:
        case RenewalRefusedError():
            kind, mend = error.obstacle.value, error.mend
            return Hindrance(kind, words, mend, error.short_at, error.short_by)
        case PromisedError():
            return Hindrance(PROMISED, words, error.mend, node_id=error.node_id)
        case EndingError():
            return Hindrance("ending", words, error.mend)
        case LockedDownError():
            return Hindrance("locked-down", words, error.mend)
        case ShutDownError():
            return Hindrance("shut-down", words, error.mend)
        case AccountError():
            return Hindrance("account", words, error.mend)
        case RefusedError():
            return Hindrance(RenewalObstacle.OTHER.value, words, RenewalObstacle.OTHER.mend)
    return None


def hindrance_words(hindrance: Hindrance, until: datetime, *, goes: bool) -> str:
    """Say what keeps a sliver from lasting longer, and what follows.

    Args:
        hindrance: what is in the way.
        until: when the sliver ends.
        goes: the machine that is promised to others is given back by us.
    """
    if node_id := hindrance.node_id:
        follows = "it is emptied and given back" if goes else "give it back to renew the others"
        return (
            f"the sliver is not renewed, since {node_id} is promised to others; {follows}: {hindrance.words}"
        )
    lasts = f"the sliver lasts until {until:%Y-%m-%dT%H:%M:%SZ} and no longer"
    return f"{lasts}: {hindrance.words}; {hindrance.mend}"


def may_admit_less(error: AgentError) -> bool:
    """Tell whether an earlier end may be granted than the one that was refused."""
    if isinstance(error, RenewalRefusedError):
        return error.obstacle in _SEARCHED
    # Refused in words that are not known.
    return type(error) is RefusedError


def pause_after(tries: int, left: timedelta, empty_before: timedelta) -> timedelta:
    """Return how long to wait for the next try: always for one right before the emptying begins.

    Args:
        tries: how often the same was in the way.
        left: until the sliver ends.
        empty_before: how long before that its machines begin to be emptied.
    """
    pause = min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)
    calm = left - empty_before - LAST_PAUSE
    return min(pause, max(calm, min(LAST_PAUSE, left / 4), timedelta()))
