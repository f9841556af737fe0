"""How many machines are held, how many can be had, and from which CM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.cluster.moment import Picture
from agent.cluster.settings.demand import DemandSettings
from agent.core.model import AdvertisedNode, Intent, Share, SliverNode

OTHER_TYPE = "?"
"""Stands for the type of a machine that matches none of [[demand.types]]."""


@dataclass(frozen=True)
class Supply:
    """What we hold, and what could be had, by type."""

    held: Mapping[str, int] = field(default_factory=dict)
    """Type -> machines held or asked for; those that match no type are under ``OTHER_TYPE``."""
    coming: Mapping[str, int] = field(default_factory=dict)
    """Type -> those of them that will join."""
    returnable: Collection[str] = ()
    """Names of nodes that are drained only because we found them surplus."""
    spare: Mapping[str, int] | None = None
    """Type -> machines that the CMs together can spare; None for no limit."""

    lacking: Mapping[str, str | None] | None = None
    """Nodes that Slurm's power saving wants machines for -> their type, None where no type is like a node.

    None in all where the queue decides.
    """

    @property
    def count(self) -> int:
        """Machines held or asked for."""
        return sum(self.held.values())


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


def divide(
    wanted: Mapping[str, int], spare: Mapping[tuple[str, str], int], cms: Sequence[str]
) -> dict[tuple[str, str], int]:
    """Share machines out among the CMs, in the CMs' order of preference.

    Args:
        wanted: type -> machines.
        spare: (type, CM) -> machines that this CM can spare; no key where it has none, or it is not known.
        cms: URNs.

    Returns:
        (type, CM) -> machines, without zeros.
    """
    shares: dict[tuple[str, str], int] = {}
    for kind, count in wanted.items():
        left = count
        for cm in cms:
            given = min(left, max(spare.get((kind, cm), 0), 0))
            if given:
                shares[kind, cm] = given
                left -= given
    return shares
