"""Until when the slice and its slivers last; renewals that are refused, and when they are tried again."""

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import ManagerConfig, MemoryHoldings
from agent.core.desk import Desk
from agent.core.errors import (
    AlreadyExistsError,
    BusyError,
    ConfigError,
    LostReplyError,
    PromisedError,
    RefusedError,
    UnreachableError,
)
from agent.core.events import OfCm
from agent.core.model import Holding, IntentKind, SliverNode
from agent.core.ownership import Ownership
from agent.core.settings import LeaseSettings
from agent.core.slice.lease import Lease
from agent.core.slice.life import SliceLife
from agent.core.slice.slivers import Slivers
from agent.core.slice.together import together
from agent.core.views import Lapse
from tests.unit.core.conftest import FakeClock, FakeMachine, FakeServer

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


def promise(bench, node_id):
    """Make the CM refuse to renew while we hold this machine."""
    real = bench.server.renew_sliver

    def refuse(cm, expires):
        if any(m.node_id == node_id for m in bench.server.machines(cm)):
            bench.server.calls.append(("refused", cm, expires))
            raise PromisedError(
                f"Refused cause {node_id} is pre-reserved.",
                node_id=node_id,
                code=7,
                method="RenewSlice",
                authority=cm,
            )
        return real(cm, expires)

    bench.server.renew_sliver = refuse


def late(make_bench, **lease):
    bench = make_bench(
        helper={"num_pcs": 3},
        minthreshold=2,
        maxthreshold=2,
        config={"lease": LeaseSettings(duration="24h", renew_when_left="18h", **lease)},
    )
    bench.cycles(5)
    promise(bench, "pc101")
    bench.clock.advance(7 * 3600)
    return bench


def test_a_machine_that_blocks_is_named_once_and_kept_where_none_may_be_dropped(make_bench):
    bench = late(make_bench, drop_blocking=False)
    bench.cycles(60)
    [event] = bench.events.of("blocked")
    assert event.subject == "pc101"
    assert "promised to others; give it back to renew the others" in event.message
    assert event.data == OfCm(UTAH)
    assert bench.server.returned == []
    assert bench.manager.inventory.expires[UTAH] < bench.server.slice_expires


def test_a_machine_that_blocks_is_given_back_when_allowed_and_the_rest_renewed_at_once(make_bench):
    bench = late(make_bench)
    bench.cycles(4)
    assert [m.node_id for m in bench.server.returned] == ["pc101"]
    assert "promised to others; it is emptied and given back: " in bench.events.of("blocked")[0].message
    assert bench.manager.inventory.expires[UTAH] == bench.server.slice_expires
    assert bench.server.count("refused") == 1
    assert bench.manager.slice_expires == bench.server.slice_expires


def test_a_machine_that_is_not_ours_cannot_be_given_back(make_bench):
    bench = late(make_bench, drop_blocking=True)

    def refuse(cm, expires):
        raise PromisedError("Refused cause pc199 is sched-reserved.", node_id="pc199", code=7)

    bench.server.renew_sliver = refuse
    bench.cycles(10)
    assert bench.events.of("blocked")[0].subject == "pc199"
    assert "give it back to renew the others" in bench.events.of("blocked")[0].message
    assert bench.server.returned == []


def test_a_refusal_that_names_no_machine_is_told_as_it_is(make_bench):
    bench = late(make_bench)

    def refuse(cm, expires):
        raise RefusedError("idle for too long", code=7)

    bench.server.renew_sliver = refuse
    bench.cycles(2)
    assert "idle for too long" in bench.events.of("lease")[0].message
    assert bench.events.of("blocked") == []


