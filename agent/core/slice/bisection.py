"""How far a lease that is refused its full length can be renewed: which end to ask for next. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

CALLS = 10
"""``RenewSlice`` calls at most in one renewal of a sliver, the first refused one included."""
RESOLUTION = timedelta(minutes=1)
"""A limit that is known so well is not looked for any further."""
SHORTEST = timedelta(minutes=6)
"""An end nearer than this is not asked for: a CM grants none within 5 min (``GeniCM SetSliceExpiration``)."""
EAST, WEST = timedelta(hours=14), timedelta(hours=12)
"""How far the clocks of the world are ahead of UTC, and behind it: a date without a zone is in between."""
_FAR = 4
"""The zones are used where what is searched is longer than so many times what they leave open."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_C_DATE = re.compile(rf"({'|'.join(_MONTHS)}) +(\d+) (\d\d):(\d\d)(?::(\d\d))?(?: [A-Z]{{2,5}})? (\d{{4}})")


@dataclass(frozen=True)
class Search:
    """What one renewal of a sliver has found out so far. All ends are in whole seconds."""

    granted: datetime
    """The end that it has: nothing earlier is ever asked for, since a CM would shorten it."""
    wished: datetime
    """The end that it should have."""
    refused: datetime | None = None
    """The earliest end that was refused; None while none was."""
    known: datetime | None = None
    """The earliest end that an earlier renewal was refused, while this one has not asked for it."""
    named: datetime | None = None
    """The moment that the last refusal named, as if its date were UTC; None where it named none."""
    calls: int = 0

    def granted_until(self, end: datetime) -> Search:
        """Return what is known once an end was granted."""
        return replace(self, granted=max(end, self.granted), known=None, calls=self.calls + 1)

    def refused_until(self, end: datetime, named: datetime | None) -> Search:
        """Return what is known once an end was refused."""
        refused = end if self.refused is None else min(end, self.refused)
        return replace(self, refused=refused, named=named, known=None, calls=self.calls + 1)


def first_search(granted: datetime, wished: datetime, known: datetime | None = None) -> Search:
    """Begin: by the full length, or by what was refused the last time, which tells whether that still holds.

    Args:
        granted: the present end.
        wished: the end that the lease should have.
        known: the earliest end that was refused the last time; None for none.
    """
    return Search(granted, wished, known=known if known and granted < known < wished else None)


def next_end(search: Search, now: datetime) -> datetime | None:
    """Return the end to ask for next; None where the search is over.

    What lies between what was granted and what was refused is halved, so that it is right whatever a refusal
    says. A date that it names is used where a lease is so long that halving takes too many calls: it is in
    some zone of the world.
    """
    if search.calls >= CALLS or search.granted >= search.wished:
        return None
    if search.refused is None:
        return search.known if search.known and search.known >= now + SHORTEST else search.wished
    low, high = max(search.granted, now + SHORTEST), search.refused
    if high - low <= RESOLUTION:
        return None
    middle = (low + (high - low) / 2).replace(microsecond=0)
    if search.named is not None and high - low > _FAR * (EAST + WEST):
        earliest, latest = search.named - EAST, search.named + WEST
        if low < earliest < high:
            return earliest
        if low < latest < high:
            return latest
    return middle if low < middle < high else None


def read_date(text: str) -> datetime | None:
    """Read a date in the form of C (``ctime(3)``), which has no zone, as if it were UTC; None for no date."""
    match = _C_DATE.search(text)
    if match is None:
        return None
    month, day, hour, minute, second, year = match.groups()
    try:
        return datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return None
