"""The wall clock may be set at any instant: what goes by durations goes on as if it had not been."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.config import MemoryHoldings, MemoryIntents, MemoryRevocations
from agent.core.events import EventKind
from agent.core.jumps import Jumps
from agent.core.model import Holding, Intent, IntentKind
from agent.core.ports import SystemClock
from agent.core.said import Revocation
from agent.core.settings import LeaseSettings
from agent.core.slice.settling import taken_over
from tests.unit.core.conftest import UTAH, WISC, FakeClock, FakeServer

HOURS = st.sampled_from([-30, -2, -0.1, 0.1, 2, 30])
FAULTS = ("late", "lost", "insufficient", "unreachable", "done-lost")


class Steadily:
    """Cloudlab's own clock, which nobody sets when ours is."""

    def __init__(self, clock):
        self.now = clock.steady


def kept(config=None):
    """A manager's settings whose lease, which goes by the wall clock, is left out of it."""
    return {"clock": FakeClock(), "lease": LeaseSettings(duration="60d", renew="never"), **(config or {})}


def in_utah(clock, **fields):
    return FakeServer(Steadily(clock), **fields)


@st.composite
def courses(draw):
    """Faults, machines that do not boot, revocations, and by which cycle the clock is set how far."""
    return {
        "boots": draw(st.lists(st.sampled_from(["well", "hangs", "fails"]), max_size=6)),
        "faults": draw(st.lists(st.sampled_from(FAULTS), max_size=3)),
        "revoked": draw(st.dictionaries(st.integers(5, 30), st.sampled_from([60, 600]), max_size=2)),
        "taken": draw(st.sets(st.integers(5, 30), max_size=1)),
        "set": draw(st.dictionaries(st.integers(0, 40), HOURS, max_size=3)),
    }


def run(make_bench, course, *, is_set):
    """Run 45 cycles; return what was told, and what was asked of Cloudlab."""
    config = kept()
    clock = config["clock"]
    bench = make_bench(server=in_utah(clock, cms=(UTAH, WISC)), config=config, minthreshold=2, maxthreshold=3)
    bench.server.boots.extend(course["boots"])
    bench.server.fault("add_nodes", *course["faults"])
    noticed = {}
    for cycle in range(45):
        machines = sorted(bench.server.machines(), key=lambda machine: machine.sliver_id)
        if cycle in course["revoked"] and machines:
            noticed[machines[0].node_id] = cycle, course["revoked"][cycle]
        for node_id, (since, wait) in noticed.items():
            # The last notices may be lost.
            left = wait - 60 * (cycle - since)
            if left >= 0 and cycle - since < 3:
                item = {"node_id": node_id, "max_wait_time": left}
                bench.manager.NotifyDeletePending({"nodelist": [item]})
        if cycle in course["taken"] and machines:
            bench.manager.NotifyDeleteComplete({"nodelist": [{"node_id": machines[-1].node_id}]})
        if is_set and cycle in course["set"]:
            clock.set_ahead(3600 * course["set"][cycle])
        bench.cycles(1)
    return [(e.kind, e.subject) for e in bench.events.events], [call[:2] for call in bench.server.calls]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(courses())
def test_a_clock_that_is_set_changes_nothing_that_is_told_or_asked(make_bench, course):
    assert run(make_bench, course, is_set=True) == run(make_bench, course, is_set=False)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_machine_that_boots_when_the_clock_is_set_has_its_full_time(make_bench, hours):
    config = kept()
    bench = make_bench(server=in_utah(config["clock"]), config=config, minthreshold=1)
    bench.server.boot_time = 500
    bench.cycles(4)
    config["clock"].set_ahead(3600 * hours)
    bench.cycles(12)
    assert not bench.events.of(EventKind.FAILED)
    assert bench.events.of(EventKind.READY)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_machine_that_never_boots_is_given_up_in_time_though_the_clock_is_set(make_bench, hours):
    config = kept()
    bench = make_bench(server=in_utah(config["clock"]), config=config, minthreshold=1)
    bench.server.boots.append("hangs")
    bench.cycles(4)
    config["clock"].set_ahead(3600 * hours)
    bench.cycles(10)
    assert bench.events.of(EventKind.FAILED)


