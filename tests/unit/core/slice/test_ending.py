"""When the end of a sliver's lease empties its machines, and when no longer."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.core.desk import Desk
from agent.core.events import EventKind
from agent.core.model import SliverNode
from agent.core.settings import LeaseSettings
from agent.core.slice.ending import Endings
from agent.core.views import Lapse
from tests.unit.core.conftest import FakeClock

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
REFUSED = "others have reserved it"


class World:
    """Slivers of two CMs with a machine each, whose leases nobody renews but a test."""

    def __init__(self, left: float, **lease: object) -> None:
        self.clock = FakeClock()
        self.told: list[tuple[EventKind, str, str]] = []
        self.woken: list[tuple[str, ...]] = []
        self.expires = {UTAH: self.end(left), WISC: self.end(86400)}
        self.lapses: list[Lapse] = []
        self.machines = {UTAH: [SliverNode("n-1", "pc1", UTAH, "s-1")], WISC: []}
        desk = Desk(
            self.clock,
            threading.RLock(),
            lambda kind, subject, message, _=None: self.told.append((kind, subject, message)),
            lambda _: None,
            lambda *steps: self.woken.append(steps),
        )
        settings = LeaseSettings(**{"empty_before": 3600, **lease})
        self.deletions: dict[str, datetime] = {}
        self.endings = Endings(
            desk,
            lambda: self.expires,
            lambda: self.lapses,
            lambda: settings,
            lambda cm: self.machines[cm],
            lambda: self.deletions,
        )

    def end(self, seconds: float) -> datetime:
        return self.clock.now() + timedelta(seconds=seconds)

    def refuse(self, cm: str = UTAH, *, answered: bool = True) -> None:
        self.lapses = [Lapse(cm, self.clock.now(), REFUSED, answered=answered)]


def test_a_refused_lease_is_a_deadline_once_less_than_the_time_to_empty_is_left() -> None:
    world = World(3700)
    world.refuse()
    assert world.endings.now() == {}
    world.clock.advance(100)
    (ending,) = world.endings.now().values()
    assert (ending.cm, ending.deadline, ending.why) == (UTAH, world.expires[UTAH], REFUSED)
    assert ending.begun == world.clock.steady()
    world.clock.advance(100)
    assert world.endings.now()[UTAH].begun == ending.begun


def test_a_renewal_that_was_not_tried_yet_is_waited_for_but_not_for_long() -> None:
    world = World(1200)
    assert world.endings.now() == {}
    world.clock.advance(250)
    assert world.endings.now().keys() == {UTAH}
    early = World(3600)
    assert early.endings.now() == {}
    early.clock.advance(600)
    assert early.endings.now() == {}
    early.clock.advance(300)
    assert early.endings.now().keys() == {UTAH}


def test_a_clock_that_is_set_leaves_time_to_renew() -> None:
    world = World(80000)
    assert world.endings.now() == {}
    world.clock.set_ahead(90000)
    assert world.endings.now() == {}
    world.expires[UTAH] = world.end(86400)
    world.expires[WISC] = world.end(86400)
    world.clock.advance(3600)
    assert world.endings.now() == {}


def test_a_lease_whose_end_comes_near_untold_is_renewed_at_once() -> None:
    world = World(80000)
    world.endings.tell()
    assert world.woken == []
    world.clock.set_ahead(79000)
    world.endings.tell()
    world.endings.tell()
    assert world.woken == [("renew",)]
    world.expires[UTAH] = world.end(86400)
    world.expires[WISC] = world.end(86400)
    world.endings.tell()
    world.clock.set_ahead(86000)
    world.endings.tell()
    assert world.woken == [("renew",)] * 2


def test_a_lease_that_is_refused_waits_for_its_next_try() -> None:
    world = World(1800)
    world.refuse()
    world.endings.tell()
    assert world.woken == []


def test_what_hinders_the_slice_ends_its_slivers() -> None:
    world = World(1800)
    world.refuse("")
    assert world.endings.now()[UTAH].why == REFUSED


def test_a_renewal_that_is_granted_after_all_takes_it_back_and_another_end_moves_it() -> None:
    world = World(1800)
    world.refuse()
    assert world.endings.now().keys() == {UTAH}
    world.expires[UTAH] += timedelta(minutes=10)
    assert world.endings.now()[UTAH].deadline == world.expires[UTAH]
    world.expires[UTAH] += timedelta(hours=10)
    assert world.endings.now() == {}
    assert world.endings.why_no_more(UTAH) == ""


def test_once_begun_it_goes_on_though_the_reason_is_not_told_any_more() -> None:
    world = World(1800)
    world.refuse()
    assert world.endings.now()
    world.lapses = []
    assert world.endings.now().keys() == {UTAH}


def test_a_sliver_that_somebody_deletes_is_emptied_at_once() -> None:
    world = World(86400)
    world.deletions = {UTAH: world.clock.steady()}
    ending = world.endings.now()[UTAH]
    assert (ending.deadline, ending.why) == (world.end(60), "the sliver there is being deleted")
    assert not ending.gives_back, "it takes no change"
    world.clock.advance(90)
    assert world.endings.now()[UTAH].deadline == ending.deadline


def test_no_machine_is_asked_for_where_the_lease_ends() -> None:
    world = World(1800)
    world.refuse()
    assert world.endings.why_no_more(UTAH) == f"while its lease ends at {world.expires[UTAH]:%H:%M:%SZ}"
    assert world.endings.why_no_more(WISC) == ""


def test_no_machine_is_asked_for_that_would_be_emptied_as_soon_as_it_has_booted() -> None:
    world = World(7300)
    world.refuse()
    assert world.endings.why_no_more(UTAH) == ""
    world.clock.advance(200)
    assert world.endings.now() == {}
    assert world.endings.why_no_more(UTAH) == f"while its lease ends at {world.expires[UTAH]:%H:%M:%SZ}"
    world.lapses = []
    assert world.endings.why_no_more(UTAH) == ""


def test_a_machine_may_be_asked_for_where_the_lease_is_renewed_once_we_hold_one() -> None:
    world = World(1800, renew="while-we-hold")
    world.expires[WISC] = world.end(1800)
    for cm in (UTAH, WISC, ""):
        world.refuse(cm)
        assert world.endings.why_no_more(WISC) == ""
    assert world.endings.why_no_more(UTAH) != ""
    world.lapses = [replace(world.lapses[0], cm=WISC, obstacle="reserved")]
    assert world.endings.why_no_more(WISC) != ""


@pytest.mark.parametrize("answered", [True, False])
def test_empty_machines_are_given_back_early_only_where_somebody_said_no(*, answered: bool) -> None:
    world = World(1800)
    world.refuse(answered=answered)
    assert world.endings.now()[UTAH].gives_back is answered


def test_each_machine_is_told_once_that_it_goes_and_once_that_it_stays() -> None:
    world = World(1800)
    world.refuse()
    assert world.endings.tell()
    assert not world.endings.tell()
    world.machines[UTAH].append(SliverNode("n-2", "pc2", UTAH, "s-2"))
    assert world.endings.tell()
    end = f"its lease ends at {world.expires[UTAH]:%H:%M:%S} UTC: {REFUSED}"
    assert world.told == [(EventKind.REVOKE, "pc1", end), (EventKind.REVOKE, "pc2", end)]
    world.told.clear()
    del world.machines[UTAH][0]
    world.expires[UTAH] += timedelta(hours=10)
    assert world.endings.tell()
    lasts = (
        f"the lease of pc2 was renewed after all, and lasts until {world.expires[UTAH]:%Y-%m-%dT%H:%M:%SZ}"
    )
    assert world.told == [(EventKind.WITHDRAWN, "pc2", lasts)]


@pytest.mark.parametrize(
    ("lease", "window"),
    [
        ({}, 3600),
        ({"empty_before": 600}, 600),
        ({"duration": 600}, 270),
        ({"renew_when_left": 1800}, 900),
    ],
)
def test_a_short_lease_is_not_emptied_before_half_of_the_time_to_renew_it_is_over(
    lease: dict[str, float], window: float
) -> None:
    assert LeaseSettings(**lease).emptied_when_left == window
