"""What is mirrored is as the ledger, whatever fails, and nobody who looks waits for the disk."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import MemoryIntents, MemoryRevocations
from agent.core.errors import LedgerError
from agent.core.model import IntentKind
from agent.core.notices.store import RevocationMemory
from agent.core.said import Revocation
from agent.core.slice.intents import Intents

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class FakeClock:
    def now(self) -> datetime:
        return NOON

    steady = now

    def monotonic(self) -> float:
        return 0.0


class IntentStore(MemoryIntents):
    """A disk that may be full, and during whose writes others get their turn."""

    full = False
    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def add_intents(self, intents):
        self._begin()
        super().add_intents(intents)
        self.meanwhile()

    def remove_intents(self, intents):
        self._begin()
        super().remove_intents(intents)
        self.meanwhile()

    def _begin(self):
        if self.full:
            raise LedgerError("full")


class RevocationStore(MemoryRevocations):
    """A disk of which each write may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[bool] = []

    def put_revocation(self, revocation):
        self._begin()
        super().put_revocation(revocation)

    def remove_revocation(self, place):
        self._begin()
        super().remove_revocation(place)

    def _begin(self):
        if self.faults and self.faults.pop():
            raise LedgerError("full")


KIND = st.sampled_from(list(IntentKind))
NAMES = st.lists(st.sampled_from(["es-1", "es-2"]), min_size=1, unique=True)
ACT = st.tuples(st.booleans(), KIND, st.sampled_from(["urn:a", "urn:b"]), NAMES)


def do(intents: Intents, declares: bool, kind: IntentKind, cm: str, names: list[str]) -> None:
    if declares:
        intents.declare(kind, cm, names)
    else:
        intents.strike([i for i in intents.in_flight(kind, cm) if i.client_id in names])


@given(st.lists(st.tuples(ACT, st.booleans()), max_size=12))
def test_the_intents_in_flight_are_those_of_the_store(acts) -> None:
    intents = Intents(store := IntentStore(), FakeClock(), 900)
    for act, store.full in acts:
        try:
            do(intents, *act)
        except LedgerError:
            assert store.full
        assert set(intents.in_flight()) == set(store.intents())


@given(st.lists(st.tuples(ACT, ACT), max_size=6))
def test_so_they_are_when_two_calls_begin_or_end_at_the_same_time(pairs) -> None:
    intents = Intents(store := IntentStore(), FakeClock(), 900)
    for first, second in pairs:
        others: list[threading.Thread] = []

        def interrupt(second=second, others=others) -> None:
            store.meanwhile = lambda: None
            others.append(threading.Thread(target=do, args=(intents, *second)))
            others[0].start()
            others[0].join(0.001)

        store.meanwhile = interrupt
        do(intents, *first)
        store.meanwhile = lambda: None
        for other in others:
            other.join()
        assert set(intents.in_flight()) == set(store.intents())


def test_nobody_who_looks_at_intents_waits_for_the_disk() -> None:
    intents = Intents(store := IntentStore(), FakeClock(), 900)
    seen = []

    def look() -> None:
        other = threading.Thread(target=lambda: seen.append(intents.in_flight()), daemon=True)
        other.start()
        other.join(10)

    store.meanwhile = look
    intents.strike(intents.declare(IntentKind.ADD, "urn:a", ["es-1"]))
    assert [len(each) for each in seen] == [0, 1]


REVOCATIONS = st.dictionaries(
    st.sampled_from([("urn:a", "pc1"), ("urn:b", "pc1"), ("", "pc2")]),
    st.integers(0, 3).map(lambda n: NOON + timedelta(hours=n)),
)


@given(st.lists(st.tuples(REVOCATIONS, st.lists(st.booleans(), max_size=4)), max_size=6))
def test_what_is_known_to_be_stored_of_revocations_is_stored_and_the_next_step_makes_up_for_faults(
    steps,
) -> None:
    memory, lock = RevocationMemory(store := RevocationStore(), NOON), threading.RLock()
    blank = Revocation("", "", NOON, NOON, NOON)
    for due, faults in steps:
        store.faults = list(faults)
        now = {at: replace(blank, cm=at[0], node_id=at[1], deadline=when) for at, when in due.items()}
        memory.keep(now, lock)
        assert memory.stored == {r.place: r for r in store.revocations()}
        store.faults = []
        memory.keep(now, lock)
        assert memory.stored == now


@pytest.mark.parametrize("kind", IntentKind)
def test_what_cannot_be_written_is_not_begun(kind: IntentKind) -> None:
    intents = Intents(store := IntentStore(), FakeClock(), 900)
    store.full = True
    with pytest.raises(LedgerError):
        intents.declare(kind, "urn:a", ["es-1"])
    assert intents.in_flight() == ()
