"""What `esagent check` makes of the lease: who renews it, and whether it ends with nobody doing so."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.check.cloudlab import check_lease
from agent.check.finding import Grade
from agent.core.settings import LeaseSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("renew", "days", "grade", "words"),
    [
        ("always", 1, Grade.FINE, "this agent renews it, and every sliver"),
        ("while-we-hold", 3, Grade.FINE, "only while it holds or has asked for a machine"),
        ("while-we-hold", 2, Grade.WARNING, "only while it holds or has asked for a machine"),
        ("never", 3, Grade.FINE, "nobody renews it but people"),
        ("never", 2, Grade.WARNING, "nobody renews it but people"),
    ],
)
def test_who_renews_the_slice_is_told_and_one_that_may_end_is_warned_of(renew, days, grade, words):
    until = NOW + timedelta(days=days)
    finding = check_lease(until, LeaseSettings(renew=renew), NOW)
    assert (finding.subject, finding.grade) == ("lease", grade)
    assert words in finding.seen
    assert f"ends at 2026-11-{22 + days}T12:00:00Z" in finding.seen