def test_a_busy_cm_is_renewed_later_without_alarming_anybody(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    bench.clock.advance(7 * 3600)
    real = bench.server.renew_sliver
    refusals = iter([BusyError("slice is busy; try again later", code=14)])

    def busy_once(cm, expires):
        if (error := next(refusals, None)) is not None:
            raise error
        return real(cm, expires)

    bench.server.renew_sliver = busy_once
    bench.cycles(3)
    assert bench.events.of("lease") == []
    assert bench.manager.inventory.expires[UTAH] == bench.server.slice_expires


def test_a_renewal_that_fails_is_tried_again_in_time_for_what_is_left(make_bench):
    """The longest back-off is 16 minutes here: more than the sliver has left at the end."""
    bench = late(make_bench, drop_blocking=False)
    ends = bench.server.sites[UTAH].expires
    bench.clock.advance((ends - bench.clock.now()).total_seconds() - 3600)
    tries = []
    while bench.clock.now() < ends:
        before = bench.server.count("refused")
        bench.manager.manage_once()
        if bench.server.count("refused") > before:
            tries.append((ends - bench.clock.now()).total_seconds())
        bench.clock.advance(10)
    assert min(tries) <= 60
    assert bench.manager.slice_expires - bench.clock.now() > timedelta(hours=12)


def test_a_cm_that_hangs_keeps_no_other_from_being_renewed(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC), "pool": 3}, minthreshold=4, maxthreshold=4)
    bench.cycles(8)
    assert {node.cm for node in bench.server.machines()} == {UTAH, WISC}
    bench.clock.advance(7 * 3600)
    real = bench.server.renew_sliver
    renewed = threading.Event()

    def hang_at_the_first(cm, expires):
        if cm == bench.manager.cmlist[0]:
            assert renewed.wait(20), "the other CM was not asked meanwhile"
        granted = real(cm, expires)
        renewed.set()
        return granted

    bench.server.renew_sliver = hang_at_the_first
    bench.manager.renew()
    assert bench.manager.inventory.expires == dict.fromkeys((UTAH, WISC), bench.server.slice_expires)
    assert sorted(event.subject for event in bench.events.of("renew"))[-2:] == [UTAH, WISC]


def test_a_cm_that_hangs_on_is_left_to_itself_and_told_when_it_answers(make_bench, monkeypatch):
    monkeypatch.setattr("agent.core.slice.lease.RENEWAL_WAIT", 0.05)
    monkeypatch.setattr("agent.core.slice.lease.LOCK_WAIT", 0.05)
    bench = make_bench(server={"cms": (UTAH, WISC), "pool": 3}, minthreshold=4, maxthreshold=4)
    bench.cycles(8)
    bench.clock.advance(7 * 3600)
    slow, quick = bench.manager.cmlist
    real, gate = bench.server.renew_sliver, threading.Event()

    def hang_at_the_first(cm, expires):
        if cm == slow:
            gate.wait(60)
        return real(cm, expires)

    bench.server.renew_sliver = hang_at_the_first
    before = len(bench.events.of("renew"))
    for _ in range(2):
        with pytest.raises(BusyError, match=r"not over yet|under way"):
            bench.manager.renew()
    told = [event.subject for event in bench.events.of("renew")][before:]
    assert told == [bench.server.slice_urn, quick]
    gate.set()
    end = time.monotonic() + 20
    while slow not in [event.subject for event in bench.events.of("renew")]:
        assert time.monotonic() < end
        threading.Event().wait(0.005)


# --- the lease alone


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Told:
    """An event."""

    kind: str
    subject: str
    message: str


class Owner:
    """A manager that was told nothing of any machine, and calls its own es-1, es-2, ..."""

    def __init__(self):
        self.taken, self.revocations, self.resource_values = {}, {}, {}

    def follow_clock(self):
        pass

    def owns(self, client_id):
        return client_id.startswith("es-")

    def asks_for(self, client_id):
        return False


