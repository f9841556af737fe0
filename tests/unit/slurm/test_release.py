"""When a revoked machine that is empty is offered in a reply, and when we give it back by ourselves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.model import Revocation
from agent.slurm.drain_settings import DrainSettings
from agent.slurm.release import gives_back_at, plan_returns

NOTICED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
BY_REPLY = DrainSettings()
BY_DELETE = DrainSettings(release="delete")


def at(seconds: float) -> datetime:
    return NOTICED + timedelta(seconds=seconds)


def revocation(deadline: float, last_notice: float = 0.0, *, releasable: bool = True) -> Revocation:
    return Revocation("pc1", "node-1", at(deadline), NOTICED, at(last_notice), releasable)


def test_a_machine_that_is_not_empty_is_never_given_back() -> None:
    busy = revocation(600, releasable=False)
    assert gives_back_at(busy, BY_REPLY) is None
    assert gives_back_at(busy, BY_DELETE) is None


def test_with_release_delete_a_machine_is_given_back_as_soon_as_it_is_empty() -> None:
    assert plan_returns([revocation(600)], BY_DELETE, at(0)).now == {"pc1": "node-1"}


def test_an_empty_machine_waits_for_the_next_notice() -> None:
    returns = plan_returns([revocation(600)], BY_REPLY, at(59))
    assert returns.now == {}
    assert returns.wait == 16


def test_a_machine_that_cloudlab_does_not_ask_about_again_is_given_back() -> None:
    returns = plan_returns([revocation(600)], BY_REPLY, at(75))
    assert returns.now == {"pc1": "node-1"}
    assert returns.wait is None


def test_a_machine_that_is_empty_after_the_last_notice_is_given_back_at_once() -> None:
    assert plan_returns([revocation(600, 540)], BY_REPLY, at(570)).now == {"pc1": "node-1"}


def test_a_machine_that_a_reply_has_offered_is_left_to_cloudlab() -> None:
    offered = replace(revocation(600, 540), offered=True)
    assert gives_back_at(offered, BY_REPLY) is None


@given(
    wait=st.floats(1, 7200),
    interval=st.floats(10, 300),
    emptied=st.floats(0, 1),
    lost_from=st.integers(0, 50),
)
def test_an_empty_machine_is_told_to_cloudlab_before_its_deadline_whatever_notices_are_lost(
    wait: float, interval: float, emptied: float, lost_from: int
) -> None:
    settings = DrainSettings(notice_interval=interval)
    empty_at = wait * emptied
    assume(empty_at < wait)
    notices = [
        n * interval for n in range(int(wait / interval) + 1) if n <= lost_from and n * interval < wait
    ]
    for last in notices:
        known = revocation(wait, last)
        given = gives_back_at(known, settings)
        assert given is not None
        if last >= empty_at:
            return  # its reply offers it
        following = [n for n in notices if n > last]
        if not following or at(following[0]) > max(given, at(empty_at)):
            assert max(given, at(empty_at)) < at(wait)
            return
    raise AssertionError("nobody told Cloudlab")
