"""A thread that ends unexpectedly is told, and begun anew or given up with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent.core import threads
from agent.core.threads import Fault


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fault]]:
    monkeypatch.setattr("agent.core.threads.FIRST_PAUSE", 0.001)
    faults: list[Fault] = []
    with threads.listening(faults.append):
        yield faults


def test_an_errand_that_fails_is_told_and_not_repeated(told: list[Fault]) -> None:
    runs = []

    def work() -> None:
        runs.append(1)
        raise ValueError("no such thing")

    threads.errand("clean", work).join(20)
    assert runs == [1]
    [fault] = told
    assert str(fault) == "the thread clean ended unexpectedly, and is not repeated: ValueError: no such thing"
    assert not fault.is_fatal


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), MemoryError()])
def test_a_loop_is_begun_anew_whatever_ended_it(told: list[Fault], error: BaseException) -> None:
    runs = []

    def work() -> None:
        runs.append(1)
        if len(runs) < 4:
            raise error

    threads.keep("loop", work, lambda: False).join(20)
    assert len(runs) == 4, "it returned, as it was to"
    assert [fault.error for fault in told] == [error] * 3


def test_a_loop_that_is_to_end_is_not_begun_anew(told: list[Fault]) -> None:
    runs, over = [], threading.Event()

    def work() -> None:
        runs.append(1)
        over.set()
        raise ValueError

    threads.keep("loop", work, over.is_set).join(20)
    assert len(runs) == len(told) == 1
    assert str(told[0]).endswith("and is begun anew: ValueError")


def test_what_cannot_be_begun_anew_is_fatal_when_it_fails_and_not_when_it_ends(told: list[Fault]) -> None:
    threads.rely("server", lambda: None).join(20)
    assert told == []
    threads.rely("server", lambda: 1 / 0).join(20)
    assert told[0].is_fatal


def test_a_listener_that_fails_stops_neither_the_loop_nor_the_others(told: list[Fault]) -> None:
    runs = []

    def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError

    with threads.listening(lambda _: 1 / 0):
        threads.keep("loop", work, lambda: False).join(20)
    assert len(runs) == 3
    assert len(told) == 2
