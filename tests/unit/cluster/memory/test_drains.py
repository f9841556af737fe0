"""What was said of single machines outlasts a restart, until a machine is gone."""

import threading
from dataclasses import replace

import pytest

from agent.cluster.memory.drains import Drains
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain
from tests.unit.cluster.conftest import NOW, a_machine

WISH = AdminDrain("pc1", "disk", "ada", NOW)


class Store:
    """A ledger that may be full."""

    def __init__(self) -> None:
        self.stored: dict[str, AdminDrain] = {}
        self.full = False

    def drains(self) -> tuple[AdminDrain, ...]:
        return tuple(self.stored.values())

    def put_drain(self, drain: AdminDrain) -> None:
        if self.full:
            raise LedgerError("full")
        self.stored[drain.node_id] = drain

    def remove_drain(self, node_id: str) -> None:
        self.stored.pop(node_id, None)


def remembering(store: Store) -> Drains:
    return Drains(threading.RLock(), store, store.drains())


def test_a_wish_is_known_again_after_a_restart_until_it_is_struck() -> None:
    store = Store()
    drains = remembering(store)
    drains.put(WISH, take_over=True)
    again = remembering(store)
    assert drains.wishes == again.wishes
    assert again.get("pc1") == WISH
    assert again.wishes == {"pc1": WISH}
    again.remove("pc1")
    assert (again.get("pc1"), remembering(store).get("pc1")) == (None, None)


def test_a_wish_that_cannot_be_written_down_is_not_taken() -> None:
    store = Store()
    store.full = True
    drains = remembering(store)
    with pytest.raises(LedgerError):
        drains.put(WISH, take_over=True)
    assert (drains.wishes, drains.take_over) == ({}, frozenset())


def test_whose_drain_is_taken_over_is_forgotten_with_the_wish() -> None:
    drains = remembering(Store())
    drains.put(WISH)
    assert drains.take_over == frozenset()
    drains.put(WISH, take_over=True)
    assert drains.take_over == {"pc1"}
    drains.remove("pc1")
    assert drains.take_over == frozenset()


def test_with_a_machine_goes_what_was_said_of_it_and_not_what_was_said_of_the_next_one() -> None:
    first, second = a_machine(1), replace(a_machine(1), sliver_id="urn:sliver+11")
    store = Store()
    drains = remembering(store)
    drains.forget(first)
    for wish, left in ((WISH, False), (replace(WISH, sliver_id=second.sliver_id), True)):
        drains.put(wish)
        drains.forget(first)
        assert ("pc1" in drains.wishes, "pc1" in store.stored) == (left, left)
