"""Which leases nobody renews, and which of them people are told of."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.settings import LeaseSettings
from agent.core.slice.lapse import near, why_unrenewed
from agent.core.views import Lapse

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NEVER = '[lease] renew is "never"'
IDLE = '[lease] renew is "while-we-hold", and we hold no machine there'


@pytest.mark.parametrize(
    ("renew", "left", "held", "others", "failure", "expected"),
    [
        ("always", HOUR, False, True, "", ""),
        ("always", 10 * HOUR, True, True, "refused", ""),
        ("always", 9 * HOUR, True, True, "refused", ""),
        ("always", 8 * HOUR, True, True, "refused", "refused"),
        ("never", 80 * DAY, True, False, "", NEVER),
        ("never", HOUR, None, False, "refused", NEVER),
        ("while-we-hold", HOUR, True, True, "", ""),
        ("while-we-hold", HOUR, True, True, "refused", "refused"),
        ("while-we-hold", HOUR, False, True, "", IDLE),
        ("while-we-hold", HOUR, False, False, "refused", ""),
        ("while-we-hold", HOUR, None, True, "", ""),
    ],
)
def test_why_nobody_renews_a_lease(renew, left, held, others, failure, expected):
    lease = LeaseSettings(renew=renew)
    told = why_unrenewed(NOON + left, NOON, lease, held=held, others=others, failure=failure)
    assert told == expected


def test_people_are_told_of_what_ends_within_three_days_and_of_a_sliver_only_before_its_slice():
    slice_, at_a, at_b = (Lapse(cm, NOON + 2 * DAY, "") for cm in ("", "urn:a", "urn:b"))
    early = Lapse("urn:c", NOON + DAY, "")
    assert near([slice_, at_a, at_b, early], NOON) == (early, slice_)
    assert near([at_b, at_a], NOON) == (at_a, at_b)
    assert near([slice_], NOON - DAY) == ()
    assert near([slice_], NOON - DAY + timedelta(seconds=1)) == (slice_,)
