"""One CM is emptied and asked nothing more, while the others go on."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.drain.wanted import drains_of, returnable
from agent.cluster.memory.memory import Memory
from agent.cluster.memory.teardowns import Teardowns, teardown_words
from agent.cluster.planner import Planner
from agent.cluster.reasons import CM_TEARDOWN, Drain, DrainCause, marks
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shrink.departures import plan_departures
from agent.cluster.wishes.adoption import Adoption
from agent.cluster.wishes.completion import Completion
from agent.cluster.wishes.orders import Orders
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain, CmTeardown, Intent, IntentKind, Share
from agent.core.slice.facts import SliceFacts
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import (
    NOW,
    UTAH,
    WISC,
    Cloudlab,
    Events,
    Slurm,
    a_desk,
    a_machine,
    a_moment,
    free_machine,
)

DUE = NOW + timedelta(hours=1)
AT_UTAH, AT_WISC = a_machine(1), a_machine(2, WISC)
BOTH = frozenset({UTAH, WISC})
WISH = CmTeardown(UTAH, "ada", NOW, DUE)
IDLE = [Node("pc1", "IDLE"), Node("pc2", "IDLE")]
DRAINED = Node("pc1", "IDLE", frozenset({"DRAIN"}))


def moment(*nodes, **fields):
    """A moment with a machine at each of two CMs, of which the first is emptied."""
    known = {"machines": [AT_UTAH, AT_WISC], "teardowns": {UTAH: WISH}, **fields}
    return a_moment(*(nodes or IDLE), **known)


# --- what is decided


def test_its_machines_alone_are_emptied_and_are_surplus_once_they_are_empty() -> None:
    asked = Drain("pc1", DrainCause.ADMIN, DUE, "ada", CM_TEARDOWN, slivers=marks(AT_UTAH))
    assert drains_of(moment()) == {"pc1": asked}
    busy = Job("7", "RUNNING", nodes=frozenset({"pc1"}))
    assert drains_of(moment(DRAINED, jobs=[busy])) == {"pc1": asked}
    assert drains_of(moment(DRAINED)) == {
        "pc1": Drain("pc1", DrainCause.SURPLUS, slivers=marks(AT_UTAH)),
    }


def test_with_a_teardown_of_everything_all_go_for_that_one() -> None:
    hold = AdminDrain("", "teardown", "bob", NOW)
    assert {name: drain.who for name, drain in drains_of(moment(hold=hold)).items()} == {
        "pc1": "bob",
        "pc2": "bob",
    }


def test_none_of_its_machines_returns_to_service_for_the_queue() -> None:
    chosen = frozenset({"pc1", "pc2"})
    assert returnable(moment(chosen=chosen)) == {"pc2"}


def test_what_is_emptied_there_goes_back_and_nothing_else_does() -> None:
    emptied = frozenset({"pc1", "pc2"})
    nodes = [DRAINED, replace(DRAINED, name="pc2")]
    assert plan_departures(moment(*nodes, emptied=emptied)).empty == (AT_UTAH,)
    assert plan_departures(moment(*nodes)).empty == ()


def test_the_plan_says_that_its_machines_go() -> None:
    plan = Planner().plan(moment())
    assert [(fate.name, fate.goes) for fate in plan.nodes] == [("pc1", True), ("pc2", False)]


# --- what is remembered


class World:
    """Orders and what is told of them, with a machine at each CM."""

    def __init__(self, ledger, retired=()) -> None:
        self.events = Events()
        self.woken = []
        self.facts = SliceFacts(
            cms=(UTAH, WISC),
            machines=(AT_UTAH, AT_WISC),
            read=BOTH,
            all_read=True,
            shares={UTAH: Share(1, 1)},
        )
        self.desk = desk = a_desk(events=self.events, wake=lambda *steps: self.woken.extend(steps))
        self.memory = memory = Memory(desk, lambda: self.facts, ledger)
        self.orders = Orders(desk, memory, lambda _: False, lambda: None)
        self.adoption = Adoption(desk, memory, self.orders, lambda _: None)
        self.completion = Completion(desk, memory, retired)

    def looked_at(self) -> bool:
        """Tell once whether the drains are to be looked at now."""
        rings = self.desk.bell.is_set()
        self.desk.bell.clear()
        return rings

    def without(self, *machines, **facts):
        """Return what is known once these are gone."""
        left = tuple(machine for machine in self.facts.machines if machine not in machines)
        return replace(self.facts, machines=left, **facts)


@pytest.fixture
def world(ledger) -> World:
    return World(ledger)


def test_a_wish_for_a_cm_is_kept_told_and_begun_at_once_and_holds_up_no_other(world, ledger) -> None:
    wish = world.orders.tear_down_cm(UTAH, "ada", DUE)
    assert wish == WISH == World(ledger).memory.teardowns.wishes[UTAH]
    assert world.memory.now().teardowns == {UTAH: WISH}
    assert world.memory.now().slice.cms == (WISC,)
    assert world.memory.now().held_up == ""
    assert {event.subject for event in world.events} == {UTAH}
    assert (world.looked_at(), world.woken) == (True, ["delete_nodes"])


def test_a_cm_that_is_allowed_again_is_asked_again_and_what_was_emptied_still_goes(world, ledger) -> None:
    world.orders.tear_down_cm(UTAH, "ada", None)
    world.memory.chosen.leave(AT_UTAH)
    assert world.orders.reopen_cm(UTAH, "bob")
    assert not world.orders.reopen_cm(UTAH, "bob")
    assert world.memory.now().teardowns == World(ledger).memory.teardowns.wishes == {}
    assert world.memory.now().slice.cms == (UTAH, WISC)
    assert world.memory.now().chosen == {"pc1"}
    assert "add_nodes" in world.woken


class Full:
    """A ledger on a disk that is full."""

    def __init__(self, *wishes) -> None:
        self._wishes = wishes

    def teardowns(self):
        return self._wishes

    def put_teardown(self, _wish):
        raise LedgerError("full")

    def remove_teardown(self, _cm):
        raise LedgerError("full")


def test_what_cannot_be_written_down_changes_nothing(world) -> None:
    full = Teardowns(world.desk.lock, Full(WISH))
    with pytest.raises(LedgerError):
        full.put(CmTeardown(WISC, "ada", NOW))
    with pytest.raises(LedgerError):
        full.lift(UTAH)
    assert full.wishes == {UTAH: WISH}


def test_where_the_ledger_is_lost_slurm_tells_that_one_cm_was_emptied_and_not_all(world) -> None:
    drain = Drain("pc1", DrainCause.ADMIN, DUE, "ada", CM_TEARDOWN, slivers=marks(AT_UTAH))
    slurm = Slurm(replace(DRAINED, reason=drain.reason), Node("pc2", "IDLE"))
    known = world.memory.known
    known.take(known.begin(), slurm.snapshot())
    assert world.adoption.look(world.memory.now())
    assert world.memory.hold.wish is None
    assert world.memory.teardowns.wishes == {UTAH: WISH}
    assert world.memory.drains.wishes == {}


def test_its_words_say_who_wants_it_and_until_when() -> None:
    said = f"everything at {UTAH} is given back by ada since 2026-11-22T12:00:00Z"
    assert teardown_words(WISH) == f"{said}, due 2026-11-22T13:00:00Z"
    assert teardown_words(replace(WISH, deadline=None)) == said


# --- when it is complete


def test_that_a_cm_is_empty_is_told_once_and_it_stays_closed(world) -> None:
    world.orders.tear_down_cm(UTAH, "ada", None)
    done = f"the teardown of {UTAH} is complete: nothing is held there"
    coming = (Intent(IntentKind.ADD, UTAH, "es-7", NOW),)
    for facts in (
        world.facts,
        world.without(AT_UTAH, requested=coming),
        world.without(AT_UTAH, read={WISC}, all_read=False),
    ):
        world.completion.look(facts)
        assert done not in world.events.words
    for _ in range(2):
        world.completion.look(world.without(AT_UTAH))
    assert world.events.words.count(done) == 1
    assert UTAH in world.memory.teardowns.wishes
    world.completion.look(world.facts)
    world.completion.look(world.without(AT_UTAH))
    assert world.events.words.count(done) == 2, "one had come after all"


def test_of_one_that_left_agent_conf_nothing_stays_to_be_lifted(ledger) -> None:
    world = World(ledger, retired=(UTAH,))
    world.orders.tear_down_cm(UTAH, "ada", None)
    world.completion.look(world.without(AT_UTAH))
    assert world.memory.teardowns.wishes == World(ledger).memory.teardowns.wishes == {}


def test_nor_of_one_that_left_it_while_nothing_was_held_there(ledger) -> None:
    world = World(ledger)
    world.orders.tear_down_cm(UTAH, "ada", None)
    world.completion.look(world.without(AT_UTAH, read=frozenset({WISC}), all_read=False))
    assert UTAH in world.memory.teardowns.wishes, "it is silent"
    unseen = frozenset({(UTAH, AT_UTAH.client_id)})
    world.completion.look(world.without(AT_UTAH, read=frozenset({WISC}), unseen=unseen))
    assert UTAH in world.memory.teardowns.wishes, "it cannot be asked, and something is held there"
    world.completion.look(world.without(AT_UTAH, read=frozenset({WISC})))
    assert world.memory.teardowns.wishes == World(ledger).memory.teardowns.wishes == {}


def test_where_the_disk_was_full_it_is_lifted_later(ledger, monkeypatch) -> None:
    world = World(ledger, retired=(UTAH,))
    world.orders.tear_down_cm(UTAH, "ada", None)
    with monkeypatch.context() as full:
        full.setattr(ledger.cms, "put_teardown", Full().put_teardown)
        with pytest.raises(LedgerError):
            world.completion.look(world.without(AT_UTAH))
    world.completion.look(world.without(AT_UTAH))
    assert world.memory.teardowns.wishes == World(ledger).memory.teardowns.wishes == {}


def test_a_teardown_of_everything_is_complete_when_nothing_is_held_anywhere(world) -> None:
    world.completion.look(world.without(AT_UTAH, AT_WISC))
    assert world.events == [], "nobody wanted one"
    world.orders.tear_down("ada", None)
    done = "the teardown is complete: nothing is held"
    for facts in (world.without(AT_UTAH), world.without(AT_UTAH, AT_WISC, all_read=False)):
        world.completion.look(facts)
        assert done not in world.events.words
    world.completion.look(world.without(AT_UTAH, AT_WISC))
    assert done in world.events.words


# --- what follows


def test_a_whole_cm_is_given_back_while_the_other_keeps_its_machine_and_grows(make_manager) -> None:
    free = [free_machine(n, cm) for n, cm in ((10, UTAH), (11, UTAH), (20, WISC), (21, WISC))]
    site = Cloudlab(AT_UTAH, AT_WISC, cms=(UTAH, WISC), free=free)
    waiting = [Job(str(n), "PENDING", reason="Resources", submitted=NOW) for n in (7, 8)]
    slurm = Slurm(*IDLE, jobs=[Job("6", "RUNNING", nodes=frozenset({"pc2"})), *waiting])
    demand = DemandSettings(max_nodes=3, grow_after=0)
    manager = make_manager(site, slurm, demand=demand)
    manager.percent_available_minimum = 0.0
    manager.get_system_state()
    manager.orders.tear_down_cm(UTAH, "ada", None)
    for _ in range(3):
        manager.manage_once(force=True)
        manager.drainer.tick()
        for thread in threading.enumerate():
            if thread.name.startswith("leave"):
                thread.join(5)
    assert ("delete", UTAH, ("node-1",)) in site.asked
    assert {cm for what, cm, _ in site.asked if what == "add"} == {WISC}
    assert AT_WISC in site.machines
