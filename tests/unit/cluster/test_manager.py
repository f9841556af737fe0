"""The manager as a whole: readings of Slurm that overtake each other."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import SlurmRefusedError
from agent.core.model import AdminDrain
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.slurm.model import Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, UTAH, Cloudlab, Slurm, a_machine


class ReadMeanwhile(Slurm):
    """A Slurm that other threads read, and change, while it is read or changed."""

    def __init__(self, *nodes, **options):
        super().__init__(*nodes, **options)
        self.meanwhile = {}

    def snapshot(self):
        snapshot = super().snapshot()
        self._let("snapshot")
        return snapshot

    def set_weight(self, nodes, weight):
        super().set_weight(nodes, weight)
        self._let("set_weight")

    def reservations(self):
        self._let("reservations")
        return super().reservations()

    def _let(self, what):
        if others := self.meanwhile.pop(what, None):
            others()


def weights(manager):
    return {node.node: node.weight for node in manager.view().nodes}


def test_a_node_that_slurm_drops_while_its_weight_is_set_costs_no_other(make_manager):
    slurm = ReadMeanwhile(Node("pc1", "IDLE", weight=1), Node("pc2", "IDLE", weight=1))
    manager = make_manager(Cloudlab(a_machine(1), a_machine(2)), slurm)
    manager.get_system_state()

    def drop():
        del slurm.nodes["pc2"]
        manager.get_system_state()

    slurm.meanwhile["set_weight"] = drop
    manager.set_system_state()
    assert weights(manager) == {"pc1": slurm.nodes["pc1"].weight, "pc2": None}


def test_a_reading_that_began_earlier_does_not_take_the_place_of_a_newer_one(make_manager):
    slurm = ReadMeanwhile(Node("pc1", "IDLE", weight=1))
    manager = make_manager(Cloudlab(a_machine(1)), slurm)

    def change():
        slurm.nodes["pc1"] = replace(slurm.nodes["pc1"], weight=700)
        manager.get_system_state()

    slurm.meanwhile["snapshot"] = change
    manager.get_system_state()
    assert weights(manager) == {"pc1": 700}


def test_a_weight_that_was_set_during_a_reading_is_not_set_again_by_it(make_manager):
    slurm = ReadMeanwhile(Node("pc1", "IDLE", weight=1))
    manager = make_manager(Cloudlab(a_machine(1)), slurm)
    manager.get_system_state()
    slurm.meanwhile["snapshot"] = manager.set_system_state
    manager.get_system_state()
    manager.set_system_state()
    assert [act for act, *_ in slurm.acts] == ["set_weight"]


def test_a_failed_machine_that_cloudlab_gave_no_usable_name_goes_back_too(make_manager):
    nameless = replace(a_machine(1), node_id="")
    site = Cloudlab(nameless, a_machine(2))
    manager = make_manager(site, Slurm(Node("pc2", "IDLE")), demand=DemandSettings(min_hold=0))
    manager.get_system_state()
    manager.give_up(nameless, "it does not boot")
    manager.delete_nodes()
    assert site.asked == [("delete", UTAH, ("node-1",))]


def test_a_node_that_was_cleaned_up_meanwhile_is_not_let_back_into_service(make_manager):
    """Its slurmd was stopped, whatever the queue wanted a moment ago."""
    surplus = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="esagent: surplus, to be given back")
    booked = Reservation("r", frozenset({"pc1"}), NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    slurm = ReadMeanwhile(surplus, reservations=[booked])
    manager = make_manager(Cloudlab(a_machine(1)), slurm)
    manager.memory.chosen.choose(a_machine(1))
    slurm.meanwhile["reservations"] = lambda: manager.memory.chosen.empty(a_machine(1))
    manager.get_system_state()
    assert manager.memory.now().chosen == {"pc1"}


def test_a_fresh_machine_is_not_given_back_for_what_stands_in_slurm_of_the_one_before_it(make_manager):
    """With names of client_ids, those that a site gives come again with each experiment."""
    for reason in ("esagent: surplus, to be given back, sliver 0", "esagent: surplus, to be given back"):
        long_ago = NOW - timedelta(hours=9)
        left = Node(
            "node-1", "IDLE", frozenset({"DRAIN"}), booted=long_ago, last_busy=long_ago, reason=reason
        )
        slurm, site = Slurm(left), Cloudlab(a_machine(1))
        manager = make_manager(site, slurm, join=JoinSettings(node_name="client_id"))
        for _ in range(3):
            manager.manage_once(force=True)
            manager.drainer.tick()
        assert (site.asked, manager._reach._shell.ran) == ([], [])
        assert (slurm.nodes["node-1"].draining, slurm.nodes["node-1"].reason) == (False, "")
        assert manager.memory.now().chosen == frozenset()


def test_a_surplus_machine_goes_on_going_when_the_agent_starts_anew(make_manager):
    left = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="esagent: surplus, to be given back, sliver 1")
    manager = make_manager(Cloudlab(a_machine(1)), Slurm(left))
    manager.get_system_state()
    assert manager.memory.now().chosen == {"pc1"}


def test_an_administrators_drain_of_an_earlier_machine_is_struck_and_lifted(make_manager, ledger):
    ledger.put_drain(AdminDrain("pc1", "disk", "ada", NOW, give_back=True, sliver_id="urn:sliver+0"))
    reason = "esagent: drained by ada, to be given back, sliver 0: disk"
    slurm = Slurm(Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=reason))
    site = Cloudlab(a_machine(1))
    manager = make_manager(site, slurm)
    for _ in range(2):
        manager.manage_once(force=True)
        manager.drainer.tick()
    assert (site.asked, ledger.drains()) == ([], ())
    assert not slurm.nodes["pc1"].draining
    assert "admin" in {event.kind for event in ledger.events("pc1")}


def test_a_drain_that_was_for_an_earlier_machine_is_lifted_as_soon_as_the_new_one_is_at_work(make_manager):
    """The drainer looks by itself once a minute."""
    away = frozenset({"DRAIN", "NOT_RESPONDING"})
    old = Node("pc1", "DOWN", away, reason="esagent: revoked by Cloudlab, due 2026-11-22T14:00:00Z, sliver 0")
    slurm = Slurm(old)
    manager = make_manager(Cloudlab(a_machine(1)), slurm)
    manager.manage_once(force=True)
    manager.desk.bell.clear()
    slurm.nodes["pc1"] = replace(old, state="IDLE", flags=frozenset({"DRAIN"}))
    manager.get_system_state()
    assert manager.desk.bell.is_set()
    manager.drainer.tick()
    assert slurm.nodes["pc1"].usable


def test_what_the_queue_wants_is_told_also_while_reservations_cannot_be_read(make_manager):
    idle = Node("pc1", "IDLE", booted=NOW - timedelta(hours=9), last_busy=NOW - timedelta(hours=9))
    slurm = ReadMeanwhile(idle)
    manager = make_manager(Cloudlab(a_machine(1)), slurm)

    def refuse():
        raise SlurmRefusedError("no")

    slurm.meanwhile["reservations"] = refuse
    with pytest.raises(SlurmRefusedError):
        manager.get_system_state()
    assert manager.last_plan.growth.count == 0


def test_a_request_that_a_site_writes_itself_is_asked_for_as_it_is(make_manager):
    class Own(SimpleElasticSliceHelper):
        def create_rspec(self):
            return "of our own"

    manager = make_manager(Cloudlab(a_machine(1)), Slurm(Node("pc1", "IDLE")))
    manager.set_helper(Own(server=manager.server))
    assert manager.request_for(UTAH) == "of our own"
