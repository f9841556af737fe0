"""What the agent shows of its machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from agent.cluster.drain.wanted import drains_of
from agent.cluster.moment import Moment
from agent.core.estimates import ForJobs
from agent.core.model import Intent, SliverNode
from agent.core.views import NodeState, NodeView


def node_views(moment: Moment) -> tuple[NodeView, ...]:
    """Draw one picture a machine, those included that are in no manifest yet or no more."""
    drains = drains_of(moment)
    machines = {**moment.doubted, **moment.machines}
    held = tuple(
        NodeView(
            node=name,
            node_id=machine.node_id,
            client_id=machine.client_id,
            cm=machine.cm,
            state=_state(name, machine, moment, emptied=name in drains or _is_wanted_empty(machine, moment)),
            value=said.value if (said := moment.slice.value_of(machine)) else None,
            weight=moment.nodes[name].weight if name in moment.nodes else None,
            due=drains[name].deadline if name in drains else None,
            jobs=(asked_for := moment.asked_for.get((machine.cm, machine.client_id), ForJobs())).jobs,
            more_jobs=asked_for.more,
        )
        for name, machine in sorted(machines.items())
    )
    return held + coming_views(moment.slice.requested, machines.values(), moment.ahead, moment.asked_for)


def foreign_views(moment: Moment) -> tuple[NodeView, ...]:
    """Draw one picture for each machine of the slice that is not ours."""
    facts = moment.slice
    names = {machine: name for name, machine in moment.foreign.items()}
    return tuple(
        NodeView(
            node=(name := names.get(machine, machine.client_id)),
            node_id=machine.node_id,
            client_id=machine.client_id,
            cm=machine.cm,
            state=NodeState.FOREIGN,
            value=said.value if (said := facts.value_of(machine)) else None,
            weight=moment.nodes[name].weight if name in moment.nodes else None,
            due=due.deadline if (due := facts.revocation_of(machine) or facts.ending_of(machine)) else None,
        )
        for machine in sorted(facts.foreign, key=lambda machine: (machine.cm, machine.client_id))
    )


def coming_views(
    asked: Iterable[Intent],
    machines: Iterable[SliverNode],
    ahead: timedelta = timedelta(),
    jobs: Mapping[tuple[str, str], ForJobs] | None = None,
) -> tuple[NodeView, ...]:
    """Draw one picture for each machine that was asked for and is in no manifest yet.

    Args:
        asked: what was asked for and is not settled.
        machines: those that are held.
        ahead: how far the wall clock is ahead of the steady one.
        jobs: (CM, client_id) -> which jobs it was asked for.
    """
    held = {(machine.cm, machine.client_id) for machine in machines}
    return tuple(
        NodeView(
            *(i.client_id, "", i.client_id, i.cm, NodeState.REQUESTED),
            asked=i.asked + ahead,
            jobs=(asked_for := (jobs or {}).get((i.cm, i.client_id), ForJobs())).jobs,
            more_jobs=asked_for.more,
        )
        for i in sorted(asked, key=lambda i: (i.asked, i.client_id))
        if (i.cm, i.client_id) not in held
    )


def _is_wanted_empty(machine: SliverNode, moment: Moment) -> bool:
    """Tell it of a machine that the last manifest lacks too, which is not drained meanwhile."""
    facts = moment.slice
    said = facts.revocation_of(machine) or facts.ending_of(machine) or moment.wish_for(machine)
    return said is not None or moment.torn_down_by(machine) is not None


def _state(name: str, machine: SliverNode, moment: Moment, *, emptied: bool) -> NodeState:
    status, node = moment.slice.statuses.get(machine.key), moment.nodes.get(name)
    revocation = moment.slice.revocation_of(machine)
    if name in moment.emptied or (revocation is not None and revocation.releasable):
        return NodeState.RELEASED
    if node is not None and node.draining:
        return NodeState.DRAINED if node.drained else NodeState.DRAINING
    if emptied:
        return NodeState.DRAINING
    if node is not None and node.usable:
        return NodeState.JOINED
    if status is not None and status.failed:
        return NodeState.FAILED
    return NodeState.READY if status is not None and status.ready else NodeState.BOOTING
