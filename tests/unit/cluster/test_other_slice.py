"""What is held in a slice that the agent kept before is shown, and nothing of it is touched."""

from datetime import timedelta

from agent.cluster.settings.join import JoinSettings
from agent.core.model import LeftBehind
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, Cloudlab, Slurm

LEFT = LeftBehind("urn:slice", UTAH, ("node-1",), expires=NOW + timedelta(hours=1), nodes=("node-1",))


def test_its_node_in_slurm_is_left_as_it_is(make_manager) -> None:
    slurm = Slurm(
        Node("node-1", "IDLE", booted=NOW, last_busy=NOW),
        Node("node-2", "IDLE", booted=NOW, last_busy=NOW),
        jobs=[Job("7", "PENDING", reason="Resources", submitted=NOW)],
    )
    join = JoinSettings(mode="cloud", node_name="client_id", predeclared="node-[1-2]")
    manager = make_manager(Cloudlab(), slurm, join=join, left_behind=(LEFT,))
    for _ in range(3):
        manager.manage_once(force=True)
        manager.drainer.tick()
    assert (slurm.nodes["node-1"].state, slurm.nodes["node-1"].reason) == ("IDLE", "")
    assert slurm.nodes["node-2"].state == "DOWN", "no machine is behind it"


def test_it_is_shown_until_its_lease_has_run_out(make_manager, clock) -> None:
    manager = make_manager(Cloudlab(), Slurm(), left_behind=(LEFT,))
    assert manager.view().left_behind == (LEFT,)
    assert manager.in_use() == 0
    clock.advance(3600)
    assert manager.view().left_behind == ()
