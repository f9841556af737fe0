"""Acts that run beside each other, and what comes of them."""

import threading

import pytest

from agent.cluster.drain.hands import MOST_AT_ONCE, Hands
from agent.core.errors import SlurmDownError, SlurmError


@pytest.fixture
def go_on():
    """Let go what hangs, at the end of a test too."""
    event = threading.Event()
    yield event
    event.set()


def test_what_comes_of_acts_is_taken_up_in_the_thread_that_waits_for_them() -> None:
    hands, told = Hands(lambda: None), []
    for number in range(3):
        hands.begin("n", [number], lambda n=number: n * 10, lambda r: told.append((r, threading.get_ident())))
    assert hands.is_at(1), "until it is taken up"
    hands.gather()
    assert sorted(told) == [(n, threading.get_ident()) for n in (0, 10, 20)]
    assert not hands.is_at(1)


def test_one_that_hangs_is_waited_for_once_and_costs_no_other(go_on) -> None:
    rung = threading.Event()
    hands, told = Hands(rung.set, patience=0.05), []
    hands.begin("hangs", ["a"], go_on.wait, lambda _: told.append("a"))
    hands.gather()
    hands.begin("well", ["b"], lambda: None, lambda _: told.append("b"))
    hands.gather()
    assert told == ["b"]
    assert hands.is_at("a")
    go_on.set()
    assert rung.wait(10), "whoever waits is called when it is over"
    hands.take_up()
    assert told == ["b", "a"]


def test_what_follows_an_act_is_waited_for_too() -> None:
    hands, told = Hands(lambda: None), []
    hands.begin("one", [], lambda: 1, lambda _: hands.begin("two", [], lambda: 2, told.append))
    hands.gather()
    assert told == [2]


def test_errors_of_slurm_are_handed_on_and_faults_of_ours_cost_no_other() -> None:
    hands, told = Hands(lambda: None), []

    def fails(error: Exception) -> None:
        raise error

    down: SlurmError = SlurmDownError("no answer")
    hands.begin("down", ["a"], lambda: fails(down), lambda _: told.append("never"), told.append)
    hands.begin("fault", ["b"], lambda: fails(ZeroDivisionError()), lambda _: told.append("never"))
    hands.begin("after", ["c"], lambda: 1, lambda _: fails(ZeroDivisionError()))
    hands.begin("well", ["d"], lambda: 2, told.append)
    hands.gather()
    assert set(told) == {down, 2}
    assert not any(map(hands.is_at, "abcd"))


def test_no_more_run_at_once_than_slurm_is_asked_to_serve(go_on) -> None:
    hands, begun = Hands(lambda: None, patience=0.05), []
    for number in range(MOST_AT_ONCE + 2):
        hands.begin("n", [number], lambda n=number: begun.append(n) or go_on.wait(), lambda _: None)
    hands.gather()
    assert len(begun) == MOST_AT_ONCE
    go_on.set()
    while any(map(hands.is_at, range(MOST_AT_ONCE + 2))):
        hands.gather()
    assert sorted(begun) == [*range(MOST_AT_ONCE + 2)]


def test_however_many_of_a_kind_hang_another_kind_has_its_turn(go_on) -> None:
    hands, told = Hands(lambda: None, patience=0.05), []
    for number in range(MOST_AT_ONCE + 2):
        hands.begin(f"word {number}", [number], go_on.wait, lambda _: None)
    hands.gather()
    hands.begin("requeue 7", ["7"], lambda: "7", told.append)
    hands.gather()
    assert told == ["7"]


def test_what_was_taken_up_is_known_until_slurm_is_read_anew() -> None:
    hands = Hands(lambda: None)
    hands.begin("requeue 7", ["7"], lambda: None, lambda _: None)
    hands.gather()
    assert (hands.is_at("7"), hands.was_at("7")) == (False, True)
    hands.take_up()
    assert not hands.was_at("7")
