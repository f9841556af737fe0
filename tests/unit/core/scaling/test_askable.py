"""Which CMs are fit to be asked for machines, and until or while what the others are not."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.config import CycleSettings
from agent.core.errors import BusyError, CloudlabError, ConfigError, LedgerError, UnreachableError
from agent.core.scaling.askable import HANGS_AFTER, LONGEST_PAUSE, Askable
from agent.core.scaling.placement import Placement

CM, OTHER = "urn:cm", "urn:other"


class Bench:
    def __init__(self, office: Any) -> None:
        self.office = office
        self.obstacles: dict[str, str] = {}
        self.placement = Placement(CycleSettings(type_backoff="10m"), None)
        self.askable = Askable(office.desk, self.placement, lambda cm: self.obstacles.get(cm, ""), pause=30)

    def fail(self, error: Exception) -> None:
        with pytest.raises(type(error)), self.askable.asking(CM):
            raise error

    def pauses(self, error: Exception, times: int) -> list[float]:
        """Fail so often, each time once the pause is over; return how long each was, in seconds."""
        seconds = []
        for _ in range(times):
            self.fail(error)
            began = self.office.time
            while self.askable.why_not(CM):
                self.office.advance(30)
            seconds.append((self.office.time - began).total_seconds())
        return seconds


@pytest.fixture
def bench(office: Any) -> Bench:
    return Bench(office)


def test_a_cm_of_which_nothing_bad_is_known_may_be_asked(bench: Bench) -> None:
    assert bench.askable.why_not(CM) == ""


def test_a_cm_that_said_it_has_none_is_not_asked_until_its_pause_is_over(bench: Bench) -> None:
    bench.placement.pause(CM, "", bench.office.time, "none are free")
    assert bench.askable.why_not(CM) == "until 12:10:00Z: none are free"
    assert bench.askable.why_not(OTHER) == ""
    bench.askable.worked(CM)
    assert bench.askable.why_not(CM) == ""


@pytest.mark.parametrize("error", [CloudlabError("Error", code=2), ConfigError("LAN 'lan0' is not there")])
def test_a_cm_that_cannot_give_is_left_alone_longer_each_time(bench: Bench, error: Exception) -> None:
    bench.fail(error)
    assert bench.askable.why_not(CM) == f"until 12:00:30Z: {error}"
    assert bench.askable.why_not(OTHER) == ""
    bench.office.advance(30)
    assert bench.pauses(error, 6) == [60, 120, 240, *[30 * LONGEST_PAUSE] * 3]
    bench.askable.worked(CM)
    assert bench.pauses(error, 1) == [30]


def test_what_is_only_busy_is_tried_again_soon(bench: Bench) -> None:
    assert bench.pauses(BusyError("resource is busy"), 4) == [30] * 4


def test_a_fault_of_ours_is_not_laid_at_its_door(bench: Bench) -> None:
    bench.fail(LedgerError("disk full"))
    assert bench.askable.why_not(CM) == ""


def test_a_cm_whose_manifest_cannot_be_read_is_not_asked_until_it_can(bench: Bench) -> None:
    with pytest.raises(UnreachableError), bench.askable.reading(CM):
        raise UnreachableError("no route")
    bench.office.advance(86400)
    assert bench.askable.why_not(CM) == "while what it holds cannot be read: call at Cloudlab: no route"
    with bench.askable.reading(CM):
        pass
    assert bench.askable.why_not(CM) == ""


def test_a_call_that_hangs_is_waited_for_by_nobody_and_an_answer_ends_it(bench: Bench) -> None:
    with bench.askable.at_work(CM):
        bench.office.advance(HANGS_AFTER - 1)
        assert bench.askable.why_not(CM) == ""
        bench.office.advance(1)
        assert bench.askable.why_not(CM) == "while a call of ours hangs there"
        bench.askable.answered(CM)
        assert bench.askable.why_not(CM) == ""
        with bench.askable.at_work(CM):
            pass
        bench.office.advance(HANGS_AFTER)
        assert bench.askable.why_not(CM)
    assert bench.askable.why_not(CM) == ""
    bench.askable.answered(CM)
    bench.office.advance(HANGS_AFTER)
    assert bench.askable.why_not(CM) == ""


def test_what_else_hinders_is_told_last(bench: Bench) -> None:
    bench.obstacles[CM] = "while it rains"
    assert bench.askable.why_not(CM) == "while it rains"
    bench.askable.leave_alone(CM, "it is wet")
    assert bench.askable.why_not(CM) == "until 12:00:30Z: it is wet"
