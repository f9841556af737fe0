"""What silent CMs are presumed to hold, and which nothing is known of."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import LedgerError
from agent.core.model import Holding, Sliver, SliverNode
from agent.core.slice.holdings import Holdings

ONE, TWO = "urn:one", "urn:two"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATIENCE = 1800.0


class FakeClock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def steady(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class FakeStore:
    def __init__(self, *holdings: Holding) -> None:
        self.stored = holdings
        self.put: list[Holding] = []
        self.full = False

    def holdings(self) -> tuple[Holding, ...]:
        return self.stored

    def put_holding(self, holding: Holding) -> None:
        if self.full:
            raise LedgerError("the disk is full")
        self.put.append(holding)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def sliver(cm: str, *names: str, expires: datetime | None = NOON + HOUR) -> Sliver:
    nodes = tuple(SliverNode(name, f"pc-{name}", cm, f"s-{name}") for name in names)
    return Sliver(cm, "sliver", expires, nodes, "<rspec/>")


def hear(holdings: Holdings, cm: str, said: Sliver | None) -> bool:
    """Let a CM say what it holds, all of it ours."""
    return holdings.heard(cm, said, said.nodes if said else (), asked=False)


def make(clock: FakeClock, *holdings: Holding) -> tuple[Holdings, FakeStore]:
    store = FakeStore(*holdings)
    return Holdings(store, [TWO, ONE], clock, PATIENCE), store


def test_a_cm_that_was_not_heard_is_not_known_for_a_while(clock: FakeClock) -> None:
    holdings, _ = make(clock)
    assert holdings.unknown() == [ONE, TWO]
    assert hear(holdings, ONE, None)
    assert holdings.unknown() == [TWO]
    clock.time += timedelta(seconds=PATIENCE - 1)
    assert holdings.unknown() == [TWO]
    clock.time += timedelta(seconds=1)
    assert holdings.unknown() == ()


def test_a_cm_is_heard_for_the_first_time_once(clock: FakeClock) -> None:
    holdings, _ = make(clock, Holding(TWO, {}, None))
    assert hear(holdings, ONE, sliver(ONE, "a"))
    assert not hear(holdings, ONE, sliver(ONE, "a"))
    assert not hear(holdings, TWO, sliver(TWO, "b")), "an earlier run heard it"


def test_where_there_is_no_slice_only_those_hold_anything_whose_lease_lasts(clock: FakeClock) -> None:
    """Who ends a slice before its time does not end its slivers."""
    holdings, _ = make(clock, Holding(ONE, {"a": "s-a"}, NOON + HOUR))
    holdings.none_can_be()
    assert holdings.unknown() == []
    assert holdings.presumed() == {(ONE, "a")}
    assert holdings.ends() == {ONE: NOON + HOUR}
    assert not hear(holdings, TWO, None)
    clock.time += 2 * HOUR
    holdings.none_can_be()
    assert (holdings.presumed(), holdings.ends()) == (set(), {})


def test_what_a_silent_cm_held_counts_while_its_lease_may_last(clock: FakeClock) -> None:
    holdings, _ = make(
        clock, Holding(ONE, {"a": "s-a", "b": "s-b"}, NOON + HOUR), Holding(TWO, {"c": "s-c"}, None)
    )
    assert holdings.unknown() == []
    assert holdings.presumed() == {(ONE, "a"), (ONE, "b"), (TWO, "c")}
    clock.time = NOON + timedelta(seconds=PATIENCE - 1)
    assert (TWO, "c") in holdings.presumed()
    clock.time = NOON + timedelta(seconds=PATIENCE)
    assert holdings.presumed() == {(ONE, "a"), (ONE, "b")}
    clock.time = NOON + HOUR
    assert holdings.presumed() == set()


def test_a_cm_that_was_heard_holds_what_it_says(clock: FakeClock) -> None:
    holdings, _ = make(clock, Holding(ONE, {"a": "s-a"}, NOON + HOUR))
    hear(holdings, ONE, sliver(ONE, "a", "b"))
    assert holdings.presumed() == set()


def test_what_a_cm_held_is_known_until_it_says_something_else(clock: FakeClock) -> None:
    before = Holding(ONE, {"a": "s-a"}, NOON + HOUR, made=True, sliver_urn="sliver")
    holdings, _ = make(clock, before)
    assert (holdings.of(ONE), holdings.of(TWO)) == (before, None)
    hear(holdings, ONE, sliver(ONE, "b"))
    assert holdings.of(ONE) == Holding(ONE, {"b": "s-b"}, NOON + HOUR, made=True, sliver_urn="sliver")


def test_what_a_cm_holds_is_written_down_when_it_changes(clock: FakeClock) -> None:
    holdings, store = make(clock)
    hear(holdings, ONE, sliver(ONE, "a", "b"))
    hear(holdings, ONE, sliver(ONE, "b", "a"))
    assert store.put == [Holding(ONE, {"a": "s-a", "b": "s-b"}, NOON + HOUR, sliver_urn="sliver")]
    hear(holdings, ONE, sliver(ONE, "a", "b", expires=NOON + 2 * HOUR))
    hear(holdings, ONE, None)
    assert store.put[1:] == [
        Holding(ONE, {"a": "s-a", "b": "s-b"}, NOON + 2 * HOUR, sliver_urn="sliver"),
        Holding(ONE, {}, None, there=False),
    ]


def test_what_cannot_be_written_down_is_tried_again(clock: FakeClock) -> None:
    holdings, store = make(clock)
    store.full = True
    assert hear(holdings, ONE, sliver(ONE, "a"))
    store.full = False
    hear(holdings, ONE, sliver(ONE, "a"))
    assert [holding.cm for holding in store.put] == [ONE]


def test_a_machine_without_a_sliver_id_is_remembered_by_its_node_id(clock: FakeClock) -> None:
    holdings, store = make(clock)
    hear(holdings, ONE, Sliver(ONE, "sliver", None, (SliverNode("a", "pc-a", ONE, ""),), "<rspec/>"))
    assert store.put[0].machines == {"a": "pc-a"}


def test_machines_in_doubt_are_written_down_beside_those_that_are_there(clock: FakeClock) -> None:
    holdings, store = make(clock)
    said, doubted = sliver(ONE, "a"), sliver(ONE, "b").nodes
    holdings.heard(ONE, said, said.nodes, asked=False, doubted=doubted)
    assert [holding.machines for holding in store.put] == [{"a": "s-a", "b": "s-b"}]
    assert holdings.presumed() == set(), "who counts them is the book"


def test_what_is_known_of_a_sliver_stays_while_it_is_in_doubt(clock: FakeClock) -> None:
    before = Holding(
        ONE, {"a": "s-a"}, NOON + HOUR, made=True, sliver_urn="sliver", parts=frozenset({"store"})
    )
    holdings, store = make(clock, before)
    holdings.heard(ONE, None, (), asked=False, doubted=sliver(ONE, "a").nodes, may_be_there=True)
    assert (store.put, holdings.of(ONE)) == ([], before)
    hear(holdings, ONE, None)
    assert store.put == [Holding(ONE, {}, None, there=False)]
    holdings.heard(TWO, None, (), asked=False, may_be_there=True)
    assert holdings.of(TWO) == Holding(TWO, {}, None, there=False), "nothing was known"


def test_that_it_is_not_written_down_yet_is_known(clock: FakeClock) -> None:
    holdings, store = make(clock)
    assert holdings.is_written(ONE), "nothing is known of it"
    store.full = True
    hear(holdings, ONE, sliver(ONE, "a"))
    assert not holdings.is_written(ONE)
    store.full = False
    hear(holdings, ONE, sliver(ONE, "a"))
    assert holdings.is_written(ONE)


def test_nobody_who_looks_waits_for_the_disk(clock: FakeClock) -> None:
    holdings, store = make(clock)
    put, seen = store.put_holding, []

    def look() -> None:
        seen.append((holdings.of(ONE), holdings.presumed(), holdings.unknown()))

    def slowly(holding: Holding) -> None:
        other = threading.Thread(target=look, daemon=True)
        other.start()
        other.join(10)
        put(holding)

    store.put_holding = slowly
    hear(holdings, ONE, sliver(ONE, "a"))
    assert len(seen) == 1
    assert seen[0][0] is not None, "what it said counts before it is on the disk"