class World:
    """A lease of a day that is renewed with 18 hours left, with its surroundings; nothing else happens."""

    def __init__(self, *cms, slice_is=None, holdings=None, **lease):
        self.clock = FakeClock()
        self.server = FakeServer(self.clock, cms=cms)
        self.told, self.notes, self.given_back = [], [], []
        desk = Desk(self.clock, threading.RLock(), self._tell, self.notes.append, lambda *steps: None)
        config = ManagerConfig(
            clock=self.clock,
            ownership=Ownership(slice_is=slice_is),
            holdings=holdings or MemoryHoldings(),
        )
        self.slivers = Slivers(self.server, config, cms, desk, Owner())
        settings = LeaseSettings(duration="24h", renew_when_left="18h", **lease)
        kept = (desk, self.slivers, SliceLife(self.server, desk, self.slivers))
        self.lease = Lease(self.server, config, *kept, lambda: settings, self.give)

    def machine(self, cm, client_id="es-1"):
        """Have a CM lend a machine: one whose name is not like es-1 to others."""
        node = SliverNode(client_id, f"pc-{client_id}", cm, f"sliver-{client_id}")
        self.server.sites[cm].machines[client_id] = FakeMachine(node, NOON)

    def ends(self, cm, left):
        """Have a sliver that ends so much later, and know of it."""
        self.server.sites[cm].expires = NOON + left
        self.slivers.read(cm)

    def hold(self, left=DAY):
        """Have a slice, and a sliver at each CM, that last for as long as this."""
        self.server.slice_expires = NOON + left
        for cm, site in self.server.sites.items():
            site.exists, site.expires = True, NOON + left
            self.slivers.read(cm)
        self.lease.ensure_slice()

    def refuse(self, error):
        """Have the CMs refuse to renew; return how to have them renew again."""
        real = self.server.renew_sliver

        def refuse(cm, expires):
            raise error

        self.server.renew_sliver = refuse
        return lambda: setattr(self.server, "renew_sliver", real)

    def give(self, node, deadline):
        self.given_back.append((node.client_id, deadline - NOON))

    def renewals(self):
        return self.server.count("renew_slice"), self.server.count("renew_sliver")

    def _tell(self, kind, subject, message, data=None):
        self.told.append(Told(kind, subject, message))


def test_before_the_slice_was_read_nothing_is_renewed():
    world = World(UTAH)
    world.lease.renew()
    assert world.notes == ["no renewal: until when the slice lasts is not known"]
    assert (world.lease.slice_expires, world.server.calls) == (None, [])


@pytest.mark.parametrize(("left", "created"), [(-1, 1), (0, 1), (1, 0)])
def test_a_slice_that_is_over_is_made_anew(left, created):
    world = World(UTAH)
    world.server.slice_expires = NOON + timedelta(seconds=left)
    world.lease.ensure_slice()
    assert world.server.count("create_slice") == created
    assert world.lease.slice_expires == world.server.slice_expires


def test_cms_hold_nothing_for_a_slice_that_was_not_there():
    world = World(UTAH, WISC)
    assert world.slivers.holdings.unknown() == [UTAH, WISC]
    world.lease.ensure_slice()
    assert world.slivers.holdings.unknown() == []


def test_a_slice_is_made_for_the_length_of_a_lease_in_whole_seconds():
    world = World(UTAH)
    world.clock.advance(0.5)
    world.lease.create_slice()
    assert world.lease.slice_expires == world.server.slice_expires == NOON + DAY
    message = "the slice lasts until 2026-11-23T12:00:00Z"
    assert world.told == [Told("slice", FakeServer.slice_urn, message)]


@pytest.mark.parametrize("fault", ["done-lost", "done-garbage", AlreadyExistsError])
def test_a_slice_that_is_there_after_all_is_taken_as_it_is(fault):
    world = World(UTAH)
    if fault is AlreadyExistsError:
        world.server.slice_expires = NOON + DAY
    else:
        world.server.fault("create_slice", fault)
    world.lease.create_slice()
    assert world.lease.slice_expires == NOON + DAY
    assert [event.kind for event in world.told] == ["slice"]


