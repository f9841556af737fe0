"""When there are too few machines of one type: what is in use until when, against what is reserved. Pure.

Reservation.pm IsFeasible and MaxSwapIn (protogeni-2021.md §7, §8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Use:
    """Machines that an experiment holds now."""

    party: str
    """Whom it counts for: a project, or one user of it."""
    count: int
    end: datetime | None
    """When they are free again; None: never."""


@dataclass(frozen=True)
class Claim:
    """Machines that are reserved for a party; for that time it counts as using them."""

    party: str
    count: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Conflict:
    """The first moment at which machines are short."""

    when: datetime
    needed: int

    def words(self, offset_seconds: float) -> str:
        """Tell it as the server does: its local time without a zone, so many seconds off UTC."""
        local = datetime.fromtimestamp(self.when.timestamp() + offset_seconds, tz=self.when.tzinfo)
        return f"Insufficient free nodes at {local.ctime()} ({self.needed} more needed)."


def first_conflict(free: int, uses: Sequence[Use], claims: Sequence[Claim], now: datetime) -> Conflict | None:
    """Find the first moment from ``now`` on at which the machines do not suffice; None if there is none.

    ``free`` machines are nobody's now. Who has a reservation counts as having the larger of what is used and
    what is reserved. At one moment, what ends comes before what begins.
    """
    used: Counter[str] = Counter()
    reserved: Counter[str] = Counter()
    events: list[tuple[datetime, int, str, int]] = []
    for use in uses:
        used[use.party] += use.count
        if use.end is not None:
            events.append((use.end, 0, use.party, -use.count))
    for claim in claims:
        if claim.end >= now:
            events.append((max(claim.start, now), claim.count, claim.party, 0))
            events.append((claim.end, -claim.count, claim.party, 0))
    for when, claimed, party, more in sorted(events, key=lambda event: event[:2]):
        before = max(used[party], reserved[party])
        used[party] += more
        reserved[party] += claimed
        free += before - max(used[party], reserved[party])
        if free < 0:
            return Conflict(when, -free)
    return None


def most(
    free: int,
    others: Sequence[Use],
    claims: Sequence[Claim],
    party: str,
    end: datetime,
    now: datetime,
) -> int:
    """Tell how many machines an experiment of the party may hold from ``now`` until ``end``.

    ``free`` counts those that it holds already. A type that is short at any time because of others admits
    none.
    """
    wanted = free
    while wanted > 0:
        uses = [*others, Use(party, wanted, end)]
        conflict = first_conflict(free - wanted, uses, claims, now)
        if conflict is None:
            return wanted
        wanted -= conflict.needed
    return 0
