"""A pause and a teardown last until they are lifted, over restarts too."""

import threading
from datetime import timedelta

import pytest

from agent.cluster.memory.hold import PAUSE, WHOLE_SLICE, GrowthHold, hold_words
from agent.cluster.reasons import TEARDOWN
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain
from tests.unit.cluster.conftest import NOW

DUE = NOW + timedelta(hours=1)


def begin(ledger) -> GrowthHold:
    """Make one that knows what the ledger does."""
    stored = {drain.node_id: drain for drain in ledger.drains()}
    return GrowthHold(threading.RLock(), ledger, stored.get(WHOLE_SLICE))


def test_the_newest_wish_outlasts_a_restart(ledger) -> None:
    hold = begin(ledger)
    assert hold.wish is None
    hold.put(PAUSE, "ada", NOW)
    wish = hold.put(TEARDOWN, "bob", NOW, DUE)
    assert wish == AdminDrain("", "teardown", "bob", NOW, DUE)
    assert hold.wish == begin(ledger).wish == wish


def test_a_wish_that_was_lifted_stays_lifted_after_a_restart(ledger) -> None:
    hold = begin(ledger)
    hold.put(PAUSE, "ada", NOW)
    assert hold.lift()
    assert not hold.lift()
    assert (hold.wish, begin(ledger).wish) == (None, None)


def test_a_teardown_gives_everything_back_and_a_pause_nothing(ledger) -> None:
    hold = begin(ledger)
    assert not hold.tearing_down
    assert hold.put(PAUSE, "ada", NOW).reason == "pause"
    assert not hold.tearing_down
    hold.put(TEARDOWN, "ada", NOW)
    assert hold.tearing_down


class Full:
    """A ledger on a disk that is full."""

    def put_drain(self, _drain):
        raise LedgerError("full")

    def remove_drain(self, _node_id):
        raise LedgerError("full")


def test_a_wish_that_cannot_be_written_down_is_not_taken_and_one_that_cannot_be_struck_stays() -> None:
    stored = AdminDrain(WHOLE_SLICE, PAUSE, "ada", NOW)
    hold = GrowthHold(threading.RLock(), Full(), stored)
    with pytest.raises(LedgerError):
        hold.put(TEARDOWN, "bob", NOW)
    with pytest.raises(LedgerError):
        hold.lift()
    assert hold.wish == stored


def test_that_a_teardown_is_complete_is_told_once_and_again_when_it_was_not_after_all(ledger) -> None:
    hold = begin(ledger)
    hold.put(TEARDOWN, "ada", NOW)
    told = [hold.is_news(bare) for bare in (False, True, True, False, True)]
    assert told == [False, True, False, False, True]
    hold.put(TEARDOWN, "bob", NOW)
    assert hold.is_news(True), "the next teardown"
    assert begin(ledger).is_news(True), "a restart does not know what was told"


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (None, ""),
        (AdminDrain("", PAUSE, "ada", NOW), "growth is paused by ada since 2026-11-22T12:00:00Z"),
        (
            AdminDrain("", TEARDOWN, "ada", NOW, DUE),
            "everything is given back by ada since 2026-11-22T12:00:00Z, due 2026-11-22T13:00:00Z",
        ),
    ],
)
def test_who_holds_growth_up_is_told_in_words(hold: AdminDrain | None, words: str) -> None:
    assert hold_words(hold) == words
