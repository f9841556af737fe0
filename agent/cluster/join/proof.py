"""Which new machines may still show that they are of use, and of which nothing is to be learnt. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.cluster.drain.wanted import drains_of
from agent.cluster.moment import Moment
from agent.cluster.reasons import is_ours
from agent.core.model import SliverNode
from agent.slurm.model import Node


def may_prove(moment: Moment, machines: Iterable[SliverNode]) -> bool:
    """Tell whether one of these machines may still join and become usable.

    One that somebody wants empty is not joined, and one that is at work and not usable waits for a person:
    what becomes of either may be known in weeks.

    Args:
        moment: now.
        machines: some that are starting, or ready and not of use yet.
    """
    leaving = drains_of(moment).keys()
    names = [name for name in map(moment.name, machines) if name not in leaving]
    return any(not _waits(moment.nodes.get(name)) for name in names)


def _waits(node: Node | None) -> bool:
    if node is None or not node.at_work or node.usable:
        return False
    # A drain of ours that nobody wants any more, such as that of an earlier machine, is about to be lifted.
    return not (node.draining and is_ours(node.reason))


def set_aside(moment: Moment) -> tuple[SliverNode, ...]:
    """Return the machines that have come to Slurm, and that a person has drained.

    When they are resumed, that proves nothing of machines that come then, nor does a later fault of theirs.
    """
    return tuple(
        moment.machines[name]
        for name in sorted(moment.joined)
        if (node := moment.nodes[name]).at_work and node.draining and _is_persons(moment, name, node)
    )


def _is_persons(moment: Moment, name: str, node: Node) -> bool:
    """Tell whether a person drained a node, in Slurm or by asking us."""
    return not is_ours(node.reason) or moment.wish_for(moment.machines[name]) is not None
