"""What is left alone for a while can be told, by CM and by why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.core.config import CycleSettings
from agent.core.scaling.placement import Placement

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_cm_that_had_no_machines_and_a_type_that_failed_are_told_apart_until_their_time_is_over() -> None:
    placement = Placement(CycleSettings(), None)
    assert not any(placement.backoffs(["urn:one", "urn:two"], NOW).values())
    short = placement.pause("urn:one", "", NOW, "none are free")
    placement.pause("urn:two", "m510", NOW, "it did not boot")
    assert placement.backoffs(["urn:one", "urn:two"], NOW) == {
        ("urn:one", "insufficient"): True,
        ("urn:one", "failed"): False,
        ("urn:two", "insufficient"): False,
        ("urn:two", "failed"): True,
    }
    assert not any(placement.backoffs(["urn:one"], short.until + timedelta(seconds=1)).values())
