"""When a lease is renewed, and until when, by example and by property."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert seconds_to_renewal([later(-5)], NOON, LEASE) == 0
    assert seconds_to_renewal([], NOON, LEASE) == math.inf
