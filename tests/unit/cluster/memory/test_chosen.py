"""Which machines go back is known from the decision until each is gone."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.memory.chosen import Chosen
from tests.unit.cluster.conftest import a_machine

NOON, HOUR = datetime(2026, 11, 22, 12, tzinfo=UTC), timedelta(hours=1)
PC1, PC2, PC3, PC4 = (a_machine(n) for n in (1, 2, 3, 4))


@pytest.fixture
def chosen() -> Chosen:
    return Chosen(threading.RLock())


def all_of(chosen: Chosen) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    return chosen.chosen, chosen.emptied, frozenset(chosen.blocking)


def test_what_is_kept_is_not_chosen_any_more_and_no_error_where_it_never_was(chosen: Chosen) -> None:
    chosen.choose(PC1)
    chosen.choose(PC2)
    chosen.keep([PC2, PC3])
    assert all_of(chosen) == ({PC1.key}, frozenset(), frozenset())


def test_what_blocks_the_lease_is_chosen_and_news_only_once(chosen: Chosen) -> None:
    assert chosen.choose_blocking(PC1)
    assert not chosen.choose_blocking(PC1)
    assert all_of(chosen) == ({PC1.key}, frozenset(), {PC1.key})


def test_what_blocks_the_lease_has_a_deadline_that_moves_until_nothing_is_in_the_way(chosen: Chosen) -> None:
    for due in (NOON, NOON + HOUR):
        chosen.choose_blocking(PC1, due)
    assert chosen.blocking == {PC1.key: NOON + HOUR}
    chosen.unblock("another")
    assert chosen.keep([PC1]) == ()
    chosen.unblock(PC1.cm)
    assert (chosen.blocking, chosen.chosen) == ({}, {PC1.key})
    assert chosen.keep([PC1]) == (PC1,)


def test_a_node_that_was_surplus_before_it_blocked_the_lease_is_news_once_more(chosen: Chosen) -> None:
    chosen.choose(PC1)
    assert chosen.choose_blocking(PC1)


def test_what_takes_its_leave_is_chosen_and_not_kept_any_more(chosen: Chosen) -> None:
    chosen.leave(PC1)
    assert (chosen.leaving, chosen.keep([PC1])) == ({PC1.key}, ())
    assert all_of(chosen) == ({PC1.key}, frozenset(), frozenset())
    chosen.forget(PC1)
    assert (chosen.leaving, chosen.chosen) == (frozenset(), frozenset())


def test_a_machine_that_is_gone_leaves_nothing_behind(chosen: Chosen) -> None:
    for machine in (PC1, PC2):
        chosen.choose_blocking(machine)
        chosen.empty(machine)
    chosen.forget(PC1)
    assert all_of(chosen) == ({PC2.key},) * 3
    assert chosen.choose_blocking(PC1), "one that comes again is another machine"


def test_the_next_machine_of_the_same_names_is_another(chosen: Chosen) -> None:
    again = replace(PC1, sliver_id="urn:sliver+11")
    chosen.choose_blocking(again)
    chosen.forget(PC1)
    assert chosen.blocking == {again.key: None}


def test_what_was_asked_for_does_not_change_in_the_hands_of_who_asked(chosen: Chosen) -> None:
    before = all_of(chosen)
    chosen.choose_blocking(PC1)
    chosen.empty(PC1)
    assert before == (frozenset(),) * 3


def test_only_what_may_still_return_is_kept_and_that_is_told(chosen: Chosen) -> None:
    for machine in (PC1, PC2):
        chosen.choose(machine)
    chosen.empty(PC2)
    chosen.choose_blocking(PC3)
    assert chosen.keep([PC1, PC2, PC3, PC4]) == (PC1,)
    assert chosen.chosen == {PC2.key, PC3.key}
