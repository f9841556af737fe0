"""Which machines are given back so that the lease of the others is renewed, and when. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Sparing:
    """Machines of one type that go for the sake of all others at a CM."""

    hardware_type: str
    count: int
    begins: datetime
    """When they begin to be emptied."""
    due: datetime
    """When they have to be empty."""


def plan_sparing(
    held: Mapping[str, int],
    *,
    short_by: int,
    end: datetime,
    now: datetime,
    empty_before: timedelta,
    known: Collection[str] = (),
    tried: Collection[str] = (),
) -> Sparing | None:
    """Decide what is given back where a type is short that the CM does not name.

    The type of which we have fewest goes first. Each that is suspected has as long to be emptied as all
    machines have before the lease ends, and the last is through by the time that would begin: later nothing
    is spared. Where less is left, it is divided.

    Args:
        held: type -> how many machines of ours are there.
        short_by: how many machines are short.
        end: when the sliver ends as it stands.
        now: the time.
        empty_before: how long before the end its machines begin to be emptied.
        known: the types that are known to be short; none where that is not known.
        tried: the types of which as many went already, to no avail.

    Returns:
        None where nothing can be spared: no type is left, or all machines would go.
    """
    there = {kind: count for kind, count in held.items() if count > 0}
    suspected = sorted(
        (kind for kind in there if kind not in tried and (not known or kind in known)),
        key=lambda kind: (there[kind], kind),
    )
    if not suspected or short_by < 1:
        return None
    kind = suspected[0]
    count = min(short_by, there[kind])
    if count == sum(there.values()):
        return None
    turns = len(suspected)
    due = end - empty_before * turns
    if due - empty_before < now:
        due = now + (end - now) / (turns + 1)
    return Sparing(kind, count, max(due - empty_before, now), due)
