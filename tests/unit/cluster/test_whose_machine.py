"""A machine that may not be touched: nothing that is done anywhere reaches it, its node or its jobs."""

from datetime import timedelta

import pytest

from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdminDrain, ResourceValue, Revocation
from agent.core.slice.machines import MachineBook
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_machine

OURS, NOT_OURS = a_machine(1), a_machine(2)


@pytest.fixture
def _one_is_not_ours(monkeypatch):
    before = MachineBook.may_touch
    monkeypatch.setattr(MachineBook, "may_touch", lambda self, n: n != NOT_OURS and before(self, n))


def world(make_manager):
    slurm = Slurm(*(Node(name, "ALLOCATED", weight=1) for name in ("pc1", "pc2")))
    slurm.jobs = [
        Job(name, "RUNNING", nodes=frozenset({name}), ends=NOW + timedelta(hours=5))
        for name in ("pc1", "pc2")
    ]
    site = Cloudlab(OURS, NOT_OURS)
    manager = make_manager(site, slurm)
    for machine in (OURS, NOT_OURS):
        name = machine.node_id
        manager.resource_values[name] = ResourceValue(name, 1.0, NOW)
        manager.revocations[name] = Revocation(name, machine.client_id, NOW, NOW, NOW)
        manager.memory.drains.put(AdminDrain(name, "a look", "bob", NOW, NOW))
        manager.memory.chosen.empty(name)
        manager.memory.chosen.choose(name)
        manager.give_up(machine, "it does not join")
    return manager, slurm, site


@pytest.mark.usefixtures("_one_is_not_ours")
def test_no_act_reaches_a_machine_that_is_not_ours_its_node_or_its_jobs(make_manager):
    manager, slurm, site = world(make_manager)
    for _ in range(3):
        manager.manage_once(force=True)
        manager.drainer.tick()
    assert {name for _, *names in slurm.acts for name in names} == {"pc1"}
    assert slurm.nodes["pc2"] == Node("pc2", "ALLOCATED", weight=1)
    assert {name for name, _ in manager._reach._shell.ran} <= {"pc1"}
    assert [machine.node_id for machine in site.machines] == ["pc2"]
    assert NOT_OURS.node_id not in {node.node_id for node in manager.view().nodes}


def test_both_are_acted_on_where_both_are_ours(make_manager):
    manager, slurm, _ = world(make_manager)
    manager.manage_once(force=True)
    manager.drainer.tick()
    assert {name for _, *names in slurm.acts for name in names} == {"pc1", "pc2"}


@pytest.mark.usefixtures("_one_is_not_ours")
def test_no_command_is_run_there_whoever_asks_for_it(make_manager):
    manager, *_ = world(make_manager)
    assert manager._reach.run(NOT_OURS, ["true"], 1.0).error == "it is not ours any more"
    assert manager._reach.run(OURS, ["true"], 1.0).ok


@pytest.mark.usefixtures("_one_is_not_ours")
@pytest.mark.parametrize("names", ["predeclared", "power_nodes"])
def test_its_node_is_not_taken_for_one_without_a_machine(make_manager, names):
    join = JoinSettings(mode="cloud", node_name="client_id", **{names: "node-[1-2]"})
    asleep = Node("node-2", "DOWN", frozenset({"POWERED_DOWN"}), reason="esagent: no machine behind it")
    nodes = {"predeclared": Node("node-2", "IDLE"), "power_nodes": asleep}
    slurm = Slurm(Node("node-1", "IDLE"), nodes[names])
    manager = make_manager(Cloudlab(OURS, NOT_OURS), slurm, join=join)
    for _ in range(2):
        manager.manage_once(force=True)
    assert "node-2" not in {name for _, *names in slurm.acts for name in names}
