"""When a revoked machine that is empty is offered in a reply, and when we give it back by ourselves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.settings.drain import DrainSettings
from agent.cluster.shrink.departures import is_given_back
from agent.core.model import Revocation

NOTICED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
BY_REPLY = DrainSettings()
BY_DELETE = DrainSettings(release="delete")


def at(seconds: float) -> datetime:
    return NOTICED + timedelta(seconds=seconds)


def revocation(deadline: float, last_notice: float = 0.0, *, releasable: bool = True) -> Revocation:
    return Revocation("pc1", "node-1", at(deadline), NOTICED, at(last_notice), releasable)


def test_a_machine_that_is_not_empty_is_never_given_back() -> None:
    busy = revocation(600, 590, releasable=False)
    assert not is_given_back(busy, BY_REPLY)
    assert not is_given_back(busy, BY_DELETE)


def test_with_release_delete_a_machine_is_given_back_as_soon_as_it_is_empty() -> None:
    assert is_given_back(revocation(600), BY_DELETE)


def test_an_empty_machine_waits_for_the_next_notice() -> None:
    assert not is_given_back(revocation(600, 480), BY_REPLY)


def test_a_machine_that_is_empty_after_the_last_notice_is_given_back() -> None:
    assert is_given_back(revocation(600, 540), BY_REPLY)


def test_a_machine_that_a_reply_has_offered_is_left_to_cloudlab() -> None:
    assert not is_given_back(replace(revocation(600, 540), offered=True), BY_REPLY)


@given(wait=st.floats(1, 7200), interval=st.floats(10, 300), emptied=st.floats(0, 0.999))
def test_an_empty_machine_is_told_to_cloudlab_before_its_deadline(
    wait: float, interval: float, emptied: float
) -> None:
    empty_at = wait * emptied
    settings = DrainSettings(notice_interval=interval)
    notices = [n * interval for n in range(int(wait / interval) + 1) if n * interval < wait]
    offered = any(notice >= empty_at for notice in notices)
    last_before = max(notice for notice in notices if notice <= empty_at)
    assert offered or is_given_back(revocation(wait, last_before), settings)
