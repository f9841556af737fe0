"""Memory and store stay one, whoever writes when, and whatever fails."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.memory.memory import Memory
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain, CmTeardown, GrowOrder
from agent.core.slice.facts import SliceFacts
from tests.unit.cluster.conftest import NOW, WISC, a_desk, a_machine

MACHINES = (a_machine(1), a_machine(1, WISC), replace(a_machine(1), client_id="node-7", sliver_id=""))
LATER = NOW + timedelta(hours=1)


class Store:
    """What is on the disk, which may be full, and during whose writes others get their turn."""

    def __init__(self, *stored: AdminDrain) -> None:
        self.kept = {drain.place: drain for drain in stored}
        self.emptied: dict[str, CmTeardown] = {}
        self.order: GrowOrder | None = None
        self.full = False
        self.meanwhile: Callable[[], None] = lambda: None

    def drains(self):
        return tuple(self.kept.values())

    def grow_order(self):
        return self.order

    def names(self):
        return ()

    def machine_types(self):
        return {}

    def wrong(self):
        return ()

    @property
    def cms(self):
        return self

    def teardowns(self):
        return tuple(self.emptied.values())

    def put_teardown(self, wish):
        self._write()
        self.emptied[wish.cm] = wish
        self.meanwhile()

    def remove_teardown(self, cm):
        self._write()
        self.emptied.pop(cm, None)
        self.meanwhile()

    def put_drain(self, drain):
        self._write()
        self.kept[drain.place] = drain
        if drain.cm and drain.node_id:
            self.kept.pop(("", drain.node_id), None)
        self.meanwhile()

    def remove_drain(self, cm, node_id):
        self._write()
        self.kept.pop((cm, node_id), None)
        self.meanwhile()

    def put_grow_order(self, order):
        self._write()
        self.order = order
        self.meanwhile()

    def remove_grow_order(self):
        self._write()
        self.order = None
        self.meanwhile()

    def _write(self):
        if self.full:
            raise LedgerError("full")


def begin(store: Store) -> Memory:
    return Memory(a_desk(), SliceFacts, store)


def assert_in_step(memory: Memory, store: Store) -> None:
    """What is remembered is what the next run would remember."""
    again = begin(store)
    assert memory.drains.wishes == again.drains.wishes
    assert set(memory.drains.lifted) == set(again.drains.lifted)
    assert (memory.hold.wish, memory.hold.lifted) == (again.hold.wish, again.hold.lifted)
    assert memory.teardowns.wishes == again.teardowns.wishes
    assert set(memory.teardowns.lifted) == set(again.teardowns.lifted)
    assert memory.growing.order == again.growing.order


def wish_of(machine, who: str, *, bound: bool = True) -> AdminDrain:
    wish = AdminDrain(machine.node_id, "disk", who, NOW)
    if not bound:
        return wish
    return replace(wish, cm=machine.cm, client_id=machine.client_id, sliver_id=machine.sliver_id)


def ask(memory: Memory, what: str, machine, who: str) -> None:
    """Do one thing that an administrator, or the cycle, does."""
    drains, hold, growing, teardowns = memory.drains, memory.hold, memory.growing, memory.teardowns
    match what:
        case "drain":
            drains.put(wish_of(machine, who))
        case "old":
            drains.put(wish_of(machine, who, bound=False))
        case "adopt":
            drains.adopt(wish_of(machine, who), machine)
        case "bind":
            for wish in drains.wishes.values():
                drains.bind(wish, [machine])
        case "resume":
            drains.lift(machine)
        case "settle":
            for drain in (*drains.lifted, *drains.wishes.values()):
                drains.remove(drain)
        case "gone":
            drains.forget(machine)
        case "pause":
            hold.begin("pause", who, NOW)
        case "teardown":
            hold.put("teardown", who, NOW)
        case "unpause":
            hold.lift()
        case "quiet":
            if hold.lifted:
                hold.forget_lifted(hold.lifted)
        case "empty":
            teardowns.put(CmTeardown(machine.cm, who, NOW))
        case "empty still":
            teardowns.adopt(CmTeardown(machine.cm, who, NOW))
        case "reopen":
            teardowns.lift(machine.cm)
        case "quiet there":
            for wish in teardowns.lifted:
                teardowns.forget_lifted(wish)
        case "grow":
            growing.put(GrowOrder(3, who, LATER))
        case "withdraw":
            growing.strike(who)
        case "fulfil":
            growing.observe(3, NOW)


DRAINS = ("drain", "old", "adopt", "bind", "resume", "settle", "gone")
HOLDS = ("pause", "teardown", "unpause", "quiet")
CMS = ("empty", "empty still", "reopen", "quiet there")
GROWTH = ("grow", "withdraw", "fulfil")
ACT = st.tuples(
    st.sampled_from(DRAINS + HOLDS + CMS + GROWTH), st.sampled_from(MACHINES), st.sampled_from(["ada", "bob"])
)


@given(st.lists(st.tuples(ACT, st.booleans()), max_size=20))
def test_whatever_is_asked_and_fails_memory_is_as_the_store(acts) -> None:
    memory = begin(store := Store())
    for act, store.full in acts:
        try:
            ask(memory, *act)
        except LedgerError:
            assert store.full
        assert_in_step(memory, store)


@given(st.lists(st.tuples(ACT, ACT), max_size=8))
def test_of_orders_at_the_same_time_memory_and_store_keep_the_same(pairs) -> None:
    """The second is given while the first is written."""
    memory = begin(store := Store())
    for first, second in pairs:
        others: list[threading.Thread] = []

        def interrupt(second=second, others=others) -> None:
            store.meanwhile = lambda: None
            other = threading.Thread(target=ask, args=(memory, *second))
            other.start()
            others.append(other)
            other.join(0.001)

        store.meanwhile = interrupt
        ask(memory, *first)
        store.meanwhile = lambda: None
        for other in others:
            other.join()
        assert_in_step(memory, store)


@pytest.mark.parametrize("first", ["drain", "teardown", "empty", "grow"])
def test_nobody_who_looks_waits_for_the_disk(first: str) -> None:
    """The moment is made, and the drainer's wishes, while a write is under way."""
    memory = begin(store := Store())
    seen = []

    def look() -> None:
        other = threading.Thread(target=lambda: seen.append(memory.now()), daemon=True)
        other.start()
        other.join(10)

    store.meanwhile = look
    ask(memory, first, MACHINES[0], "ada")
    assert len(seen) == 1


def test_a_pause_at_the_same_time_as_a_teardown_does_not_take_its_place() -> None:
    memory = begin(store := Store())
    other = threading.Thread(target=memory.hold.begin, args=("pause", "bob", NOW))

    def interrupt() -> None:
        store.meanwhile = lambda: None
        other.start()
        other.join(0.05)

    store.meanwhile = interrupt
    memory.hold.put("teardown", "ada", NOW)
    other.join()
    assert memory.hold.tearing_down
    assert store.kept["", ""].reason == "teardown"


def test_an_order_that_is_given_while_another_is_struck_stands() -> None:
    memory = begin(store := Store())
    memory.growing.put(GrowOrder(2, "ada", LATER))
    newer = GrowOrder(4, "bob", LATER)
    other = threading.Thread(target=memory.growing.put, args=(newer,))

    def interrupt() -> None:
        store.meanwhile = lambda: None
        other.start()
        other.join(0.05)

    store.meanwhile = interrupt
    memory.growing.observe(2, NOW)
    other.join()
    assert memory.growing.order == store.order == newer
