"""All that is remembered makes one moment, under one lock, until a machine is gone."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.drain.wanted import wishes_of
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import History
from agent.core.model import AdminDrain, GrowOrder
from agent.core.slice.facts import SliceFacts
from agent.slurm.model import Snapshot
from tests.unit.cluster.conftest import NOW, UTAH, a_desk, a_machine

MACHINE, OTHER = a_machine(1), a_machine(2)
WISH = AdminDrain("pc1", "disk", "ada", NOW)
HOLD = AdminDrain("", "pause", "bob", NOW)
ORDER = GrowOrder(3, "ada", NOW + timedelta(hours=1))


class World:
    """A memory with its surroundings."""

    def __init__(self, ledger) -> None:
        self.desk = a_desk()
        self.slice = SliceFacts(machines=(MACHINE, OTHER))
        self.memory = Memory(self.desk, lambda: self.slice, ledger)


@pytest.fixture
def world(ledger) -> World:
    return World(ledger)


def test_a_moment_has_what_every_part_remembers(world: World) -> None:
    memory = world.memory
    snapshot, history = Snapshot(NOW, {}, ()), History(found=frozenset({"pc1"}))
    memory.known.take(memory.known.begin(), snapshot)
    memory.known.history = history
    memory.known.limited = frozenset({"main"})
    memory.known.read_back = frozenset({UTAH})
    memory.drains.put(WISH)
    hold = memory.hold.put("pause", "bob", NOW)
    memory.growing.put(ORDER)
    memory.chosen.choose(MACHINE)
    memory.chosen.empty(OTHER)
    memory.chosen.choose_blocking(OTHER)
    memory.asked_types[UTAH, "node-1"] = "m510"
    memory.joins.watch(MACHINE, NOW)
    memory.joins.prove(OTHER)
    memory.joins.see_failed([OTHER], NOW)
    moment = memory.now()
    assert (moment.now, moment.slice, moment.snapshot, moment.history) == (
        NOW,
        world.slice,
        snapshot,
        history,
    )
    assert (moment.limited, moment.read_back) == ({"main"}, {UTAH})
    assert (moment.admin, moment.hold, moment.order) == ({("", "pc1"): WISH}, hold, ORDER)
    assert (moment.chosen, moment.emptied, moment.blocking) == ({"pc1", "pc2"}, {"pc2"}, {"pc2": None})
    assert moment.asked_types == {(UTAH, "node-1"): "m510"}
    assert moment.joins == memory.joins.records
    assert (moment.proven, moment.failed_since) == ({OTHER.key}, {OTHER.key: NOW})
    assert moment.settings.demand.min_nodes == ORDER.machines


def test_a_moment_does_not_change_with_what_is_remembered_later(world: World) -> None:
    memory, before = world.memory, world.memory.now()
    memory.drains.put(WISH)
    memory.chosen.choose(MACHINE)
    memory.asked_types[UTAH, "node-1"] = "m510"
    memory.joins.watch(MACHINE, NOW)
    assert (before.admin, before.chosen, before.asked_types, before.joins) == ({}, frozenset(), {}, {})


def test_nothing_changes_while_a_moment_is_made(ledger) -> None:
    desk, free = a_desk(), []

    def facts() -> SliceFacts:
        other = threading.Thread(target=lambda: free.append(desk.lock.acquire(blocking=False)))
        other.start()
        other.join()
        return SliceFacts()

    Memory(desk, facts, ledger).now()
    assert free == [False]


def test_what_administrators_asked_for_is_known_after_a_restart(ledger) -> None:
    for stored in (WISH, HOLD):
        ledger.put_drain(stored)
    ledger.put_grow_order(ORDER)
    moment = World(ledger).memory.now()
    assert (moment.admin, moment.hold, moment.order) == ({("", "pc1"): WISH}, HOLD, ORDER)


def test_what_is_wished_for_is_said_of_this_moment(world: World) -> None:
    assert world.memory.wishes().drains == {}
    world.memory.drains.put(WISH)
    wishes = world.memory.wishes()
    assert wishes == wishes_of(world.memory.now())
    assert wishes.drains["pc1"].why == "disk"


def test_what_was_decided_of_a_machine_does_not_hold_for_the_next_one_of_its_names(world: World) -> None:
    chosen, again = world.memory.chosen, replace(MACHINE, sliver_id="urn:sliver+11")
    chosen.choose_blocking(MACHINE)
    chosen.empty(MACHINE)
    world.slice = SliceFacts(machines=(again,))
    moment = world.memory.now()
    assert (moment.chosen, moment.emptied, moment.blocking) == (frozenset(), frozenset(), {})
    assert world.memory.wishes().drains == {}


def test_a_machine_that_is_gone_leaves_nothing_behind(world: World, ledger) -> None:
    memory = world.memory
    for machine in (MACHINE, OTHER):
        memory.drains.put(replace(WISH, node_id=machine.node_id, cm=UTAH))
        memory.chosen.choose_blocking(machine)
        memory.chosen.empty(machine)
        memory.asked_types[machine.cm, machine.client_id] = "m510"
        memory.joins.begin(machine, NOW, attempts=1)
        memory.joins.prove(machine)
        memory.joins.see_failed([machine], NOW)
    world.slice = SliceFacts(machines=(OTHER,))
    memory.forget(MACHINE)
    moment = memory.now()
    assert moment.admin.keys() == {(UTAH, "pc2")}
    assert moment.chosen == moment.emptied == moment.blocking.keys() == {"pc2"}
    assert moment.asked_types.keys() == {(UTAH, "node-2")}
    assert moment.joins.keys() == moment.proven == moment.failed_since.keys() == {OTHER.key}
    assert [drain.node_id for drain in ledger.drains()] == ["pc2"]
