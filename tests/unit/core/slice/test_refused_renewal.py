"""What is made of a renewal that is refused: the latest end, who goes for others, what people are told."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import ManagerConfig
from agent.core.desk import Desk
from agent.core.errors import (
    BusyError,
    EndingError,
    LockedDownError,
    PromisedError,
    RefusedError,
    RenewalRefusedError,
    ShutDownError,
)
from agent.core.model import SliverNode
from agent.core.obstacles import RenewalObstacle
from agent.core.settings import LeaseSettings
from agent.core.slice.lease import Lease
from agent.core.slice.life import SliceLife
from agent.core.slice.slivers import Slivers
from tests.unit.core.conftest import FakeClock, FakeMachine, FakeServer

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Owner:
    """A manager that calls its machines es-1, es-2, ..."""

    taken, revocations, resource_values = {}, {}, {}

    def follow_clock(self):
        pass

    def owns(self, client_id):
        return client_id.startswith("es-")

    def asks_for(self, client_id):
        return False

    def handle_deleted_node(self, node):
        pass


class Site:
    """A CM at which others have reserved machines: type -> from when on, and how many of ours that takes."""

    def __init__(self, left=17 * HOUR, types=("m510",) * 4, **lease):
        self.clock = FakeClock()
        self.server = server = FakeServer(self.clock, cms=[UTAH])
        self.told, self.notes, self.given, self.kept = [], [], {}, 0
        desk = Desk(self.clock, threading.RLock(), self._tell, self.notes.append, lambda *steps: None)
        config = ManagerConfig(clock=self.clock)
        self.slivers = Slivers(server, config, [UTAH], desk, Owner())
        self.settings = LeaseSettings(duration="24h", renew_when_left="18h", empty_before="1h", **lease)
        kept = (desk, self.slivers, SliceLife(server, desk, self.slivers))
        self.lease = Lease(server, config, *kept, lambda: self.settings, self.give)
        self.lease.sparer.in_order, self.lease.sparer.keep = self.in_order, self.keep
        self.reserved = {}
        self.error = None
        self.asked = []
        real = server.renew_sliver

        def renew(cm, end):
            self.asked.append(end)
            self._refuse(end)
            return real(cm, end)

        server.renew_sliver = renew
        for number, kind in enumerate(types, 1):
            node = SliverNode(f"es-{number}", f"pc{number}", UTAH, f"sliver-{number}", kind)
            server.sites[UTAH].machines[node.client_id] = FakeMachine(node, NOON)
        server.slice_expires = NOON + left
        server.sites[UTAH].exists, server.sites[UTAH].expires = True, NOON + left
        self.slivers.read(UTAH)
        self.lease.ensure_slice()

    def _refuse(self, end):
        if self.error is not None:
            raise self.error
        held = [m.node.hardware_type for m in self.server.sites[UTAH].machines.values()]
        for kind, (when, left) in self.reserved.items():
            if when < end and held.count(kind) > left:
                raise RenewalRefusedError(
                    "Extension refused by reservation system: Insufficient free nodes",
                    obstacle=RenewalObstacle.RESERVED,
                    short_at=(when - 7 * HOUR).strftime("%a %b %e %H:%M:%S %Y"),
                    short_by=held.count(kind) - left,
                    code=7,
                )

    def renew(self, after=timedelta()):
        """Renew once, so much later; return the calls that it took."""
        self.clock.advance(after.total_seconds())
        before = len(self.asked)
        self.lease.renew()
        return len(self.asked) - before

    def go(self, *names):
        """Let machines be given back that are empty."""
        gone = [self.server.sites[UTAH].machines.pop(name).node for name in names]
        self.slivers.read(UTAH)
        return self.lease.gave_back(UTAH, gone)

    @property
    def ends(self):
        return self.server.sites[UTAH].expires - NOON

    def events(self, kind):
        return [message for each, _, message in self.told if each == kind]

    def give(self, node, deadline):
        self.given[node.client_id] = deadline - NOON

    def keep(self, cm):
        self.kept += 1
        self.given.clear()

    def in_order(self, nodes):
        return sorted(nodes, key=lambda node: node.client_id, reverse=True)

    def _tell(self, kind, subject, message, data=None):
        self.told.append((kind, subject, message))


def test_what_is_granted_before_a_reservation_is_taken_at_once_and_told_with_the_reason():
    site = Site()
    site.reserved["m510"] = (NOON + 20 * HOUR, 2)
    assert site.renew() <= 10
    assert 20 * HOUR - 3 * MINUTE < site.ends <= 20 * HOUR
    [lapse] = site.lease.lapses()
    assert (lapse.cm, lapse.obstacle, lapse.expires) == (UTAH, "reserved", NOON + site.ends)
    assert "Insufficient free nodes" in lapse.why
    assert "others have reserved" in lapse.mend
    [told] = site.events("lease")
    assert "and no longer: " in told
    assert "Insufficient free nodes" in told
    assert len(site.events("renew")) == 2, "the slice's and the sliver's"


def test_the_rest_is_tried_again_later_by_one_call_and_told_once():
    site = Site(drop_blocking=False)
    site.reserved["m510"] = (NOON + 17.5 * HOUR, 2)
    site.renew()
    assert site.lease.next_try() == 600
    assert site.renew(5 * MINUTE) == 0
    # Once more where what is left to find out is not fine enough yet.
    assert site.renew(5 * MINUTE) <= 3
    assert site.renew(20 * MINUTE) == 1
    assert site.lease.next_try() == 2400
    assert len(site.events("lease")) == 1
    assert site.ends <= 17.5 * HOUR


def test_it_is_tried_right_before_the_machines_are_emptied_and_while_they_are():
    site = Site(left=3 * HOUR, drop_blocking=False)
    site.server.slice_expires = NOON + 48 * HOUR
    site.lease.ensure_slice()
    site.reserved["m510"] = (NOON + 3 * HOUR, 0)
    for _ in range(4):
        site.renew(timedelta(seconds=site.lease.next_try()))
    before = (NOON + 2 * HOUR - site.clock.now()).total_seconds()
    assert 0 <= before - site.lease.next_try() <= 300
    while site.clock.now() < NOON + 2.5 * HOUR:
        assert site.lease.next_try() <= 3600
        site.renew(timedelta(seconds=site.lease.next_try()))
    assert site.lease.next_try() <= 300


def test_a_reservation_that_is_cancelled_leads_to_the_full_length_and_nothing_is_told_any_more():
    site = Site()
    site.reserved["m510"] = (NOON + 17.5 * HOUR, 2)
    site.renew()
    site.reserved.clear()
    assert site.renew(HOUR) == 2
    assert site.ends == 24 * HOUR, "as long as the slice"
    assert site.lease.lapses() == ()


def test_of_the_only_type_as_many_go_as_are_short_before_all_are_emptied_and_the_rest_is_renewed():
    site = Site()
    site.reserved["m510"] = (NOON + 17 * HOUR, 2)
    site.renew()
    assert site.given == {}
    assert site.lease.sparer.plans()[UTAH].begins == NOON + 15 * HOUR
    while not site.given:
        site.renew(timedelta(seconds=max(site.lease.next_try(), 1)))
    assert site.clock.now() == NOON + 15 * HOUR
    assert site.given == {"es-4": 16 * HOUR, "es-3": 16 * HOUR}
    assert len(site.events("blocked")) == 2
    assert site.go("es-3", "es-4")
    assert site.renew() >= 1
    assert NOON + site.ends == site.server.slice_expires > NOON + 36 * HOUR
    assert site.lease.lapses() == ()


def test_the_rarest_type_goes_first_and_the_next_where_that_was_in_vain():
    site = Site(left=4 * HOUR, types=("m510", "m510", "m510", "c220", "xl170", "xl170"))
    site.reserved["xl170"] = (NOON + 4 * HOUR, 1)
    site.renew(HOUR)
    assert site.server.count("find_short_types") == 1
    assert list(site.given) == ["es-4"]
    site.go("es-4")
    site.renew(MINUTE)
    plan = site.lease.sparer.plans()[UTAH]
    assert (plan.hardware_type, plan.count) == ("xl170", 1)
    site.renew(plan.begins - site.clock.now())
    assert [name for name in site.given if name != "es-4"] == ["es-6"]
    site.go("es-6")
    site.renew(MINUTE)
    assert site.lease.lapses() == ()
    assert len(site.server.machines()) == 4


def test_a_type_that_the_site_tells_goes_and_no_other():
    site = Site(left=4 * HOUR, types=("m510", "m510", "m510", "c220"))
    site.server.short_types = ("m510",)
    site.reserved["m510"] = (NOON + 4 * HOUR, 2)
    site.renew(1.9 * HOUR)
    site.renew(timedelta(seconds=600))
    assert list(site.given) == ["es-3"]
    [told] = site.events("blocked")
    assert "type m510 is short there" in told


def test_nothing_more_is_asked_of_a_site_while_machines_go_there_for_the_others():
    site = Site(left=2 * HOUR)
    site.reserved["m510"] = (NOON + 2 * HOUR, 3)
    site.renew()
    assert site.given.keys() == {"es-4"}
    assert "go so that the lease of the others is renewed" in site.lease.sparer.why_no_more(UTAH)
    site.go("es-4")
    assert site.lease.sparer.why_no_more(UTAH), "it is not renewed yet: one more would be short again"
    site.renew()
    assert site.lease.sparer.why_no_more(UTAH) == ""


def test_a_machine_that_is_named_keeps_no_other_from_coming():
    site = Site()
    site.error = PromisedError("pc2 is sched-reserved", node_id="pc2", code=7)
    site.renew()
    assert site.given.keys() == {"es-2"}
    assert site.lease.sparer.why_no_more(UTAH) == ""


def test_what_was_to_go_stays_once_the_lease_is_renewed():
    site = Site(left=3 * HOUR)
    site.reserved["m510"] = (NOON + 3 * HOUR, 3)
    site.renew(1.5 * HOUR)
    assert site.given
    site.reserved.clear()
    site.renew(600 * timedelta(seconds=1))
    assert (site.kept, site.given) == (1, {})


def test_nothing_goes_where_that_is_not_allowed():
    site = Site(left=1.5 * HOUR, drop_blocking=False)
    site.reserved["m510"] = (NOON + 1.5 * HOUR, 2)
    site.renew()
    assert site.given == {}


def test_a_machine_that_is_named_is_gone_before_all_others_would_be_emptied():
    site = Site()
    site.error = PromisedError("Refused cause pc2 is sched-reserved.", node_id="pc2", code=7)
    assert site.renew() == 1
    assert site.given == {"es-2": 16 * HOUR}
    site.error = None
    assert site.go("es-2")
    site.renew()
    assert site.lease.lapses() == ()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RenewalRefusedError("idle for too long", obstacle=RenewalObstacle.IDLE), "idle"),
        (EndingError("Slice is marked for termination"), "ending"),
        (LockedDownError("Slice is locked down"), "locked-down"),
        (ShutDownError("Slice has been shutdown"), "shut-down"),
    ],
)
def test_what_no_other_end_mends_is_asked_once_and_told_with_what_a_person_can_do(error, kind):
    site = Site()
    site.error = error
    assert site.renew() == 1
    assert site.renew(MINUTE) == 0
    [lapse] = site.lease.lapses()
    assert (lapse.cm, lapse.obstacle) == (UTAH, kind)
    assert lapse.mend
    assert len(site.events("lease")) == (kind != "ending"), "that one is an event of its own"


def test_the_sites_longest_lease_is_asked_for_and_no_obstacle():
    site = Site(left=2 * HOUR)
    real = site._refuse

    def refuse(end):
        real(end)
        if end > site.clock.now() + 10 * HOUR:
            raise RenewalRefusedError("maximum", obstacle=RenewalObstacle.MAXIMUM, longest=36000.0)

    site._refuse = refuse
    assert site.renew() == 2
    assert 10 * HOUR - MINUTE < site.ends < 10 * HOUR
    assert site.lease.lapses() == ()
    assert "the longest that the site admits" in site.events("renew")[-1]
    assert site.renew(9 * HOUR) == 1
    assert site.lease.lapses() == ()


def test_a_prereserve_without_a_date_is_approached_all_the_same():
    site = Site()
    real = site._refuse

    def refuse(end):
        real(end)
        if end > NOON + 21 * HOUR:
            text = "Extension refused by reservation system: Could not extend because of a prereserve"
            raise RenewalRefusedError(text, obstacle=RenewalObstacle.PRERESERVE)

    site._refuse = refuse
    assert site.renew() <= 10
    assert 21 * HOUR - 3 * MINUTE < site.ends <= 21 * HOUR
    assert site.given == {}


def test_words_that_are_not_known_may_admit_less():
    site = Site()
    site._refuse = lambda end: (_ for _ in ()).throw(RefusedError("No.")) if end > NOON + 21 * HOUR else None
    site.renew()
    assert 21 * HOUR - 3 * MINUTE < site.ends <= 21 * HOUR


def test_a_sliver_whose_end_is_not_known_is_asked_for_one_end_and_tried_again_later():
    site = Site()
    site.server.tells_ends = False
    site.slivers.expires.clear()
    site.reserved["m510"] = (NOON + 20 * HOUR, 2)
    assert site.renew() == 1
    assert site.renew(5 * MINUTE) == 0
    site.reserved.clear()
    assert site.renew(5 * MINUTE) == 1
    assert site.lease.lapses() == ()


def test_a_cm_that_is_busy_in_between_keeps_what_it_granted_and_the_obstacle():
    site = Site()
    site.reserved["m510"] = (NOON + 23 * HOUR, 2)
    real, count = site._refuse, iter(range(99))

    def refuse(end):
        if next(count) == 3:
            raise BusyError("resource is busy", code=14)
        real(end)

    site._refuse = refuse
    site.renew()
    assert 20 * HOUR < site.ends < 23 * HOUR
    assert [lapse.obstacle for lapse in site.lease.lapses()] == ["reserved"]


def test_a_renewal_that_finds_the_sliver_being_deleted_has_nothing_more_asked_there():
    site = Site()
    site.error = EndingError("Slice is marked for termination", code=2)
    site.renew()
    assert site.slivers.at_work.is_ending(UTAH)


def test_what_is_known_of_a_lease_outlasts_one_manifest_that_denies_the_sliver():
    site = Site()
    site.reserved["m510"] = (NOON + 20 * HOUR, 2)
    site.renew()
    [before] = site.lease.lapses()
    site.server.odd = lambda cm, sliver: None
    site.slivers.read(UTAH)
    assert site.slivers.expires[UTAH] == before.expires
    site.lease.renew()
    assert site.lease.lapses() == (before,)
