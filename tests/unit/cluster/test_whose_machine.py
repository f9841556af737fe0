"""A machine that is not ours: nothing that is done anywhere reaches it, its node or its jobs."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdminDrain
from agent.core.ownership import Ownership
from agent.core.said import ResourceValue, Revocation
from agent.core.views import NodeState
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_machine, free_machine

OURS = a_machine(1)
SOMEBODYS = replace(a_machine(2), client_id="cp-1")
OF_ANOTHER_PREFIX = replace(a_machine(2), client_id="es-2")
NAMED_NEVER = a_machine(2)
FOREIGN = pytest.mark.parametrize(
    "foreign", [SOMEBODYS, OF_ANOTHER_PREFIX, NAMED_NEVER], ids=lambda machine: machine.client_id
)
NEVER = Ownership(never=frozenset({"node-2"}))


def slurm_with_jobs(*names):
    slurm = Slurm(*(Node(name, "ALLOCATED", weight=1) for name in names))
    slurm.jobs = [
        Job(name, "RUNNING", nodes=frozenset({name}), ends=NOW + timedelta(hours=5)) for name in names
    ]
    return slurm


def world(make_manager, other, **sections):
    """Two machines, and every wish there is that both be emptied and go."""
    slurm = slurm_with_jobs("pc1", "pc2")
    site = Cloudlab(OURS, other)
    manager = make_manager(site, slurm, ownership=NEVER, **sections)
    for machine in (OURS, other):
        name = machine.node_id
        manager.resource_values["", name] = ResourceValue(name, 1.0, NOW)
        manager.revocations["", name] = Revocation(name, machine.client_id, NOW, NOW, NOW)
        manager.memory.drains.put(AdminDrain(name, "a look", "bob", NOW, NOW))
        manager.memory.chosen.empty(machine)
        manager.memory.chosen.choose(machine)
        manager.give_up(machine, "it does not join")
    return manager, slurm, site


def cycle(manager):
    manager.manage_once(force=True)
    manager.drainer.tick()
    for thread in threading.enumerate():
        if thread.name.startswith("leave"):
            thread.join(5)


def touched(slurm):
    return {name for _, *names in slurm.acts for name in names}


@FOREIGN
def test_no_act_reaches_a_machine_that_is_not_ours_its_node_or_its_jobs(make_manager, foreign):
    manager, slurm, site = world(make_manager, foreign)
    for _ in range(3):
        cycle(manager)
    assert touched(slurm) == {"pc1"}
    assert slurm.nodes["pc2"] == Node("pc2", "ALLOCATED", weight=1)
    assert {name for name, _ in manager._reach._shell.ran} <= {"pc1"}
    assert [machine.node_id for machine in site.machines] == ["pc2"]
    assert {act for act, *_ in site.asked} <= {"delete"}


def test_both_are_acted_on_where_both_are_ours(make_manager):
    manager, slurm, _ = world(make_manager, a_machine(3))
    slurm.nodes["pc3"] = replace(slurm.nodes.pop("pc2"), name="pc3")
    manager.manage_once(force=True)
    manager.drainer.tick()
    assert touched(slurm) == {"pc1", "pc3"}


@FOREIGN
def test_no_command_is_run_there_whoever_asks_for_it(make_manager, foreign):
    manager, *_ = world(make_manager, foreign)
    assert manager._reach.run(foreign, ["true"], 1.0).error == "it is not ours any more"
    assert manager._reach.run(OURS, ["true"], 1.0).ok


@pytest.mark.parametrize("names", ["predeclared", "power_nodes"])
def test_its_node_is_not_taken_for_one_without_a_machine(make_manager, names):
    join = JoinSettings(mode="cloud", node_name="client_id", **{names: "node-[1-2]"})
    asleep = Node("node-2", "DOWN", frozenset({"POWERED_DOWN"}), reason="esagent: no machine behind it")
    nodes = {"predeclared": Node("node-2", "IDLE", booted=NOW), "power_nodes": asleep}
    slurm = Slurm(Node("node-1", "IDLE"), nodes[names])
    manager = make_manager(Cloudlab(OURS, NAMED_NEVER), slurm, join=join, ownership=NEVER)
    for _ in range(2):
        manager.manage_once(force=True)
    assert "node-2" not in touched(slurm)


@pytest.mark.parametrize("node_name", ["node_id", "client_id"])
def test_it_neither_counts_nor_is_joined_and_everything_of_it_is_shown(make_manager, node_name):
    site = Cloudlab(SOMEBODYS, free=[free_machine(n) for n in range(10, 14)])
    slurm = Slurm(Node("n1", "IDLE"))
    slurm.jobs = [Job("7", "PENDING", reason="Resources", submitted=NOW)]
    demand = DemandSettings(max_nodes=1, grow_after=0)
    manager = make_manager(site, slurm, demand=demand, join=JoinSettings(node_name=node_name))
    manager.resource_values["", "pc2"] = ResourceValue("pc2", 0.75, NOW)
    for _ in range(2):
        manager.manage_once(force=True)
    assert manager.in_use() == len(manager.held()) == 1
    (view,) = manager.view().foreign
    assert (view.client_id, view.node_id, view.state, view.value) == ("cp-1", "pc2", NodeState.FOREIGN, 0.75)
    assert "pc2" not in {node.node_id for node in manager.view().nodes}
    assert not [name for name, _ in manager._reach._shell.ran if name == "pc2"]


def test_a_teardown_gives_ours_back_by_name_and_leaves_the_sliver(make_manager, ledger):
    site = Cloudlab(OURS, SOMEBODYS)
    slurm = Slurm(Node("pc1", "IDLE"), Node("pc2", "IDLE"))
    manager = make_manager(site, slurm)
    manager.get_system_state()
    manager.orders.tear_down("ada", None)
    for _ in range(3):
        cycle(manager)
    assert site.asked == [("delete", OURS.cm, ("node-1",))]
    assert site.machines == [SOMEBODYS]
    assert "the teardown is complete: nothing is held" in [e.message for e in ledger.events(newest=1000)]


@FOREIGN
def test_with_the_setting_its_node_is_drained_and_nothing_else_is_done_to_it(make_manager, foreign):
    manager, slurm, site = world(make_manager, foreign, drain=DrainSettings(foreign=True))
    manager.memory.drains.remove(manager.memory.drains.wishes["", "pc2"])
    for _ in range(3):
        cycle(manager)
    assert {act for act, *names in slurm.acts if "pc2" in names} <= {"drain", "comment_all", "requeue_all"}
    assert slurm.nodes["pc2"].draining
    assert {name for name, _ in manager._reach._shell.ran} <= {"pc1"}
    assert site.machines == [foreign]
    assert not manager.revocations["", "pc2"].releasable


def test_its_node_is_the_one_that_slurm_has_by_either_of_its_names(make_manager):
    named = replace(SOMEBODYS, node_id="pc2", client_id="cp-1")
    slurm = slurm_with_jobs("cp-1")
    manager = make_manager(Cloudlab(named), slurm, drain=DrainSettings(foreign=True))
    manager.revocations["", "pc2"] = Revocation("pc2", "cp-1", NOW, NOW, NOW)
    manager.get_system_state()
    manager.drainer.tick()
    assert slurm.nodes["cp-1"].draining


def test_a_node_that_was_drained_for_another_is_given_back_when_cloudlab_withdraws(make_manager):
    slurm = Slurm(Node("pc2", "IDLE"))
    manager = make_manager(Cloudlab(SOMEBODYS), slurm, drain=DrainSettings(foreign=True))
    manager.revocations["", "pc2"] = Revocation("pc2", "cp-1", NOW + timedelta(hours=1), NOW, NOW)
    manager.get_system_state()
    manager.drainer.tick()
    assert slurm.nodes["pc2"].draining
    manager.drop_revocation(("", "pc2"))
    manager.get_system_state()
    manager.drainer.tick()
    assert not slurm.nodes["pc2"].draining
