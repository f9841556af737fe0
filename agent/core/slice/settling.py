"""What a manifest settles: intents that happened or never will, revocations that are over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.model import Intent, IntentKind, Place
from agent.core.said import Revocation


@dataclass(frozen=True)
class Settlement:
    """What the manifest says about intents."""

    done: tuple[Intent, ...]
    """It happened."""
    void: tuple[Intent, ...]
    """It did not happen, and will not."""


def settle_intents(
    intents: Iterable[Intent],
    present: Collection[str],
    now: datetime,
    *,
    patience: float,
    doubted: Collection[str] = (),
) -> Settlement:
    """Compare the intents at one CM with its manifest; what is in neither part is still open.

    Args:
        intents: intents at this CM.
        present: client_ids in the manifest.
        now: when the manifest was read, by the steady clock.
        patience: seconds that a call whose reply was lost may still take effect.
        doubted: client_ids that it lacks and that are not known to be gone: whether they were given back, the
            next one tells.
    """
    done: list[Intent] = []
    void: list[Intent] = []
    for intent in intents:
        if intent.kind is IntentKind.DELETE and intent.client_id in doubted:
            continue
        if (intent.client_id in present) == (intent.kind is IntentKind.ADD):
            done.append(intent)
        elif (now - intent.asked).total_seconds() > patience:
            void.append(intent)
    return Settlement(tuple(done), tuple(void))


def taken_over(asked: datetime, now: datetime, patience: float) -> datetime:
    """Return when an intent that an earlier run wrote down counts as asked, by this run's steady clock.

    The wall clock may have been set in between: the intent is never of the future, where it would stay for
    long, and never so old that the first manifest settles it which may have been read too early.

    Args:
        asked: as it was written down.
        now: the time, by the steady clock.
        patience: seconds that a call whose reply was lost may still take effect.
    """
    return min(max(asked, now - timedelta(seconds=patience / 2)), now)


def withdrawn(
    revocations: Iterable[Revocation], present: Collection[Place], read_at: datetime, grace: float
) -> tuple[Revocation, ...]:
    """Find revocations whose deadline is past while the machine is still ours and nobody said complete.

    Args:
        revocations: those in force.
        present: places of machines in a manifest; and those that no manifest has, which are nobody's to take
            from us.
        read_at: when that manifest was read, by the wall clock.
        grace: seconds after the deadline, and after the last notice.
    """
    limit = read_at - timedelta(seconds=grace)
    return tuple(
        r for r in revocations if r.place in present and r.deadline < limit and r.last_notice < limit
    )
