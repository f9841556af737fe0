"""Which nodes go back is known from the decision until the machine is gone."""

import threading

import pytest

from agent.cluster.memory.chosen import Chosen


@pytest.fixture
def chosen() -> Chosen:
    return Chosen(threading.RLock())


def all_of(chosen: Chosen) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    return chosen.chosen, chosen.emptied, chosen.blocking


def test_what_is_kept_is_not_chosen_any_more_and_no_error_where_it_never_was(chosen: Chosen) -> None:
    chosen.choose("pc1")
    chosen.choose("pc2")
    chosen.keep(["pc2", "pc3"])
    assert all_of(chosen) == ({"pc1"}, frozenset(), frozenset())


def test_what_blocks_the_lease_is_chosen_and_news_only_once(chosen: Chosen) -> None:
    assert chosen.choose_blocking("pc1")
    assert not chosen.choose_blocking("pc1")
    assert all_of(chosen) == ({"pc1"}, frozenset(), {"pc1"})


def test_a_node_that_was_surplus_before_it_blocked_the_lease_is_news_once_more(chosen: Chosen) -> None:
    chosen.choose("pc1")
    assert chosen.choose_blocking("pc1")


def test_a_node_that_is_empty_goes_back_only_when_that_was_decided(chosen: Chosen) -> None:
    chosen.empty("pc1")
    assert all_of(chosen) == (frozenset(), {"pc1"}, frozenset())
    chosen.choose("pc2")
    chosen.choose_emptied()
    assert all_of(chosen) == ({"pc1", "pc2"}, {"pc1"}, frozenset())


def test_a_machine_that_is_gone_leaves_nothing_behind(chosen: Chosen) -> None:
    for name in ("pc1", "pc2"):
        chosen.choose_blocking(name)
        chosen.empty(name)
    chosen.forget("pc1")
    assert all_of(chosen) == ({"pc2"},) * 3
    assert chosen.choose_blocking("pc1"), "one that comes again is another machine"


def test_what_was_asked_for_does_not_change_in_the_hands_of_who_asked(chosen: Chosen) -> None:
    before = all_of(chosen)
    chosen.choose_blocking("pc1")
    chosen.empty("pc1")
    assert before == (frozenset(),) * 3


def test_only_what_may_still_return_is_kept_and_that_is_told(chosen: Chosen) -> None:
    for name in ("pc1", "pc2"):
        chosen.choose(name)
    chosen.empty("pc2")
    chosen.choose_blocking("pc3")
    assert chosen.keep(["pc1", "pc2", "pc3", "pc4"]) == {"pc1"}
    assert chosen.chosen == {"pc2", "pc3"}
