"""The nodes that Slurm's power saving wants machines for, and which of them get one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.slurm.gres import parse_gres, take_gres
from agent.slurm.model import Node


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
        if name in nodes and is_waking(nodes[name]) and name not in picture.machines and name not in requested
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


def is_waking(node: Node) -> bool:
    """Tell whether Slurm powers a node up, and waits for its machine."""
    return "POWERING_UP" in node.flags and node.state != "DOWN"
