"""What the agent shows of its machines: a picture of what it knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.known import Known
from agent.cluster.reasons import Drain
from agent.cluster.wishes.orders import Orders
from agent.core.model import (
    AgentView,
    Intent,
    NodeState,
    NodeStatus,
    NodeView,
    ResourceValue,
    Revocation,
    SliverNode,
)
from agent.core.scaling.brake import GrowthBrake
from agent.core.slice.inventory import Inventory
from agent.slurm.model import Snapshot


class Holder(Protocol):
    """What the manager knows of Cloudlab, and decided."""

    rlock: Any
    brake: GrowthBrake
    growth: GrowthPlan | None
    inventory: Inventory
    resource_values: dict[str, ResourceValue]
    revocations: dict[str, Revocation]

    @property
    def slice_expires(self) -> datetime | None:
        """Until when the slice lasts at the SA; None while unknown."""

    @property
    def last_success(self) -> dict[str, datetime]:
        """Step -> when it last went well."""

    def requested(self, cm: str | None = None) -> list[Intent]:
        """List the machines that were asked for and have not been seen yet."""


class Viewer:
    """Shows what the agent knows, from memory, to any thread.

    Args:
        holder: the manager.
        known: the moment.
        giveback: which nodes are surplus.
        orders: what administrators ask for.
        backoffs: tells (CM, why) -> whether it is asked for less.
        orphans: tells (machines at Cloudlab, nodes in Slurm) that are left over.
    """

    def __init__(
        self,
        holder: Holder,
        known: Known,
        giveback: GiveBack,
        orders: Orders,
        *,
        backoffs: Callable[[], Mapping[tuple[str, str], bool]],
        orphans: Callable[[], tuple[int, int]],
    ) -> None:
        self._holder = holder
        self._known = known
        self._giveback = giveback
        self._orders = orders
        self._backoffs = backoffs
        self._orphans = orphans

    def view(self) -> AgentView:
        """Draw a picture of the agent."""
        holder = self._holder
        at_cloudlab, in_slurm = self._orphans()
        return AgentView(
            nodes=self._nodes(),
            wanted=holder.growth.count if holder.growth else 0,
            slice_expires=holder.slice_expires,
            sliver_expires=holder.inventory.expires,
            last_success=dict(holder.last_success),
            growth_stopped=holder.brake.words(),
            paused=self._orders.hold is not None,
            backoffs=self._backoffs(),
            orphans={"cloudlab": at_cloudlab, "slurm": in_slurm},
        )

    def _nodes(self) -> tuple[NodeView, ...]:
        statuses = {
            node.sliver_id: node
            for status in self._holder.inventory.statuses.values()
            for node in status.nodes
        }
        with self._holder.rlock:
            machines = self._known.machines()
            held = node_views(
                machines,
                statuses,
                self._known.snapshot,
                self._known.wishes().drains,
                dict(self._holder.resource_values),
                dict(self._holder.revocations),
                self._giveback.emptied,
            )
            return held + coming_views(self._holder.requested(), machines.values())


def node_views(
    machines: Mapping[str, SliverNode],
    statuses: Mapping[str, NodeStatus],
    snapshot: Snapshot | None,
    drains: Mapping[str, Drain],
    values: Mapping[str, ResourceValue],
    revocations: Mapping[str, Revocation],
    emptied: Collection[str],
) -> tuple[NodeView, ...]:
    """Draw one picture a machine.

    Args:
        machines: node name -> machine.
        statuses: sliver_id -> its entry in SliverStatus.
        snapshot: what Slurm said last; None before the first reading.
        drains: node name -> what it is emptied for.
        values: node_id -> resource value.
        revocations: node_id -> revocation.
        emptied: names of surplus nodes that nothing is left on.
    """
    return tuple(
        NodeView(
            node=name,
            node_id=machine.node_id,
            client_id=machine.client_id,
            cm=machine.cm,
            state=_state(
                name,
                statuses.get(machine.sliver_id),
                snapshot,
                drains,
                released=name in emptied or _releasable(revocations.get(machine.node_id)),
            ),
            value=values[machine.node_id].value if machine.node_id in values else None,
            weight=snapshot.nodes[name].weight if snapshot and name in snapshot.nodes else None,
            due=_due(drains.get(name)),
        )
        for name, machine in sorted(machines.items())
    )


def coming_views(asked: Iterable[Intent], machines: Iterable[SliverNode]) -> tuple[NodeView, ...]:
    """Draw one picture for each machine that was asked for and is in no manifest yet.

    Args:
        asked: what was asked for and is not settled.
        machines: those that are held.
    """
    held = {(machine.cm, machine.client_id) for machine in machines}
    return tuple(
        NodeView(i.client_id, "", i.client_id, i.cm, NodeState.REQUESTED, asked=i.asked)
        for i in sorted(asked, key=lambda i: (i.asked, i.client_id))
        if (i.cm, i.client_id) not in held
    )


def _state(
    name: str,
    status: NodeStatus | None,
    snapshot: Snapshot | None,
    drains: Mapping[str, Drain],
    *,
    released: bool,
) -> NodeState:
    node = snapshot.nodes.get(name) if snapshot else None
    if released:
        return NodeState.RELEASED
    if node is not None and node.draining:
        return NodeState.DRAINED if node.drained else NodeState.DRAINING
    if name in drains:
        return NodeState.DRAINING
    if node is not None and node.usable:
        return NodeState.JOINED
    if status is not None and status.failed:
        return NodeState.FAILED
    return NodeState.READY if status is not None and status.ready else NodeState.BOOTING


def _releasable(revocation: Revocation | None) -> bool:
    return revocation is not None and revocation.releasable


def _due(drain: Drain | None) -> datetime | None:
    return drain.deadline if drain else None
