"""What was said of single machines outlasts a restart, until a machine is gone."""

import threading
from dataclasses import replace

import pytest

from agent.cluster.memory.drains import Drains
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine

MACHINE = a_machine(1)
NEXT = replace(MACHINE, client_id="node-7", sliver_id="urn:sliver+7")
ELSEWHERE = a_machine(1, WISC)
WISH = AdminDrain("pc1", "disk", "ada", NOW, sliver_id=MACHINE.sliver_id, cm=UTAH, client_id="node-1")
OLD = AdminDrain("pc1", "disk", "ada", NOW)


class Store:
    """A ledger that may be full."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], AdminDrain] = {}
        self.full = False

    def drains(self) -> tuple[AdminDrain, ...]:
        return tuple(self.stored.values())

    def put_drain(self, drain: AdminDrain) -> None:
        if self.full:
            raise LedgerError("full")
        self.stored[drain.place] = drain
        if drain.cm:
            self.stored.pop(("", drain.node_id), None)

    def remove_drain(self, cm: str, node_id: str) -> None:
        if self.full:
            raise LedgerError("full")
        self.stored.pop((cm, node_id), None)


def remembering(store: Store) -> Drains:
    return Drains(threading.RLock(), store, store.drains())


def test_a_wish_is_known_again_after_a_restart_until_it_is_struck() -> None:
    store = Store()
    drains = remembering(store)
    drains.put(WISH)
    again = remembering(store)
    assert drains.wishes == again.wishes == {(UTAH, "pc1"): WISH}
    assert again.of(MACHINE) == WISH
    assert again.lift(MACHINE) == WISH
    assert again.lift(MACHINE) is None
    assert (again.of(MACHINE), remembering(store).of(MACHINE)) == (None, None)


def test_that_a_wish_was_lifted_outlasts_a_restart_until_it_is_forgotten() -> None:
    store = Store()
    drains = remembering(store)
    drains.put(WISH)
    drains.lift(MACHINE)
    (lifted,) = remembering(store).lifted
    assert lifted == replace(WISH, lifted=True)
    assert not remembering(store).adopt(replace(WISH, who="bob"), MACHINE), "Slurm shows it still"
    assert drains.remove(lifted)
    assert (drains.lifted, store.stored) == ((), {})
    assert drains.adopt(WISH, MACHINE)


def test_what_cannot_be_written_down_changes_nothing() -> None:
    store = Store()
    drains = remembering(store)
    drains.put(WISH)
    store.full = True
    acts = (
        lambda: drains.put(replace(WISH, who="bob")),
        lambda: drains.adopt(replace(WISH, cm=WISC, client_id=""), ELSEWHERE),
        lambda: drains.lift(MACHINE),
        lambda: drains.remove(WISH),
        lambda: drains.forget(MACHINE),
    )
    for act in acts:
        with pytest.raises(LedgerError):
            act()
    assert drains.wishes == store.stored == {WISH.place: WISH}


def test_machines_of_one_node_id_at_two_cms_have_a_wish_each() -> None:
    drains = remembering(Store())
    other = replace(WISH, cm=WISC, reason="fan")
    drains.put(WISH)
    drains.put(other)
    assert (drains.of(MACHINE), drains.of(ELSEWHERE)) == (WISH, other)
    drains.forget(MACHINE)
    assert (drains.of(MACHINE), drains.of(ELSEWHERE)) == (None, other)


@pytest.mark.parametrize("sliver_ids", [("urn:sliver+1", "urn:sliver+7"), ("", ""), ("urn:s", "urn:s")])
def test_a_wish_is_not_for_the_next_machine_of_its_node_id(sliver_ids) -> None:
    """Which is another one by its sliver_id, or by its name where the CM gives none or one to all."""
    first, second = (replace(m, sliver_id=s) for m, s in zip((MACHINE, NEXT), sliver_ids, strict=True))
    drains = remembering(Store())
    drains.put(replace(WISH, sliver_id=first.sliver_id))
    assert (drains.of(first) is not None, drains.of(second)) == (True, None)
    drains.forget(second)
    assert drains.of(first) is not None
    drains.forget(first)
    assert drains.wishes == {}


def test_a_wish_that_an_older_agent_took_is_for_whichever_machine_has_the_node_id_until_it_is_bound() -> None:
    store = Store()
    store.stored = {OLD.place: OLD}
    drains = remembering(store)
    assert drains.of(MACHINE) == drains.of(ELSEWHERE) == OLD
    drains.forget(MACHINE)
    assert drains.of(ELSEWHERE) == OLD, "it may be the one that is meant"
    drains.bind(OLD, [MACHINE])
    assert drains.wishes == store.stored == {WISH.place: WISH}
    drains.bind(OLD, [ELSEWHERE])
    assert drains.wishes == {WISH.place: WISH}, "it is there no more"


def test_the_next_word_of_a_machine_takes_the_place_of_an_older_agents() -> None:
    for act in (lambda d: d.put(replace(WISH, reason="fan")), lambda d: d.lift(MACHINE)):
        store = Store()
        store.stored = {OLD.place: OLD}
        drains = remembering(store)
        act(drains)
        assert [d.cm for d in store.stored.values()] == [UTAH]
        assert drains.wishes == remembering(store).wishes


def test_a_wish_that_was_replaced_meanwhile_is_not_struck_with_the_one_before_it() -> None:
    drains = remembering(Store())
    drains.put(WISH)
    drains.put(newer := replace(WISH, reason="fan"))
    assert not drains.remove(WISH)
    assert drains.of(MACHINE) == newer