def test_a_slice_that_was_not_made_is_not_told():
    world = World(UTAH)
    world.server.fault("create_slice", "lost")
    with pytest.raises(LostReplyError):
        world.lease.create_slice()
    assert (world.lease.slice_expires, world.told) == (None, [])


def test_what_has_enough_left_is_renewed_once_where_somebody_urges():
    world = World(UTAH)
    world.hold()
    world.clock.advance(60)
    world.lease.renew()
    assert world.notes == ["the slice lasts until 2026-11-23T12:00:00Z, which is enough"]
    world.lease.urge()
    world.lease.renew()
    assert world.renewals() == (1, 1)
    assert world.told == [
        Told("renew", FakeServer.slice_urn, "the slice lasts until 2026-11-23T12:01:00Z"),
        Told("renew", UTAH, "the sliver lasts until 2026-11-23T12:01:00Z"),
    ]
    world.clock.advance(60)
    world.lease.renew()
    assert world.renewals() == (1, 1)


def test_slivers_are_renewed_up_to_a_slice_that_is_not_and_the_first_fault_is_raised():
    world = World(UTAH, WISC)
    world.hold(left=timedelta(hours=1))
    for cm in (UTAH, WISC):
        world.ends(cm, timedelta(minutes=30))
    world.server.fault("renew_slice", "unreachable")
    world.server.fault("renew_sliver", "busy", cm=UTAH)
    with pytest.raises(UnreachableError):
        world.lease.renew()
    assert world.slivers.expires == {UTAH: NOON + timedelta(minutes=30), WISC: NOON + timedelta(hours=1)}
    first = world.told[0]
    assert (first.kind, first.subject) == ("lease", FakeServer.slice_urn)
    assert first.message.startswith("the slice was not renewed: ")
    assert "no connection" in first.message


def test_a_sliver_that_lasts_as_long_as_its_slice_is_left_alone():
    world = World(UTAH)
    world.server.grant_limit = 3600
    world.hold(left=timedelta(hours=1))
    world.lease.renew()
    assert world.renewals() == (1, 0)
    assert world.notes == [f"the sliver at {UTAH} lasts as long as the slice"]


@pytest.mark.parametrize("urged", [False, True])
@pytest.mark.parametrize("silent", ["no end in the manifest", "no manifest"])
def test_a_sliver_whose_end_is_not_known_is_asked_to_last_as_long_as_its_slice_by_then(silent, urged):
    world = World(UTAH)
    world.hold()
    # Both were renewed for two weeks since, by another hand.
    world.server.slice_expires = world.server.sites[UTAH].expires = NOON + 14 * DAY
    world.slivers.expires.clear()
    if silent == "no manifest":
        world.server.fault("find_sliver", "unreachable")
    world.server.tells_ends = False
    if urged:
        world.lease.urge()
    world.lease.renew()
    assert world.slivers.expires == {UTAH: NOON + 14 * DAY}


def test_a_sliver_is_not_renewed_where_neither_its_end_nor_that_of_its_slice_can_be_read():
    world = World(UTAH)
    world.hold(left=timedelta(hours=20))
    world.slivers.expires.clear()
    world.server.tells_ends = False
    world.server.fault("find_slice", "unreachable")
    with pytest.raises(UnreachableError):
        world.lease.renew()
    assert world.server.count("renew_sliver") == 0


@pytest.mark.parametrize("urged", [False, True])
def test_what_another_hand_has_renewed_for_longer_since_is_not_shortened(urged):
    world = World(UTAH)
    world.hold(left=timedelta(hours=10))
    world.server.slice_expires = world.server.sites[UTAH].expires = NOON + 14 * DAY
    world.lease.ensure_slice()
    if urged:
        world.lease.urge()
    world.lease.renew()
    assert world.renewals() == (0, 0)
    assert world.server.sites[UTAH].expires == NOON + 14 * DAY


