"""When a lease is renewed, and until when, by example and by property."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.core.settings import LeaseSettings
from agent.core.slice.renewal import renewal_target, seconds_to_renewal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


LEASE = LeaseSettings(duration="24h", renew_when_left="18h")
HOUR = 3600


@pytest.mark.parametrize(
    ("left", "expected"),
    [(None, 24), (20, None), (18, None), (17, 24), (0, 24), (-1, 24), (30, None)],
)
def test_a_lease_is_renewed_when_it_has_too_little_left(left, expected):
    expires = None if left is None else later(left * HOUR)
    target = renewal_target(expires, NOON, LEASE)
    assert target == (None if expected is None else later(expected * HOUR))


def test_a_lease_is_long_and_renewed_early_unless_it_is_set():
    lease = LeaseSettings()
    assert (lease.duration, lease.renew_when_left, lease.drop_blocking) == (24 * HOUR, 18 * HOUR, False)


@pytest.mark.parametrize(
    ("name", "fits", "does_not"),
    [("duration", 600, 599), ("duration", 90 * 86400, 90 * 86400 + 1), ("renew_when_left", 300, 299)],
)
def test_a_lease_has_its_limits(name, fits, does_not):
    assert getattr(LeaseSettings(**{name: fits}), name) == fits
    with pytest.raises(ValidationError, match=name):
        LeaseSettings(**{name: does_not})


def test_a_renewal_is_overdue_at_half_of_when_it_is_first_tried():
    assert LEASE.overdue_when_left == timedelta(hours=9)
    assert LeaseSettings(duration="1h", renew_when_left="18h").overdue_when_left == timedelta(minutes=30)


@pytest.mark.parametrize(("left", "expected"), [(None, 24), (20, 24), (24, None), (30, None)])
def test_an_urged_lease_is_extended_whatever_it_has_left_and_never_shortened(left, expected):
    expires = None if left is None else later(left * HOUR)
    target = renewal_target(expires, NOON, LEASE, urged=True)
    assert target == (None if expected is None else later(expected * HOUR))


def test_a_lease_shorter_than_its_lead_is_renewed_when_a_tenth_of_it_is_over():
    short = LeaseSettings(duration="10h", renew_when_left="18h")
    assert renewal_target(later(9.1 * HOUR), NOON, short) is None
    assert renewal_target(later(8.9 * HOUR), NOON, short) == later(10 * HOUR)


@given(
    duration=st.floats(600, 90 * 86400),
    lead=st.floats(300, 100 * 86400),
    left=st.floats(-HOUR, 100 * 86400),
    micro=st.integers(0, 999_999),
)
def test_a_renewal_never_shortens_and_asks_for_whole_seconds(duration, lead, left, micro):
    lease = LeaseSettings(duration=duration, renew_when_left=lead)
    now = NOON.replace(microsecond=micro)
    expires = later(left).replace(microsecond=0)
    target = renewal_target(expires, now, lease)
    wait = seconds_to_renewal([expires], now, lease)
    if target is None:
        assert wait > 0
        return
    assert target > expires
    assert target.microsecond == 0
    # What was just granted in full is not renewed again at once.
    assert renewal_target(target, now, lease) is None
    assert seconds_to_renewal([target], now, lease) > 0


def test_the_next_renewal_is_that_of_the_first_lease_to_end():
    assert seconds_to_renewal([later(20 * HOUR), later(30 * HOUR)], NOON, LEASE) == 2 * HOUR
    assert seconds_to_renewal([later(8 * HOUR)], NOON, LEASE) == 2 * HOUR, "granted less than asked"
    assert seconds_to_renewal([later(18 * HOUR)], NOON, LEASE) == 4.5 * HOUR, "it is not renewed yet"
    assert seconds_to_renewal([later(-5)], NOON, LEASE) == 0
    assert seconds_to_renewal([], NOON, LEASE) == math.inf
