"""A machine that one manifest lacks: it counts, and nothing is done about it, its node or its jobs."""

from datetime import timedelta

import pytest

from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.ownership import Ownership
from agent.core.said import Revocation
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, Cloudlab, Slurm, a_machine, free_machine

ONE, TWO = a_machine(1), a_machine(2)
WAITING = Job("7", "PENDING", reason="Resources", submitted=NOW - timedelta(hours=1))


def doubt(manager, site, *lacked):
    """Let one manifest lack these machines."""
    there = site.machines
    site.machines = [m for m in there if m not in lacked]
    manager.update_sliver_status()
    site.machines = there


@pytest.mark.parametrize("lacked", [(TWO,), (ONE, TWO)], ids=["one", "all"])
def test_no_other_is_asked_for_in_its_place(make_manager, lacked):
    site = Cloudlab(ONE, TWO, free=[free_machine(n) for n in range(10, 14)])
    slurm = Slurm(Node("pc1", "ALLOCATED"), Node("pc2", "ALLOCATED"), jobs=[WAITING])
    demand = DemandSettings(max_nodes=2, grow_after=0)
    manager = make_manager(site, slurm, demand=demand)
    doubt(manager, site, *lacked)
    manager.get_system_state()
    assert manager.last_plan.supply.count == 2
    manager.add_nodes()
    assert site.asked == []
    manager.clock.advance(15)
    doubt(manager, site, *lacked)
    manager.get_system_state()
    assert manager.last_plan.supply.count == 2 - len(lacked), "known to be gone by now"


@pytest.mark.parametrize("join", [JoinSettings(), JoinSettings(mode="cloud", predeclared="pc[1-2]")])
@pytest.mark.parametrize("state", ["IDLE", "ALLOCATED"])
def test_neither_its_node_nor_its_jobs_are_touched(make_manager, join, state):
    site = Cloudlab(ONE, TWO)
    runs = [Job("1", "RUNNING", nodes=frozenset({"pc2"}))] if state == "ALLOCATED" else []
    slurm = Slurm(Node("pc1", "IDLE"), Node("pc2", state), jobs=runs)
    manager = make_manager(site, slurm, join=join)
    manager.revocations[TWO.place] = Revocation("pc2", "", NOW + timedelta(hours=1), NOW, NOW, cm=UTAH)
    doubt(manager, site, TWO)
    manager.get_system_state()
    manager.drainer.tick()
    manager.remove_nodes()
    manager.set_system_state()
    assert [names for act, *names in slurm.acts if act != "set_weight" and "pc2" in names] == []
    assert not manager.revocations[TWO.place].releasable
    assert manager._reach._shell.ran == []


def test_its_fence_stays(make_manager):
    site = Cloudlab(ONE, TWO)
    slurm = Slurm(Node("pc1", "IDLE"), Node("pc2", "IDLE"))
    manager = make_manager(site, slurm, drain=DrainSettings(fence=True))
    manager.get_system_state()
    assert manager.memory.wishes().fences is not None
    doubt(manager, site, TWO)
    assert manager.memory.wishes().fences is None


def test_slurms_power_saving_is_told_nothing_of_its_node(make_manager):
    site = Cloudlab(ONE)
    join = JoinSettings(power_nodes="node-[1-2]", node_name="client_id", mode="cloud")
    slurm = Slurm(Node("node-1", "IDLE", frozenset({"POWERING_UP"})))
    manager = make_manager(site, slurm, join=join, ownership=Ownership(given=frozenset({"node-1"})))
    doubt(manager, site, ONE)
    manager.get_system_state()
    assert manager.last_plan.supply.lacking == {}
    assert slurm.acts == []


# --- a teardown


def told(ledger):
    return [event.message for event in ledger.events(newest=1000)]


def test_a_teardown_gives_no_sliver_back_for_one_manifest_without_machines(make_manager, ledger):
    site = Cloudlab(ONE, TWO)
    slurm = Slurm(Node("pc1", "IDLE"), jobs=[Job("1", "RUNNING", nodes=frozenset({"pc1"}))])
    manager = make_manager(site, slurm, ownership=Ownership(slice_is="ours"))
    manager.get_system_state()
    manager.orders.tear_down("ada", None)
    there, site.machines = site.machines, []
    manager.update_sliver_status()
    manager.delete_nodes()
    assert site.asked == []
    assert "the teardown is complete: nothing is held" not in told(ledger)
    site.machines = there
    manager.update_sliver_status()
    manager.delete_nodes()
    assert site.asked == []


def test_a_teardown_gives_an_empty_sliver_back_that_several_manifests_and_the_status_show_empty(
    make_manager, ledger
):
    site = Cloudlab(ONE)
    manager = make_manager(site, Slurm(), ownership=Ownership(slice_is="ours"))
    manager.get_system_state()
    manager.orders.tear_down("ada", None)
    site.machines = []
    for _ in range(3):
        manager.update_sliver_status()
        manager.clock.advance(15)
        manager.delete_nodes()
    assert ("delete sliver", UTAH, ()) in site.asked
    assert told(ledger).count("the teardown is complete: nothing is held") == 1
