"""Slurm's own power saving (slurm.conf(5), State=CLOUD): what it is told, and which machines may go. Pure.

What Slurm asked for is read from its node states, not from the calls of ResumeProgram: a call that is lost,
or an agent that starts in the middle, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.grow.by_name import is_waking
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.reasons import FAILED, is_ours
from agent.cluster.shrink.surplus import NodeVerdict
from agent.slurm.model import Node

_TIMEOUT = "ResumeTimeout reached"
"""Reason= that Slurm gives a node whose slurmd did not register in time."""
_ASLEEP = frozenset({"POWERED_DOWN", "POWERING_DOWN"})


@dataclass(frozen=True)
class PowerPlan:
    """What Slurm is to be told about nodes without a machine."""

    fail: Mapping[str, str]
    """Node name -> why no machine comes: Slurm need not wait for ResumeTimeout."""
    sleep: tuple[str, ...]
    """Down without a machine, and awake: they are to be powered down."""
    restore: tuple[str, ...]
    """Powered down: they may be resumed again."""


def power_surplus(picture: Picture, names: Collection[str]) -> tuple[NodeVerdict, ...]:
    """Decide which of our machines may go: those whose nodes Slurm sent to sleep, or gave up."""
    verdicts = []
    for name in sorted(picture.serving & frozenset(names)):
        node = picture.snapshot.nodes[name]
        given_up = node.state == "DOWN" and node.reason.startswith((_TIMEOUT, FAILED))
        goes = bool(node.flags & _ASLEEP) or given_up
        verdicts.append(NodeVerdict(name, goes, f"Slurm says {node.words}"))
    return tuple(verdicts)


def plan_power(
    picture: Picture,
    *,
    names: Collection[str],
    supply: Supply,
    growth: GrowthPlan,
    held_up: str,
    failed: Collection[str],
    down_since: Mapping[str, datetime],
    retry_after: float,
    now: datetime,
) -> PowerPlan:
    """Decide what Slurm is told.

    Args:
        picture: the moment.
        names: nodes that Slurm's power saving asks us for.
        supply: says which of them lack a machine.
        growth: says which of those get one.
        held_up: why nothing is asked of Cloudlab; "" while it is.
        failed: names of nodes whose machines are of no use.
        down_since: name -> since when it is seen down without a machine.
        retry_after: seconds for which a node that failed stays down, so that Slurm does not try without end.
        now: time.
    """
    nodes = picture.snapshot.nodes
    fail = {}
    for name in supply.lacking or {}:
        if held_up:
            fail[name] = held_up
        elif name not in growth.names:
            fail[name] = growth.refused.get(name, "none can be had")
    for name in frozenset(failed) & frozenset(names) & nodes.keys():
        if is_waking(nodes[name]):
            fail[name] = "its machine failed"
    sleep, restore = [], []
    for name in sorted(frozenset(names) & nodes.keys() - picture.machines.keys() - fail.keys()):
        node = nodes[name]
        if not is_forsaken(node):
            continue
        if not node.flags & _ASLEEP:
            sleep.append(name)
        elif "POWERED_DOWN" in node.flags:
            waits = node.state == "DOWN" and node.reason.startswith((_TIMEOUT, FAILED))
            since = down_since.get(name, now)
            if not waits or now - since >= timedelta(seconds=retry_after):
                restore.append(name)
    return PowerPlan(fail, tuple(sleep), tuple(restore))


def is_forsaken(node: Node) -> bool:
    """Tell whether a node is out of service by our doing, or by Slurm's when a machine did not come."""
    out = node.state == "DOWN" or node.draining
    return out and (is_ours(node.reason) or node.reason.startswith(_TIMEOUT))


def still_forsaken(
    nodes: Iterable[Node], earlier: Mapping[str, datetime], now: datetime
) -> dict[str, datetime]:
    """Return since when each of these nodes is seen out of service like that."""
    return {node.name: earlier.get(node.name, now) for node in nodes if is_forsaken(node)}
