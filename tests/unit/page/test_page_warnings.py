"""Which warnings stand at the head of the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model import RetiredCm
from agent.core.views import Lapse, NodeState, NodeView
from agent.page.standing import standing_warnings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_an_agent_that_is_well_has_none(page_view) -> None:
    assert standing_warnings(page_view()) == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"lapses": (Lapse("", NOW + timedelta(hours=5), "refused"),)},
            "the lease of the slice ends in 5 h, and nobody renews it: refused",
        ),
        (
            {"lapses": (Lapse("urn:publicid:IDN+a.net+authority+cm", NOW + timedelta(minutes=9), "why"),)},
            "the lease of the sliver at a.net ends in 9 min, and nobody renews it: why",
        ),
        (
            {
                "lapses": (
                    Lapse(
                        "", NOW + timedelta(hours=5), "idle for too long", obstacle="idle", mend="ask them"
                    ),
                )
            },
            "the lease of the slice ends in 5 h, and it is not renewed: idle for too long; ask",
        ),
        ({"growth_stopped": "3 machines failed"}, "growth is stopped: 3 machines failed"),
        ({"retired": (RetiredCm("urn:cm", "", ("es-1",)),)}, "urn:cm is not in agent.conf, and holds es-1"),
        ({"last_success": {"update_sliver_status": NOW}}, "Slurm was not read yet"),
        (
            {"last_success": {"get_system_state": NOW, "update_sliver_status": NOW - timedelta(hours=1)}},
            "Cloudlab's machines were not looked at for 1 h",
        ),
    ],
)
def test_what_the_agent_knows_of_itself_is_told(page_view, fields, words: str) -> None:
    view = page_view()
    (warning,) = standing_warnings(replace(view, agent=replace(view.agent, **fields)))
    assert words in warning


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hold": "growth is paused by ada"}, "growth is paused by ada"),
        ({"objections": ("idle_limit is 0s",)}, "half of which is idle for 3 h: idle_limit is 0s"),
        ({"teardowns": ("everything at urn:cm is given back",)}, "everything at urn:cm is given back"),
        ({"unread": "disk I/O error"}, "the events cannot be read: disk I/O error"),
        ({"certificate_expires": NOW + timedelta(days=13)}, "the user's certificate ends in 13 d"),
    ],
)
def test_what_holds_it_up_is_told(page_view, fields, words: str) -> None:
    (warning,) = standing_warnings(page_view(**fields))
    assert words in warning


def test_a_machine_that_is_not_ours_and_that_cloudlab_takes_is_told(page_view) -> None:
    view = page_view()
    ctl = NodeView("pc9", "pc9", "ctl", "urn:cm", NodeState.FOREIGN)
    for due, words in ((5, "in 5 min"), (-5, "5 min ago")):
        nfs = NodeView("pc8", "pc8", "nfs", "urn:cm", NodeState.FOREIGN, due=NOW + timedelta(minutes=due))
        warnings = standing_warnings(replace(view, agent=replace(view.agent, foreign=(ctl, nfs))))
        assert warnings == (f"Cloudlab takes nfs, which is not ours: {words}",)


def test_a_lease_that_nobody_renews_is_no_warning_while_it_lasts_for_days(page_view) -> None:
    view = page_view()
    lapses = (Lapse("", NOW + timedelta(days=4), "never"),)
    assert standing_warnings(replace(view, agent=replace(view.agent, lapses=lapses))) == ()


def test_a_machine_that_failed_is_told(page_view) -> None:
    view = page_view()
    nodes = (replace(view.agent.nodes[0], state=NodeState.FAILED),)
    assert standing_warnings(replace(view, agent=replace(view.agent, nodes=nodes))) == ("1 machine failed",)


def test_a_drain_that_will_be_late_or_is_late_comes_first(page_view) -> None:
    view = page_view(hold="growth is paused by ada")
    (countdown,) = view.countdowns
    late = replace(countdown, empty=NOW + timedelta(minutes=20))
    over = replace(countdown, due=NOW - timedelta(seconds=5))
    first, second, third = standing_warnings(replace(view, countdowns=(over, late)))
    assert first == "pc101 had to be empty 5 s ago"
    assert second == "pc101 will not be empty in time: its last job goes 5 min after the deadline"
    assert third == "growth is paused by ada"
