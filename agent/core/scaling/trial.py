"""New machines on trial: what follows when one is ready, of use, or failed."""

from __future__ import annotations

from collections.abc import Callable

from agent.core.desk import Desk
from agent.core.model import SliverNode
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.placement import Placement
from agent.core.slice.machines import Machine
from agent.core.slice.slivers import Slivers


class Trial:
    """Draws the conclusions from the fate of machines.

    Args:
        desk: the manager's.
        slivers: what the CMs hold.
        placement: leaves a type alone that fails.
        brake: stops growth when machines fail one after the other.
        booted: told of each machine that is ready.
    """

    def __init__(
        self,
        desk: Desk,
        slivers: Slivers,
        placement: Placement,
        brake: GrowthBrake,
        booted: Callable[[SliverNode], object],
    ) -> None:
        self._desk = desk
        self._slivers = slivers
        self._placement = placement
        self._brake = brake
        self._booted = booted

    def settled(self, machine: Machine) -> bool:
        """Take note of what became of a machine; return whether it is to be given back."""
        node = machine.node
        if machine.fate == "ready":
            self._placement.worked(node.cm, node.hardware_type)
            self._booted(node)
            return False
        if not machine.proven:
            self._brake.failed(node.node_id, machine.reason, node.cm)
        if node.hardware_type:
            self._placement.pause(node.cm, node.hardware_type, self._desk.clock.steady(), machine.reason)
        return True

    def prove(self, node: SliverNode) -> None:
        """Take note that a machine is of use: growth goes on where the brake held it up."""
        if self.excuse(node):
            self._brake.worked(node.node_id)

    def excuse(self, node: SliverNode) -> bool:
        """Take note that nothing is to be learnt of a machine any more; False where that was so before."""
        with self._desk.lock:
            return self._slivers.book.prove(node)
