"""Which end is asked for next when a lease is refused its full length, by example and against timelines."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.slice.bisection import CALLS, RESOLUTION, SHORTEST, first_search, next_end, read_date

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SLACK = timedelta(seconds=2)
"""Ends are in whole seconds."""


def later(**some):
    return NOON + timedelta(**some)


class Site:
    """Refuses what lasts beyond the first conflict of any of its types (``Reservation.pm ExtendSlice``)."""

    def __init__(self, conflicts, zone=None):
        self.conflicts = conflicts
        self.zone = zone
        """How far the clock that dates are told by is ahead of UTC; None: no date is told."""
        self.asked = []

    @property
    def limit(self):
        return min(self.conflicts, default=None)

    def renew(self, search):
        """Answer one renewal to its end; return what it found out."""
        while (end := next_end(search, NOON)) is not None:
            self.asked.append(end)
            conflict = next((moment for moment in self.conflicts if moment < end), None)
            if conflict is None:
                search = search.granted_until(end)
            else:
                named = None if self.zone is None else conflict.replace(microsecond=0) + self.zone
                search = search.refused_until(end, named)
        return search


def test_what_is_not_refused_is_asked_for_once():
    site = Site([])
    assert site.renew(first_search(later(hours=18), later(hours=24))).granted == later(hours=24)
    assert site.asked == [later(hours=24)]


def test_a_refused_lease_is_renewed_up_to_the_moment_that_is_in_the_way():
    site = Site([later(hours=20, minutes=17)])
    found = site.renew(first_search(later(hours=18), later(hours=24)))
    assert later(hours=20, minutes=16) <= found.granted <= site.limit < found.refused
    assert len(site.asked) <= CALLS


def test_what_was_refused_before_is_asked_first_and_is_enough_where_it_still_is():
    limit = later(hours=20)
    site = Site([limit])
    known = limit + timedelta(seconds=30)
    found = site.renew(first_search(limit - timedelta(seconds=20), later(hours=25), known))
    assert site.asked == [known]
    assert found.granted == limit - timedelta(seconds=20)


def test_what_was_refused_before_and_is_granted_now_leads_to_the_full_length():
    site = Site([])
    found = site.renew(first_search(later(hours=20), later(hours=25), later(hours=21)))
    assert site.asked == [later(hours=21), later(hours=25)]
    assert found.granted == later(hours=25)


def test_an_end_that_no_cm_grants_is_not_asked_for():
    site = Site([later(minutes=3)])
    found = site.renew(first_search(later(minutes=2), later(hours=24)))
    assert min(site.asked) >= NOON + SHORTEST
    assert found.granted == later(minutes=2)


def test_a_date_narrows_down_what_is_too_long_to_halve():
    site = Site([later(days=40, hours=3)], zone=timedelta(hours=-7))
    found = site.renew(first_search(later(hours=1), later(days=90)))
    assert site.limit - found.granted <= timedelta(minutes=15)
    assert len(site.asked) <= CALLS


MOMENTS = st.lists(
    st.integers(-3600, 5 * 86400).map(lambda seconds: later(seconds=seconds)), min_size=0, max_size=5
)
ZONES = st.one_of(st.none(), st.integers(-48, 56).map(lambda quarter: timedelta(minutes=15 * quarter)))


@given(MOMENTS, ZONES, st.integers(0, 3 * 86400), st.integers(600, 4 * 86400), st.booleans())
def test_every_renewal_ends_close_below_what_is_possible(conflicts, zone, left, more, is_known):
    begin, wished = later(seconds=left), later(seconds=left + more)
    # What we hold is granted, whatever came since.
    conflicts = [each for each in conflicts if each >= begin]
    site = Site(conflicts, zone)
    known = begin + (wished - begin) / 3 if is_known else None
    found = site.renew(first_search(begin, wished, known and known.replace(microsecond=0)))
    assert len(site.asked) <= CALLS
    assert all(end > begin for end in site.asked), "a CM would shorten it"
    assert found.granted >= begin
    if site.limit is None or site.limit >= wished:
        assert found.granted == wished
        return
    assert found.granted <= site.limit
    # One call finds out that it is refused, and one whether what was known still holds.
    finest = max(RESOLUTION, (wished - begin) / 2 ** (CALLS - 2)) + SLACK
    soonest = max(NOON + SHORTEST, begin)
    assert site.limit - found.granted <= finest or site.limit <= soonest + finest


@given(st.integers(3600, 89 * 86400), st.integers(-48, 56))
def test_an_honest_date_makes_up_for_a_long_lease(limit, quarter):
    site = Site([later(seconds=limit)], zone=timedelta(minutes=15 * quarter))
    found = site.renew(first_search(later(seconds=3000), later(days=90)))
    assert len(site.asked) <= CALLS
    assert site.limit - found.granted <= timedelta(hours=26) / 2 ** (CALLS - 3) + SLACK


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Insufficient free nodes at Sun Nov 22 14:00:00 2026 (2 more needed).", later(hours=2)),
        ("Sun Nov  1 04:05:06 2026", datetime(2026, 11, 1, 4, 5, 6, tzinfo=UTC)),
        ("Sun Nov 22 14:00 MST 2026", later(hours=2)),
        ("Could not extend because of a prereserve", None),
        ("Sun Nov 31 14:00:00 2026", None),
        ("Sun Nov 22 25:00:00 2026", None),
        ("", None),
    ],
)
def test_a_date_is_read_as_c_writes_it(text, expected):
    assert read_date(text) == expected
