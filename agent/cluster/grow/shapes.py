"""What a machine of each type gives: what came of it, else what slurm.conf or [demand] says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from agent.cluster.moment import Moment
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.cluster.shape import MachineShape, least, shape_of_node
from agent.slurm.gres import offered_gres, take_gres
from agent.slurm.model import Node

NEWEST = 3
"""Machines of a type that it is learnt from, at most: an image that is new changes it within so many."""


def learn(moment: Moment) -> dict[str, MachineShape]:
    """Return what is known of each hardware type after a reading of Slurm.

    Of machines that differ each number is the least of the newest ones'. What is known of a type stays while
    none of its machines is at work. Where [demand] says something else of it by now, only one that came later
    counts: so a new image can be told of before its first machine is there.

    Returns:
        Hardware type -> what Slurm saw of it; with ``machine_types`` of the moment in it.
    """
    said = {offer.type: words_of(offer) for offer in moment.settings.demand.offers()}
    seen: dict[str, list[MachineShape]] = {}
    for name in moment.joined:
        machine, node = moment.machines[name], moment.nodes[name]
        if machine.hardware_type and _is_told(node) and not moment.is_of_another(name):
            shape = shape_of_node(node, (machine.node_id, machine.client_id))
            seen.setdefault(machine.hardware_type, []).append(shape)
    known = dict(moment.machine_types)
    for kind, shapes in seen.items():
        words = said.get(kind, said.get("", ""))
        before = known.get(kind)
        is_new = before is None or before.said in {"", words}
        counting = [shape for shape in shapes if is_new or (before and shape.newest > before.newest)]
        if counting:
            newest = sorted(counting, key=attrgetter("newest"), reverse=True)[:NEWEST]
            known[kind] = replace(least(newest), said=words)
    return known


def _is_told(node: Node) -> bool:
    """Tell whether its slurmd registered, so that its record is more than what slurm.conf says."""
    return node.at_work and node.booted is not None and node.cpus > 0


def offers_of(moment: Moment) -> tuple[Offer, ...]:
    """Return what can be borrowed, preferred first, as far as it is known: what plans go by."""
    settings = moment.settings.demand
    return tuple(
        offer if shape is None else _overlaid(offer, shape)
        for offer, shape in zip(settings.offers(), _shapes(moment, settings), strict=True)
    )


def _shapes(moment: Moment, settings: DemandSettings) -> list[MachineShape | None]:
    declared = _declared(moment, settings)
    held = {machine.hardware_type for machine in moment.machines.values()}
    return [
        came_of(offer, moment.machine_types, held) or declared.get(offer.type) for offer in settings.offers()
    ]


def came_of(
    offer: Offer, known: Mapping[str, MachineShape], held: Collection[str] = ()
) -> MachineShape | None:
    """Return what came of an offer, as far as it holds; None where nothing did.

    Where [demand] names no type, machines come as the CM likes: the least of the types that are held counts,
    else the type that came last.

    Args:
        offer: what [demand] says.
        known: hardware type -> what Slurm saw of it.
        held: the hardware types of the machines that are there.
    """
    words = words_of(offer)
    valid = {kind: shape for kind, shape in known.items() if shape.said in {"", words}}
    if offer.type:
        return valid.get(offer.type)
    there = valid.keys() & held
    if there:
        return least(valid[kind] for kind in there)
    return max(valid.values(), key=attrgetter("newest"), default=None)


def _overlaid(offer: Offer, shape: MachineShape) -> Offer:
    sizes = (shape.cpus, shape.memory or offer.memory, shape.gres, shape.features)
    return Offer(offer.type, *sizes, offer.max_nodes, shape.layout)


def words_of(offer: Offer) -> str:
    """Return what [demand] says of a type in one line, by which a change is known."""
    layout = offer.layout
    numbers = (offer.cpus, layout.sockets, layout.cores, layout.threads, offer.memory or 0)
    others = (layout.usable_cpus, layout.system_memory, layout.tmp_disk)
    return " ".join(map(str, (*numbers, *others, offer.gres or "-", *sorted(offer.features))))


def _declared(moment: Moment, settings: DemandSettings) -> Mapping[str, MachineShape]:
    """Return what slurm.conf says of the nodes that it declares for machines that come, by type."""
    join = moment.settings.join
    is_cloud = join.mode == "cloud"
    named = join.declared_names if is_cloud else frozenset()
    found: dict[str, list[MachineShape]] = {}
    for name, node in moment.nodes.items():
        if node.cpus and (name in named or (not named and "CLOUD" in node.flags)):
            kind = _type_of(node, settings.offers(), is_ours=is_cloud)
            if kind is not None:
                found.setdefault(kind, []).append(shape_of_node(node))
    return {kind: least(shapes) for kind, shapes in found.items()}


def _type_of(node: Node, offers: Iterable[Offer], *, is_ours: bool) -> str | None:
    """Tell which type a node is declared for: the one that it matches best; None where that is not clear."""
    ranks = {offer.type: rank for offer in offers if (rank := _likeness(node, offer, is_ours=is_ours))}
    best = max(ranks.values(), default=0)
    kinds = [kind for kind, rank in ranks.items() if rank == best]
    return kinds[0] if len(kinds) == 1 else None


def _likeness(node: Node, offer: Offer, *, is_ours: bool) -> int:
    """Count what [demand] says of a type and a node has; 0 where one of them contradicts the other."""
    if is_ours and offer.type in node.features:
        return 1000
    wanted = offered_gres(offer.gres)
    # One CPU, and no memory, is what stands there where nothing was said.
    cpus_said, memory_said = offer.cpus > 1, offer.memory is not None
    if (
        not offer.features <= node.features
        or (cpus_said and offer.cpus != node.cpus)
        or (memory_said and offer.memory != node.memory)
        or take_gres(offered_gres(node.gres), wanted) is None
        or not (cpus_said or is_ours)
    ):
        return 0
    return 1 + len(offer.features) + cpus_said + memory_said + len(wanted)
