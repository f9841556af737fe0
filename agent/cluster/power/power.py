"""Slurm's own power saving (slurm.conf(5), State=CLOUD): which nodes want a machine, and which may go. Pure.

What Slurm asked for is read from its node states, not from the calls of ResumeProgram: a call that is lost,
or an agent that starts in the middle, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.reasons import FAILED, is_ours
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.cluster.shrink.surplus import NodeVerdict
from agent.slurm.gres import parse_gres, take_gres
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


def offer_for(node: Node, offers: Sequence[Offer]) -> Offer | None:
    """Return the first type of machine that can be what slurm.conf says of a node; None where none can.

    Its features have to be among the node's, and the node may not be larger. Where one type alone is
    borrowed, every node gets that.
    """
    if len(offers) == 1:
        return offers[0]
    return next((offer for offer in offers if _can_be(node, offer)), None)


def _can_be(node: Node, offer: Offer) -> bool:
    try:
        has_gres = take_gres(parse_gres(offer.gres), parse_gres(node.gres)) is not None
    except ValueError:
        has_gres = False
    return (
        offer.features <= node.features
        and node.cpus <= offer.cpus
        and (offer.memory is None or node.memory <= offer.memory)
        and has_gres
    )


def lacking(
    picture: Picture, names: Collection[str], requested: Collection[str], offers: Sequence[Offer]
) -> dict[str, str | None]:
    """Return the nodes that Slurm powers up and that no machine is behind, held or asked for.

    Returns:
        Node name -> the hardware type of its machine; None where no type is like it.
    """
    nodes = picture.snapshot.nodes
    wanting = (
        nodes[name]
        for name in sorted(names)
        if name in nodes
        and _is_waking(nodes[name])
        and name not in picture.machines
        and name not in requested
    )
    found = {node.name: offer_for(node, offers) for node in wanting}
    return {name: None if offer is None else offer.type for name, offer in found.items()}


def grow_by_name(supply: Supply, settings: DemandSettings) -> GrowthPlan:
    """Decide which of the nodes that lack a machine get one: within ``max_nodes``, and what CMs can spare."""
    most = {offer.type: offer.max_nodes for offer in settings.offers()}
    served: dict[str, str] = {}
    refused: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for name, kind in (supply.lacking or {}).items():
        if kind is None:
            refused[name] = "no type of machine in [demand] is like it"
        elif supply.count + len(served) >= settings.max_nodes:
            refused[name] = "max_nodes is reached"
        elif supply.held.get(kind, 0) + taken[kind] >= most[kind]:
            refused[name] = f"max_nodes of {kind} is reached"
        # While no CM was read it is not known what it can spare: that is no reason to give a node up.
        elif supply.spare is not None and taken[kind] >= supply.spare.get(kind, len(supply.lacking or ())):
            refused[name] = "no CM can spare a machine now"
        else:
            served[name] = kind
            taken[kind] += 1
    reasons = [f"Slurm powers {', '.join(served)} up"] if served else []
    reasons += [f"{name}: {why}" for name, why in refused.items()]
    return GrowthPlan(len(served), tuple(reasons), taken, names=served, refused=refused)


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
        if _is_waking(nodes[name]):
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


def _is_waking(node: Node) -> bool:
    return "POWERING_UP" in node.flags and node.state != "DOWN"


def is_forsaken(node: Node) -> bool:
    """Tell whether a node is out of service by our doing, or by Slurm's when a machine did not come."""
    out = node.state == "DOWN" or node.draining
    return out and (is_ours(node.reason) or node.reason.startswith(_TIMEOUT))


def still_forsaken(
    nodes: Iterable[Node], earlier: Mapping[str, datetime], now: datetime
) -> dict[str, datetime]:
    """Return since when each of these nodes is seen out of service like that."""
    return {node.name: earlier.get(node.name, now) for node in nodes if is_forsaken(node)}
