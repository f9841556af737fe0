"""What `esagent check` makes of the lease: who renews it, and whether it ends with nobody doing so."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.check.finding import Grade
from agent.check.lease import check_lease, check_sliver_ends
from agent.check.ownership import Held
from agent.core.model import Sliver, SliverNode
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


def held(hours: float, *, nodes: int = 1) -> Held:
    cm = "urn:publicid:IDN+utah.example.net+authority+cm"
    machines = tuple(SliverNode(f"es-{n}", f"pc{n}", cm, f"urn:sliver+{n}", "m510") for n in range(nodes))
    return Held(cm, Sliver(cm, "urn:sliver", NOW + timedelta(hours=hours), machines, ""))


def test_a_sliver_that_should_have_been_renewed_is_warned_of():
    lease = LeaseSettings(duration="24h", renew_when_left="18h", empty_before="1h")
    [finding] = check_sliver_ends([held(8)], lease, NOW)
    assert finding.subject == "lease at urn:publicid:IDN+utah.example.net+authority+cm"
    assert finding.grade is Grade.WARNING
    assert "ends at 2026-11-22T20:00:00Z" in finding.seen
    assert "emptied from 2026-11-22T19:00:00Z on" in finding.seen
    assert "esagent status" in finding.mend


@pytest.mark.parametrize("sliver", [held(10), held(8, nodes=0), Held("urn:none", None)])
def test_one_that_lasts_or_that_nothing_is_in_is_not(sliver):
    lease = LeaseSettings(duration="24h", renew_when_left="18h", empty_before="1h")
    assert list(check_sliver_ends([sliver], lease, NOW)) == []
