"""New machines on trial: what follows when one is ready, of use, or failed."""

from __future__ import annotations

from typing import Any, Protocol

from agent.core.model import SliverNode
from agent.core.ports import Clock
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.placement import Placement
from agent.core.slice.machines import Machine
from agent.core.slice.slivers import Slivers


class Owner(Protocol):
    """What the manager gives."""

    rlock: Any

    def machine_booted(self, node: SliverNode) -> None:
        """Take note that a new machine is ready."""


class Trial:
    """Draws the conclusions from the fate of machines.

    Args:
        owner: the manager.
        slivers: what the CMs hold.
        placement: leaves a type alone that fails.
        brake: stops growth when machines fail one after the other.
        clock: time.
    """

    def __init__(
        self, owner: Owner, slivers: Slivers, placement: Placement, brake: GrowthBrake, clock: Clock
    ) -> None:
        self._owner = owner
        self._slivers = slivers
        self._placement = placement
        self._brake = brake
        self._clock = clock

    def settled(self, machine: Machine) -> bool:
        """Take note of what became of a machine; return whether it is to be given back."""
        node = machine.node
        if machine.fate == "ready":
            self._placement.worked(node.cm, node.hardware_type)
            self._owner.machine_booted(node)
            return False
        if not machine.proven:
            self._brake.failed(node.node_id, machine.reason)
        if node.hardware_type:
            self._placement.pause(node.cm, node.hardware_type, self._clock.now(), machine.reason)
        return True

    def prove(self, node: SliverNode) -> None:
        """Take note that a machine is of use: growth goes on where the brake held it up."""
        with self._owner.rlock:
            new = self._slivers.book.prove(node)
        if new:
            self._brake.worked(node.node_id)
