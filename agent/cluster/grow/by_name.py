"""Which machines come for the nodes that Slurm's power saving asks for by name: a pure decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Moment
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.slurm.gres import offered_gres, parse_gres, take_gres
from agent.slurm.model import Node


def offers_for(node: Node, offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the types of machine that can be what slurm.conf says of a node, preferred first.

    Its features have to be among the node's, and the node may not be larger. Where one type alone is
    borrowed, every node gets that.
    """
    if len(offers) == 1:
        return tuple(offers)
    return tuple(offer for offer in offers if _can_be(node, offer))


def _can_be(node: Node, offer: Offer) -> bool:
    try:
        has_gres = take_gres(offered_gres(offer.gres), parse_gres(node.gres)) is not None
    except ValueError:
        has_gres = False
    return (
        offer.features <= node.features
        and node.cpus <= offer.cpus
        and (offer.memory is None or node.memory <= offer.memory)
        and has_gres
    )


def lacking(moment: Moment) -> dict[str, tuple[str, ...]] | None:
    """Return the nodes that Slurm powers up and that no machine is behind, held or asked for.

    Returns:
        Node name -> the hardware types that its machine may have, preferred first; none where no type is
        like it. None in all where no node is left to Slurm's power saving.
    """
    names = moment.settings.join.power_names
    if not names:
        return None
    requested = {intent.client_id for intent in moment.slice.requested}
    wanting = (
        moment.nodes[name]
        for name in sorted(names & moment.nodes.keys())
        if is_waking(moment.nodes[name]) and name not in moment.present and name not in requested
    )
    offers = moment.settings.demand.offers()
    return {node.name: tuple(offer.type for offer in offers_for(node, offers)) for node in wanting}


def is_waking(node: Node) -> bool:
    """Tell whether Slurm powers a node up."""
    return "POWERING_UP" in node.flags and node.state != "DOWN"


def grow_by_name(supply: Supply, settings: DemandSettings) -> GrowthPlan:
    """Decide which of the nodes that lack a machine get one: within ``max_nodes``, and what CMs can spare."""
    wanting = supply.lacking or {}
    most = {offer.type: offer.max_nodes for offer in settings.offers()}
    served: dict[str, str] = {}
    refused: dict[str, str] = {}
    taken: Counter[str] = Counter()

    def against(kind: str) -> str:
        if supply.count + len(served) >= settings.max_nodes:
            return "max_nodes is reached"
        if supply.count_of(kind) + taken[kind] >= most[kind]:
            return f"max_nodes of {kind} is reached"
        # While no CM was read it is not known what it can spare: that is no reason to give a node up.
        if supply.spare is not None and taken[kind] >= supply.spare.get(kind, len(wanting)):
            return "no CM can spare a machine now"
        return ""

    for name, kinds in wanting.items():
        reasons_against = [against(kind) for kind in kinds]
        if "" in reasons_against:
            kind = kinds[reasons_against.index("")]
            served[name] = kind
            taken[kind] += 1
        else:
            refused[name] = next(iter(reasons_against), "no type of machine in [demand] is like it")
    reasons = [f"Slurm powers {', '.join(served)} up"] if served else []
    reasons += [f"{name}: {why}" for name, why in refused.items()]
    return GrowthPlan(len(served), tuple(reasons), taken, names=served, refused=refused)