def test_a_sliver_that_is_gone_at_the_look_before_its_renewal_is_left():
    world = World(UTAH)
    world.hold(left=timedelta(hours=1))
    world.server.sites[UTAH].exists = False
    world.lease.renew()
    assert world.renewals() == (1, 0)
    assert world.notes == [f"the sliver at {UTAH} is gone"]


@pytest.mark.parametrize("left", ["its slice has ended", "there is no slice"])
def test_a_sliver_whose_end_is_not_known_is_left_where_its_slice_is_over(left):
    world = World(UTAH)
    world.hold(left=timedelta(hours=1))
    world.slivers.expires.clear()
    world.server.tells_ends = False
    world.clock.advance(7200)
    if left == "there is no slice":
        world.lease.slice_expires = NOON + timedelta(hours=3)
        world.server.slice_expires = None
    world.server.fault("renew_slice", "unreachable")
    with pytest.raises(UnreachableError):
        world.lease.renew()
    assert world.server.count("renew_sliver") == 0
    assert world.notes == [f"the sliver at {UTAH} is left: {left}"]


def test_who_urges_is_told_of_what_lasts_long_enough_as_of_what_was_renewed():
    world = World(UTAH)
    world.hold(left=14 * DAY)
    world.lease.urge()
    world.lease.renew()
    assert world.renewals() == (0, 0)
    assert world.told == [
        Told("renew", FakeServer.slice_urn, "the slice lasts until 2026-12-06T12:00:00Z, which is enough"),
        Told("renew", UTAH, f"the sliver at {UTAH} lasts until 2026-12-06T12:00:00Z, which is enough"),
    ]


# --- whose the lease is


@pytest.mark.parametrize("renew", ["never", "while-we-hold"])
def test_what_is_not_the_agents_to_renew_ends_unless_somebody_urges(renew):
    world = World(UTAH, renew=renew)
    world.hold(left=timedelta(hours=1))
    world.lease.renew()
    assert world.renewals() == (0, 0)
    assert world.notes == [
        f'the slice is not renewed: [lease] renew is "{renew}"',
        f'the sliver at {UTAH} is not renewed: [lease] renew is "{renew}"',
    ]
    world.lease.urge()
    world.lease.renew()
    assert world.renewals() == (1, 1)
    assert world.server.sites[UTAH].expires == NOON + DAY
    world.clock.advance(20 * 3600)
    world.lease.renew()
    assert world.renewals() == (1, 1)


def test_while_we_hold_a_machine_its_sliver_and_the_slice_are_renewed_and_no_other_sliver():
    world = World(UTAH, WISC, renew="while-we-hold")
    world.machine(UTAH)
    world.hold(left=timedelta(hours=1))
    world.lease.renew()
    assert [world.server.count("renew_sliver", cm) for cm in (UTAH, WISC)] == [1, 0]
    assert world.server.slice_expires == NOON + DAY


def test_a_machine_that_was_asked_for_is_as_good_as_held():
    world = World(UTAH, WISC, renew="while-we-hold")
    world.hold(left=timedelta(hours=1))
    world.slivers.intents.declare(IntentKind.ADD, WISC, ["es-1"])
    world.lease.renew()
    assert [world.server.count("renew_sliver", cm) for cm in (UTAH, WISC)] == [0, 1]
    assert world.server.count("renew_slice") == 1


def test_while_a_cm_was_not_heard_the_slice_is_renewed_for_what_we_may_hold_there():
    world = World(UTAH, renew="while-we-hold")
    world.server.slice_expires = NOON + timedelta(hours=1)
    world.lease.ensure_slice()
    world.lease.renew()
    assert world.renewals() == (1, 0)


