"""Our machines beside what Slurm says of them, at one moment; and what they are worth to the queue. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings
from agent.core.model import AdvertisedNode, Intent, SliverNode
from agent.core.policy import Share
from agent.slurm.model import Snapshot

OTHER_TYPE = "?"
"""Stands for the type of a machine that matches none of [[demand.types]]."""


@dataclass(frozen=True)
class Picture:
    """One moment."""

    snapshot: Snapshot
    machines: Mapping[str, SliverNode]
    """Node name -> machine, for every machine that a manifest says is ours."""
    leaving: frozenset[str] = frozenset()
    """Names of those that somebody wants empty."""

    @property
    def joined(self) -> frozenset[str]:
        """Names of our machines that Slurm has."""
        return frozenset(self.machines) & frozenset(self.snapshot.nodes)

    @property
    def serving(self) -> frozenset[str]:
        """Names of those that nobody wants empty."""
        return self.joined - self.leaving


def type_of(machine: SliverNode, settings: DemandSettings) -> str:
    """Return the type that a machine counts as."""
    if not settings.types:
        return ""
    known = {t.hardware_type for t in settings.types}
    return machine.hardware_type if machine.hardware_type in known else OTHER_TYPE


def count_supply(
    picture: Picture,
    *,
    failed: Collection[str],
    requested: Iterable[Intent],
    requested_types: Mapping[str, str],
    returnable: Collection[str],
    spare: Mapping[tuple[str, str], int],
    settings: DemandSettings,
) -> Supply:
    """Count what we hold by type.

    Args:
        picture: the moment.
        failed: sliver_ids of machines that are to be given back because they are of no use.
        requested: machines that were asked for and have not been seen.
        requested_types: client_id -> the type that was asked for; others count as the preferred one.
        returnable: names of nodes that are drained only because we found them surplus.
        spare: (type, CM) -> machines that the CM can spare.
        settings: [demand].
    """
    held: Counter[str] = Counter()
    coming: Counter[str] = Counter()
    for name, machine in picture.machines.items():
        kind = type_of(machine, settings)
        held[kind] += 1
        node = picture.snapshot.nodes.get(name)
        is_there = node is not None and node.at_work
        if not is_there and machine.sliver_id not in failed and name not in picture.leaving:
            coming[kind] += 1
    seen = {(m.cm, m.client_id) for m in picture.machines.values()}
    preferred = settings.offers()[0].type
    for intent in requested:
        if (intent.cm, intent.client_id) not in seen:
            kind = requested_types.get(intent.client_id, preferred)
            held[kind] += 1
            coming[kind] += 1
    totals: Counter[str] = Counter()
    for (kind, _), count in spare.items():
        totals[kind] += max(count, 0)
    return Supply(held, coming, frozenset(returnable), totals)


def share_of(
    hardware_type: str, everything: Sequence[AdvertisedNode] | None, free: Sequence[AdvertisedNode] | None
) -> Share | None:
    """Count the free machines of a type at a CM; None where either list is not known."""
    if everything is None or free is None:
        return None
    return Share(
        sum(hardware_type in n.hardware_types for n in free),
        sum(hardware_type in n.hardware_types for n in everything),
    )
