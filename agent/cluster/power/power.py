"""Slurm's own power saving (slurm.conf(5), State=CLOUD): which nodes want a machine, and which may go. Pure.

What Slurm asked for is read from its node states, not from the calls of ResumeProgram: a call that is lost,
or an agent that starts in the middle, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agent.cluster.drain.wanted import drains_of
from agent.cluster.grow.by_name import is_waking
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Moment
from agent.cluster.reasons import FAILED, is_ours
from agent.cluster.shrink.surplus import NodeVerdict
from agent.slurm.model import Node

_TIMEOUT = "ResumeTimeout reached"
"""Reason= that Slurm gives a node whose slurmd did not register in time."""
_ASLEEP = frozenset({"POWERED_DOWN", "POWERING_DOWN"})


@dataclass(frozen=True)
class PowerPlan:
    """What Slurm is to be told about nodes without a machine."""

    fail: Mapping[str, str] = field(default_factory=dict)
    """Node name -> why no machine comes: Slurm need not wait for ResumeTimeout."""
    sleep: tuple[str, ...] = ()
    """Down without a machine, and awake: they are to be powered down."""
    restore: tuple[str, ...] = ()
    """Powered down: they may be resumed again."""


def power_surplus(moment: Moment) -> tuple[NodeVerdict, ...]:
    """Decide which of our machines may go: those whose nodes Slurm sent to sleep, or gave up."""
    verdicts = []
    serving = moment.joined - drains_of(moment).keys()
    for name in sorted(serving & moment.settings.join.power_names):
        node = moment.nodes[name]
        given_up = node.state == "DOWN" and node.reason.startswith((_TIMEOUT, FAILED))
        goes = bool(node.flags & _ASLEEP) or given_up
        verdicts.append(NodeVerdict(name, goes, f"Slurm says {node.words}"))
    return tuple(verdicts)


def plan_power(moment: Moment, supply: Supply, growth: GrowthPlan) -> PowerPlan:
    """Decide what Slurm is told; nothing where [join] power_nodes names none.

    Args:
        moment: what is known.
        supply: says which nodes lack a machine.
        growth: says which of those get none.
    """
    names, nodes, snapshot = moment.settings.join.power_names, moment.nodes, moment.snapshot
    if supply.lacking is None or snapshot is None:
        return PowerPlan()
    held_up = moment.held_up or _refused(moment)
    since, now = moment.history.forsaken_since if moment.history else {}, moment.read_at
    retry = timedelta(seconds=moment.settings.join.power_retry)
    fail = {}
    for name in supply.lacking:
        if held_up:
            fail[name] = held_up
        elif name in growth.refused:
            fail[name] = growth.refused[name]
    for name in moment.failed & names & nodes.keys():
        if is_waking(nodes[name]):
            fail[name] = "its machine failed"
    sleep, restore = [], []
    for name in sorted(names & nodes.keys() - moment.present - fail.keys()):
        node = nodes[name]
        if not is_forsaken(node):
            continue
        if not node.flags & _ASLEEP:
            sleep.append(name)
        elif "POWERED_DOWN" in node.flags:
            waits = node.state == "DOWN" and node.reason.startswith((_TIMEOUT, FAILED))
            if not waits or now - since.get(name, now) >= retry:
                restore.append(name)
    return PowerPlan(fail, tuple(sleep), tuple(restore))


def _refused(moment: Moment) -> str:
    """Say that no CM is asked for now, since none had a machine just now; "" where one is."""
    return "Cloudlab has none now" if moment.slice.exhausted >= frozenset(moment.slice.cms) else ""


def is_forsaken(node: Node) -> bool:
    """Tell whether a node is out of service by our doing, or by Slurm's when a machine did not come."""
    out = node.state == "DOWN" or node.draining
    return out and (is_ours(node.reason) or node.reason.startswith(_TIMEOUT))


def still_forsaken(moment: Moment) -> dict[str, datetime]:
    """Return since when each node that is left to Slurm's power saving is seen out of service like that."""
    if moment.snapshot is None:
        return {}
    earlier = moment.history.forsaken_since if moment.history else {}
    names = moment.settings.join.power_names & moment.nodes.keys()
    forsaken = (name for name in names if is_forsaken(moment.nodes[name]))
    return {name: earlier.get(name, moment.read_at) for name in forsaken}