def test_what_a_silent_cm_held_before_the_start_keeps_the_slice_as_long_as_it_may_last():
    holdings = MemoryHoldings()
    holdings.put_holding(Holding(UTAH, {"es-1": "sliver-1"}, NOON + DAY))
    world = World(UTAH, holdings=holdings, renew="while-we-hold")
    world.server.slice_expires = NOON + timedelta(hours=3)
    world.lease.ensure_slice()
    # Longer than a silent CM that nothing is known of is waited for.
    world.clock.advance(3600)
    world.lease.renew()
    assert world.renewals() == (1, 0)
    assert world.lease.lapses() == ()


def test_a_slice_that_is_not_ours_to_make_is_missed_aloud_and_nothing_is_done():
    world = World(UTAH, slice_is="shared")
    for act in (world.lease.ensure_slice, world.lease.create_slice):
        with pytest.raises(ConfigError, match=r'no slice urn:\S+demo, .* expected, .* slice_is is "shared"'):
            act()
    assert world.server.count("create_slice") == 0
    assert world.slivers.holdings.unknown() == [UTAH]
    world.server.slice_expires = NOON + DAY
    world.lease.ensure_slice()
    assert world.lease.slice_expires == NOON + DAY
    world.clock.advance(25 * 3600)
    with pytest.raises(ConfigError):
        world.lease.ensure_slice()
    assert world.lease.slice_expires is None


def test_a_machine_is_lent_for_a_lease_or_until_the_slice_ends_where_nobody_renews_it():
    world = World(UTAH)
    world.hold(left=timedelta(hours=5))
    assert world.lease.lent_for() == 86400
    world = World(UTAH, renew="never")
    assert world.lease.lent_for() == 86400
    world.hold(left=timedelta(hours=5))
    assert world.lease.lent_for() == 5 * 3600
    world.clock.advance(6 * 3600)
    assert world.lease.lent_for() == 0


# --- leases that nobody renews


def test_the_leases_that_nobody_renews_are_listed_with_the_reason():
    world = World(UTAH, renew="never")
    assert world.lease.lapses() == ()
    world.hold(left=6 * DAY)
    why = '[lease] renew is "never"'
    assert world.lease.lapses() == (Lapse("", NOON + 6 * DAY, why), Lapse(UTAH, NOON + 6 * DAY, why))


def test_a_lease_that_may_end_since_nothing_is_lost_with_it_is_no_lapse():
    world = World(UTAH, renew="while-we-hold")
    world.hold(left=timedelta(hours=1))
    assert world.lease.lapses() == ()


def test_machines_of_others_end_with_leases_that_are_not_renewed_while_we_hold_nothing_there():
    world = World(UTAH, WISC, renew="while-we-hold")
    world.machine(UTAH, "ctl")
    world.hold(left=timedelta(hours=1))
    world.lease.renew()
    assert world.renewals() == (0, 0)
    assert [lapse.cm for lapse in world.lease.lapses()] == ["", UTAH]
    world.machine(WISC)
    world.slivers.read(WISC)
    world.lease.renew()
    assert [world.server.count("renew_sliver", cm) for cm in (UTAH, WISC)] == [0, 1]
    assert [lapse.cm for lapse in world.lease.lapses()] == [UTAH]


def test_what_a_manifest_has_that_is_no_machine_ends_with_its_sliver_too():
    world = World(UTAH, WISC, renew="while-we-hold")
    world.hold(left=timedelta(hours=1))
    slivers = world.slivers.book.slivers
    slivers[WISC] = replace(slivers[WISC], unread=1)
    assert [lapse.cm for lapse in world.lease.lapses()] == ["", WISC]
    slivers[UTAH] = None
    assert [lapse.cm for lapse in world.lease.lapses()] == ["", WISC]


def test_a_slice_of_others_that_is_not_renewed_while_we_hold_nothing_is_a_lapse():
    world = World(UTAH, renew="while-we-hold", slice_is="shared")
    world.server.slice_expires = NOON + DAY
    world.lease.ensure_slice()
    assert world.lease.lapses() == (), "what we hold is not known yet"
    world.hold()
    [lapse] = world.lease.lapses()
    assert (lapse.cm, lapse.why) == ("", '[lease] renew is "while-we-hold", and we hold no machine there')
    world.machine(UTAH)
    world.slivers.read(UTAH)
    assert world.lease.lapses() == ()


