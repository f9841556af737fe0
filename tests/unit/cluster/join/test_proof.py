"""What may still prove itself while growth is stopped, and what tells nothing of new machines."""

from dataclasses import replace

import pytest

from agent.cluster.join.proof import may_prove, set_aside
from agent.cluster.settings.demand import DemandSettings
from agent.core.model import AdminDrain
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, Cloudlab, Slurm, a_machine, a_moment

ONE = a_machine(1)
DRAINED = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="new disk")


@pytest.mark.parametrize(
    ("nodes", "may"),
    [
        ([], True),
        ([Node("pc1", "UNKNOWN")], True),
        ([Node("pc1", "DOWN")], True),
        ([Node("pc1", "IDLE")], True),
        ([DRAINED], False),
        ([replace(DRAINED, reason="esagent: surplus, to be given back, sliver 0")], True),
    ],
)
def test_a_machine_may_prove_itself_until_slurm_has_it_at_work_and_unusable(nodes, may):
    assert may_prove(a_moment(*nodes, machines=[ONE]), [ONE]) is may


def test_one_that_somebody_wants_empty_will_not_prove_itself():
    wish = {("", "pc1"): AdminDrain("pc1", "new disk", "ada", NOW)}
    assert not may_prove(a_moment(machines=[ONE], admin=wish), [ONE])
    assert not may_prove(a_moment(machines=[ONE], chosen=frozenset({"pc1"})), [ONE])
    assert may_prove(a_moment(machines=[ONE, a_machine(2)], admin=wish), [ONE, a_machine(2)])
    assert not may_prove(a_moment(), [])


def test_what_a_person_drained_tells_nothing_and_what_the_agent_drained_may_yet():
    ours = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="esagent: surplus, to be given back")
    away = Node("pc1", "DOWN", frozenset({"DRAIN", "NOT_RESPONDING"}), reason="new disk")
    assert set_aside(a_moment(DRAINED, machines=[ONE])) == (ONE,)
    assert set_aside(a_moment(ours, machines=[ONE])) == ()
    wish = {("", "pc1"): AdminDrain("pc1", "new disk", "ada", NOW)}
    assert set_aside(a_moment(ours, machines=[ONE], admin=wish)) == (ONE,)
    for node in (away, Node("pc1", "IDLE")):
        assert set_aside(a_moment(node, machines=[ONE])) == ()


def stop_growth(manager, clock):
    for n in range(3):
        manager.brake.failed(f"pc{n + 7}", "it did not join", UTAH)
    assert manager.brake.allowance() == 0
    clock.advance(600)


def test_growth_is_probed_though_a_machine_is_drained_since_before_the_restart(make_manager, clock):
    slurm = Slurm(DRAINED)
    manager = make_manager(Cloudlab(ONE), slurm, demand=DemandSettings(min_hold=0))
    manager.get_system_state()
    manager.join_nodes()
    stop_growth(manager, clock)
    assert manager.brake.allowance() == 1
    slurm.nodes["pc1"] = Node("pc1", "IDLE")
    manager.get_system_state()
    manager.join_nodes()
    assert manager.brake.words(), "an old machine that is resumed tells nothing of new ones"


def test_a_new_machine_that_a_person_drains_neither_holds_the_probe_up_nor_counts_when_it_is_resumed(
    make_manager, clock
):
    site, slurm = Cloudlab(), Slurm(DRAINED)
    manager = make_manager(site, slurm, demand=DemandSettings(min_hold=0))
    site.machines = [ONE]
    with manager._slivers.at(ONE.cm):
        manager._slivers.read(ONE.cm)
    next(iter(manager._slivers.book._machines[ONE.cm].values())).new = True
    manager.update_sliver_status(force=True)
    manager.get_system_state()
    manager.join_nodes()
    stop_growth(manager, clock)
    assert manager.brake.allowance() == 1
    slurm.nodes["pc1"] = Node("pc1", "IDLE")
    manager.get_system_state()
    manager.join_nodes()
    assert manager.brake.words()