def test_a_revocation_keeps_its_countdown_and_is_not_over_when_the_clock_is_set(make_bench):
    config = kept()
    clock = config["clock"]
    bench = make_bench(server=in_utah(clock), config=config, minthreshold=1)
    bench.cycles(4)
    machine = bench.manager.held()[0]
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": machine.node_id, "max_wait_time": 600}]})
    for hours in (5, -9):
        clock.set_ahead(3600 * hours)
        bench.cycles(1, seconds=10)
        revocation = bench.manager.facts().revocation_of(machine)
        assert timedelta(seconds=570) < revocation.deadline - clock.now() < timedelta(seconds=600)
    assert not bench.events.of(EventKind.WITHDRAWN)
    bench.cycles(2)
    assert [stored.deadline for stored in bench.config.revocations.revocations()] == [revocation.deadline]


def test_a_revocation_that_was_noticed_by_a_clock_ahead_is_known_to_be_ours_after_a_restart(make_bench):
    config = kept()
    clock = config["clock"]
    store = MemoryRevocations()
    later = clock.now() + timedelta(hours=2)
    store.put_revocation(Revocation("pc9", "node-9", later, later, later))
    bench = make_bench(server=in_utah(clock), config={**config, "revocations": store})
    bench.cycles(2)
    assert next(iter(bench.manager.facts().revocations.values())).noticed <= clock.steady()


@pytest.mark.parametrize(
    ("asked", "counts_as"),
    [
        (timedelta(hours=2), timedelta()),
        (timedelta(seconds=-60), timedelta(seconds=-60)),
        (timedelta(hours=-2), timedelta(seconds=-300)),
    ],
    ids=["of the future", "a minute old", "of long ago"],
)
def test_an_intent_of_an_earlier_run_is_neither_of_the_future_nor_too_old_to_be_waited_for(asked, counts_as):
    now = FakeClock().now()
    assert taken_over(now + asked, now, 600.0) == now + counts_as


def test_an_intent_by_a_clock_that_was_ahead_is_void_after_the_patience(make_bench):
    config = kept()
    clock = config["clock"]
    store = MemoryIntents()
    store.add_intents([Intent(IntentKind.ADD, UTAH, "node-7", clock.now() + timedelta(hours=5))])
    bench = make_bench(server=in_utah(clock), config={**config, "intents": store})
    bench.cycles(25)
    assert [event.subject for event in bench.events.of(EventKind.VOID)] == ["node-7"]


def test_a_silent_cm_that_nothing_is_known_of_is_waited_for_its_time_and_no_longer(make_bench):
    config = kept({"holdings": MemoryHoldings()})
    clock = config["clock"]
    config["holdings"].put_holding(Holding(WISC, {"node-9": "sliver-9"}, None))
    bench = make_bench(server=in_utah(clock, cms=(UTAH, WISC)), config=config)
    presumed = bench.manager._slivers.holdings.presumed
    clock.set_ahead(7200)
    assert presumed() == {(WISC, "node-9")}
    clock.set_ahead(-14400)
    clock.advance(bench.config.cycle.first_reading_patience)
    assert not presumed()


def test_a_jump_is_told_once_and_a_moment_between_two_looks_is_none():
    clock = FakeClock()
    jumps = Jumps(lambda: clock)
    clock.set_ahead(100)
    assert not jumps.since_last()
    clock.set_ahead(0.5)
    assert not jumps.since_last()
    clock.set_ahead(-3600)
    assert jumps.since_last() == timedelta(seconds=-3599.5)
    assert not jumps.since_last()


def test_the_steady_time_is_the_same_for_all_parts_and_never_goes_back():
    one, other = SystemClock(), SystemClock()
    times = [clock.steady() for _ in range(100) for clock in (one, other)]
    assert times == sorted(times)
    assert abs(one.now() - one.steady()) < timedelta(days=1)


@pytest.mark.parametrize("hours", [16, 23, 30])
def test_a_clock_that_is_set_ahead_has_the_lease_renewed_before_a_machine_is_emptied_for_it(
    make_bench, hours
):
    config = kept({"lease": LeaseSettings(duration="24h", renew_when_left="12h")})
    bench = make_bench(
        server=in_utah(config["clock"]), config=config, minthreshold=1, manage_intervals={"renew": 86400}
    )
    bench.cycles(4)
    config["clock"].set_ahead(3600 * hours)
    bench.cycles(30)
    assert not bench.events.of(EventKind.REVOKE)
    assert bench.manager.held()