@pytest.mark.parametrize("renew", ["always", "while-we-hold"])
def test_a_renewal_that_fails_is_a_lapse_once_it_is_overdue_until_it_goes_well(renew):
    world = World(UTAH, renew=renew)
    world.machine(UTAH)
    world.hold(left=timedelta(hours=17))
    world.server.fault("renew_slice", *["unreachable"] * 2)

    def try_it():
        with pytest.raises(UnreachableError):
            world.lease.renew()
        return [(lapse.cm, lapse.why) for lapse in world.lease.lapses()]

    assert try_it() == []
    world.clock.advance(9 * 3600)
    assert try_it() == [("", "nobody answers: renew_slice at sa: no connection")]
    # Less than was asked for is better than nothing.
    world.server.grant_limit = 8.5 * 3600
    world.server.fault("renew_sliver", "unreachable")
    with pytest.raises(UnreachableError):
        world.lease.renew()
    why = f"nobody answers: renew_sliver at {UTAH}: no connection"
    assert world.lease.lapses() == (Lapse(UTAH, NOON + timedelta(hours=17), why, answered=False),)
    world.clock.advance(60)
    world.lease.renew()
    assert world.lease.lapses() == ()
    assert world.slivers.expires[UTAH] == NOON + timedelta(hours=17, minutes=31)


def test_a_grant_that_adds_nothing_is_a_failure():
    world = World(UTAH)
    world.hold(left=timedelta(hours=8))
    world.server.grant_limit = 8 * 3600
    world.lease.renew()
    [lapse] = world.lease.lapses()
    assert lapse.why == "it was asked to last longer, and lasts until 2026-11-22T20:00:00Z all the same"


@pytest.mark.parametrize(("urged", "again"), [(True, (2, 1)), (False, (1, 1))])
def test_who_urged_a_cm_that_was_busy_has_it_renewed_later_all_the_same(urged, again):
    world = World(UTAH)
    world.hold(left=DAY if urged else timedelta(hours=1))
    world.clock.advance(60)
    renew_again = world.refuse(BusyError("slice is busy"))
    if urged:
        world.lease.urge()
    with pytest.raises(BusyError):
        world.lease.renew()
    assert world.notes == [f"the sliver at {UTAH} is renewed later: call at Cloudlab: slice is busy"]
    renew_again()
    world.clock.advance(60)
    world.lease.renew()
    assert world.renewals() == again


def test_a_machine_that_blocks_is_told_again_to_who_urges_until_its_sliver_is_renewed():
    world = World(UTAH)
    world.hold(left=timedelta(hours=3))
    renew_again = world.refuse(PromisedError("pre-reserved", node_id="pc101"))

    def refused():
        """Tell whether an event told of the machine."""
        world.told.clear()
        world.notes.clear()
        world.clock.advance(600)
        world.lease.renew()
        told = [event.message for event in world.told if event.kind == "blocked"]
        noted = [note for note in world.notes if "promised to others" in note]
        assert len(told + noted) == 1
        return bool(told)

    assert [refused(), refused()] == [True, False]
    world.lease.urge()
    assert refused()
    assert [(lapse.cm, lapse.obstacle) for lapse in world.lease.lapses()] == [(UTAH, "promised")]
    renew_again()
    world.clock.advance(3600)
    world.lease.renew()
    assert world.lease.lapses() == ()


def test_a_cm_that_hangs_does_not_hold_up_the_end_of_the_process():
    hangs = threading.Event()
    asked = together([UTAH], lambda cm: hangs.wait(20))
    [thread] = [each for each in threading.enumerate() if each.name == f"at-{UTAH}"]
    hangs.set()
    assert thread.daemon
    assert asked[UTAH].result()
