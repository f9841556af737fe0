"""When a lease is renewed, and until when, by example and by property."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.core.settings import LeaseSettings
from agent.core.slice.renewal import is_renewed, renewal_target, seconds_to_renewal, sliver_target

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


LEASE = LeaseSettings(duration="24h", renew_when_left="18h")
HOUR = 3600


@pytest.mark.parametrize(
    ("left", "expected"),
    [(20, None), (18, None), (17, 24), (0, 24), (-1, 24), (30, None)],
)
def test_a_lease_is_renewed_when_it_has_too_little_left(left, expected):
    target = renewal_target(later(left * HOUR), NOON, LEASE)
    assert target == (None if expected is None else later(expected * HOUR))


def test_a_lease_is_long_and_renewed_early_unless_it_is_set():
    lease = LeaseSettings()
    assert (lease.duration, lease.renew_when_left, lease.drop_blocking) == (24 * HOUR, 18 * HOUR, True)
    assert lease.renew == "always"


@pytest.mark.parametrize(
    ("renew", "held", "expected"),
    [
        ("always", False, True),
        ("always", True, True),
        ("while-we-hold", False, False),
        ("while-we-hold", True, True),
        ("never", False, False),
        ("never", True, False),
    ],
)
def test_what_the_agent_renews_is_set_and_who_urges_has_all_of_it(renew, held, expected):
    lease = LeaseSettings(renew=renew)
    assert is_renewed(lease, held=held) is expected
    assert is_renewed(lease, held=held, urged=True)


@pytest.mark.parametrize(
    ("sliver", "slice_", "urged", "expected"),
    [
        (10, 24, False, 24),
        (10, 20, False, 20),
        (10, 10, False, None),
        (10, 9, True, None),
        (20, 30, False, None),
        (20, 30, True, 24),
        (336, 336, True, None),
        (336, 400, True, None),
        (None, 336, False, 336),
        (None, 3, True, 3),
        (None, 0, False, None),
    ],
)
def test_a_sliver_is_renewed_up_to_its_slice_and_to_its_end_where_its_own_is_unknown(
    sliver, slice_, urged, expected
):
    expires = None if sliver is None else later(sliver * HOUR)
    target = sliver_target(expires, later(slice_ * HOUR), NOON, LEASE, urged=urged)
    assert target == (None if expected is None else later(expected * HOUR))


@given(
    duration=st.floats(600, 90 * 86400),
    lead=st.floats(300, 100 * 86400),
    slice_left=st.integers(-HOUR, 100 * 86400),
    short=st.integers(0, 20 * 86400),
    known=st.booleans(),
    urged=st.booleans(),
    micro=st.integers(0, 999_999),
)
def test_no_sliver_is_asked_to_end_before_it_does_or_after_its_slice(
    duration, lead, slice_left, short, known, urged, micro
):
    """Its end is at most that of its slice, whether we know it or not."""
    lease = LeaseSettings(duration=duration, renew_when_left=lead)
    slice_expires = later(slice_left)
    expires = later(slice_left - short)
    now = NOON.replace(microsecond=micro)
    until = sliver_target(expires if known else None, slice_expires, now, lease, urged=urged)
    assert until is None or expires <= until <= slice_expires
    assert until is None or until.microsecond == 0


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


@pytest.mark.parametrize(("left", "expected"), [(20, 24), (24, None), (30, None)])
def test_an_urged_lease_is_extended_whatever_it_has_left_and_never_shortened(left, expected):
    target = renewal_target(later(left * HOUR), NOON, LEASE, urged=True)
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
