"""Revocations follow into the store, and no step waits long for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event, RLock

import pytest

from agent.core.config import MemoryRevocations
from agent.core.errors import LedgerError
from agent.core.notices import store as module
from agent.core.notices.store import RevocationMemory
from agent.core.said import Revocation

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = (Revocation(f"pc{n}", f"node-{n}", NOON + timedelta(minutes=n), NOON, NOON) for n in (1, 2))


class Store(MemoryRevocations):
    """One that hangs, or fails, while a test wants it to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = Event()
        self.goes_on.set()
        self.asked = 0
        self.full = False

    def put_revocation(self, revocation: Revocation) -> None:
        self.asked += 1
        self.goes_on.wait(60)
        if self.full:
            raise LedgerError("the disk is full")
        super().put_revocation(revocation)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.goes_on.set()


def kept(memory: RevocationMemory, *revocations: Revocation) -> None:
    memory.keep({r.place: r for r in revocations}, RLock())


def test_the_store_follows_what_is_in_force(store: Store) -> None:
    memory = RevocationMemory(store, NOON)
    kept(memory, ONE, TWO)
    assert store.revocations() == (ONE, TWO)
    kept(memory, TWO)
    assert store.revocations() == (TWO,)
    kept(memory, TWO)
    assert store.asked == 2, "what is there is not written again"
    assert RevocationMemory(store, NOON).stored == {TWO.place: TWO}


def test_what_could_not_be_written_is_written_the_next_time(store: Store) -> None:
    memory = RevocationMemory(store, NOON)
    store.full = True
    kept(memory, ONE)
    assert store.revocations() == ()
    store.full = False
    kept(memory, ONE)
    assert store.revocations() == (ONE,)


def test_a_store_that_hangs_holds_up_one_step_for_a_while_and_the_others_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = RevocationMemory(store, NOON)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    store.goes_on.clear()
    kept(memory, ONE)
    monkeypatch.setattr(module, "PATIENCE", 60)
    for _ in range(3):
        kept(memory, ONE, TWO)
    assert (store.asked, store.revocations()) == (1, ())
    store.goes_on.set()
    while store.revocations() != (ONE, TWO):
        kept(memory, ONE, TWO)
