"""What the agent shows of its machines: a pure picture of what it knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from agent.core.model import NodeState, NodeStatus, NodeView, ResourceValue, Revocation, SliverNode
from agent.slurm.drain import Drain
from agent.slurm.model import Snapshot


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
