"""What an earlier run of the agent wrote into Slurm, met by a new one that remembers nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.memory.memory import Memory
from agent.cluster.reasons import TEARDOWN, Drain, DrainCause
from agent.cluster.wishes.adoption import Adoption, left_by_an_earlier_run
from agent.cluster.wishes.orders import Orders
from agent.core.errors import AgentError
from agent.core.model import AdminDrain
from agent.core.said import Revocation
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
)

DUE = NOW + timedelta(hours=1)
SOON = NOW + timedelta(minutes=5)
REVOKED = "esagent: revoked by Cloudlab, due 2026-11-22T13:00:00Z"
AT_UTAH, AT_WISC = a_machine(1, UTAH), a_machine(2, WISC)


def surplus(node, *slivers):
    return Drain(node, DrainCause.SURPLUS, slivers=frozenset(slivers))


def drained(name, reason):
    return Node(name, "ALLOCATED", frozenset({"DRAIN"}), cpus=2, reason=reason)


@pytest.fixture
def slurm(clock):
    """Both nodes are drained with our reason, and run a job."""
    jobs = [
        Job(name, "RUNNING", "ada", nodes=frozenset({name}), ends=SOON, requeueable=True)
        for name in ("pc1", "pc2")
    ]
    return Slurm(drained("pc1", REVOKED), drained("pc2", REVOKED), jobs=jobs, clock=clock)


@pytest.fixture
def cloudlab():
    """A slice with a machine at each of two CMs."""
    return Cloudlab(AT_UTAH, AT_WISC, cms=(UTAH, WISC))


@pytest.fixture
def manager(make_manager, slurm, cloudlab):
    return make_manager(cloudlab, slurm, read=False)


def read(manager, *steps):
    for step in ("ensure_slice", "ensure_sliver", *steps):
        try:
            getattr(manager, step)()
        except AgentError:
            assert manager.server.silent


def test_a_look_at_the_drains_before_slurm_was_read_lifts_nothing(manager, slurm):
    read(manager)
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {REVOKED}
    manager.get_system_state()
    assert {r.deadline for r in manager.revocations.values()} == {DUE}


def test_a_cm_that_is_silent_at_first_costs_its_machines_no_deadline(manager, slurm, cloudlab):
    cloudlab.silent = {WISC}
    read(manager, "get_system_state")
    manager.drainer.tick()
    cloudlab.silent = set()
    read(manager, "get_system_state")
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {f"{REVOKED}, sliver {n}" for n in (1, 2)}
    assert {r.node_id for r in manager.revocations.values()} == {"pc1", "pc2"}


def test_a_drain_that_nobody_wants_any_more_is_lifted_when_all_is_known(manager, slurm):
    read(manager, "get_system_state")
    manager.revocations.clear()
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {""}


def test_a_machine_that_came_later_is_not_taken_for_drained_by_an_earlier_run(manager, slurm, cloudlab):
    cloudlab.machines.remove(AT_WISC)
    read(manager, "get_system_state")
    cloudlab.machines.append(AT_WISC)  # it comes, and Slurm still has the record of its last stay
    read(manager, "get_system_state")
    assert {r.node_id for r in manager.revocations.values()} == {"pc1"}


# --- what each reason becomes


class World:
    """An adoption with its surroundings, that looks at one machine at Utah and one in Wisconsin."""

    def __init__(self, ledger) -> None:
        self.events = Events()
        self.adopted = []
        self.slice = SliceFacts(machines=(AT_UTAH, AT_WISC), read=frozenset({UTAH, WISC}))
        desk = a_desk(events=self.events)
        self.memory = memory = Memory(desk, lambda: self.slice, ledger)
        orders = Orders(desk, memory, lambda _: False, lambda: None)
        self.adoption = Adoption(desk, memory, orders, self.adopted.append)

    def look(self, *drains: Drain) -> bool:
        """Look at nodes that are drained so."""
        slurm = Slurm(*(drained(drain.node, drain.reason) for drain in drains))
        known = self.memory.known
        known.take(known.begin(), slurm.snapshot())
        return self.adoption.look(self.memory.now())

    def told(self) -> list[str]:
        return [event.subject for event in self.events if event.kind == "adopt"]


@pytest.fixture
def world(ledger) -> World:
    return World(ledger)


def test_a_revocation_goes_on_with_its_deadline(world) -> None:
    world.look(Drain("pc1", DrainCause.REVOKED, DUE))
    assert world.adopted == [Revocation("pc1", "node-1", DUE, NOW, NOW, cm=UTAH)]
    assert world.events.words == [f"found as an earlier run left it: {REVOKED}"]


def test_an_administrators_drain_goes_on_as_it_was_said(world, ledger) -> None:
    world.look(Drain("pc1", DrainCause.ADMIN, DUE, "ada", "disk", give_back=True))
    meant = ("urn:sliver+1", UTAH, "node-1")
    wish = AdminDrain("pc1", "disk", "ada", NOW, DUE, True, *meant)
    assert world.memory.drains.wishes == {(UTAH, "pc1"): wish}
    assert ledger.drains() == (wish,)
    assert world.memory.hold.wish is None
    assert world.told() == ["pc1"]


def test_an_administrators_drain_that_is_remembered_is_not_replaced_or_told(world) -> None:
    wish = AdminDrain("pc1", "fan", "bob", NOW)
    world.memory.drains.put(wish)
    world.look(Drain("pc1", DrainCause.ADMIN, DUE, "ada", "disk"))
    assert world.memory.drains.wishes == {("", "pc1"): wish}
    assert world.told() == []


def test_a_teardown_goes_on_as_one(world) -> None:
    teardown = [Drain(name, DrainCause.ADMIN, DUE, "ada", TEARDOWN) for name in ("pc1", "pc2")]
    world.look(*teardown)
    assert world.memory.hold.wish == AdminDrain("", TEARDOWN, "ada", NOW, DUE)
    assert world.memory.drains.wishes == {}
    assert world.told() == ["pc1", "pc2"]
    assert world.events.kinds.count("admin") == 1


def test_a_pause_that_is_remembered_outlasts_a_teardown_that_was_found(world) -> None:
    pause = world.memory.hold.put("pause", "bob", NOW)
    world.look(Drain("pc1", DrainCause.ADMIN, DUE, "ada", TEARDOWN))
    assert world.memory.hold.wish == pause


def test_a_surplus_machine_goes_back(world) -> None:
    world.look(surplus("pc1", "1"))
    assert world.memory.now().chosen == {"pc1"}
    assert world.told() == ["pc1"]


@pytest.mark.parametrize(
    "drain",
    [
        Drain("pc1", DrainCause.REVOKED, DUE),
        Drain("pc1", DrainCause.ADMIN, DUE, "ada", "disk"),
        Drain("pc1", DrainCause.ADMIN, DUE, "ada", TEARDOWN),
        Drain("pc1", DrainCause.SURPLUS),
    ],
)
def test_what_was_meant_for_an_earlier_machine_of_the_name_is_not_taken_over(world, drain) -> None:
    assert world.look(replace(drain, slivers=frozenset({"0"})))
    assert (world.adopted, world.memory.drains.wishes, world.memory.hold.wish) == ([], {}, None)
    assert world.memory.chosen.chosen == frozenset()
    assert world.events == []


def test_of_an_older_versions_words_a_surplus_and_a_deadline_that_is_past_are_not_taken_over(world) -> None:
    assert world.look(Drain("pc1", DrainCause.REVOKED, NOW), Drain("pc2", DrainCause.SURPLUS))
    assert (world.adopted, world.memory.chosen.chosen, world.told()) == ([], frozenset(), [])


def test_a_surplus_machine_without_a_sliver_id_goes_back_as_it_always_did(world) -> None:
    nameless = replace(AT_UTAH, sliver_id="")
    world.slice = replace(world.slice, machines=(nameless, AT_WISC))
    assert world.look(surplus("pc1"))
    assert world.memory.now().chosen == {"pc1"}


def test_a_machine_that_was_told_to_be_taken_is_left_to_the_manifest(world) -> None:
    world.look(Drain("pc1", DrainCause.TAKEN))
    assert (world.adopted, world.memory.drains.wishes, world.memory.chosen.chosen) == ([], {}, frozenset())
    assert world.told() == []


def test_each_cm_is_looked_at_once_when_its_manifest_was_read(world) -> None:
    both = [surplus("pc1", "1"), surplus("pc2", "2")]
    world.slice = SliceFacts(machines=(AT_UTAH,), read=frozenset({UTAH}))
    assert world.look(*both)
    assert world.memory.now().chosen == {"pc1"}
    assert world.memory.known.read_back == {UTAH}
    world.memory.chosen.keep([AT_UTAH])
    world.slice = SliceFacts(machines=(AT_UTAH, AT_WISC), read=frozenset({UTAH, WISC}))
    assert world.look(*both)
    assert world.memory.now().chosen == {"pc2"}
    assert not world.look(*both)


def test_the_drains_of_an_earlier_run_are_read_back_from_draining_nodes_of_ours_alone() -> None:
    reason = surplus("pc1", "1", "2", "5").reason
    nodes = (
        Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=reason),
        Node("pc2", "IDLE", reason=reason),
        Node("pc3", "IDLE", frozenset({"DRAIN"}), reason="disk is dying"),
        Node("pc5", "IDLE", frozenset({"DRAIN"}), reason=reason),
        Node("n1", "IDLE", frozenset({"DRAIN"}), reason=reason),
    )
    machines = [*(a_machine(n) for n in (1, 2, 3, 4)), a_machine(5, WISC)]
    found = left_by_an_earlier_run(a_moment(*nodes, machines=machines), frozenset({UTAH}))
    assert [*found] == [(machines[0], surplus("pc1", "1", "2", "5"))]
