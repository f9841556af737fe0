"""How many machines we hold, and how many could be had, by type: a pure decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from agent.cluster.drain.held import held_nodes
from agent.cluster.drain.wanted import drains_of, returnable
from agent.cluster.grow.horizon import ENDLESS, Horizon, horizon_of
from agent.cluster.grow.lenders import spare_machines
from agent.cluster.grow.refusals import NO_REFUSALS, Refusals
from agent.cluster.grow.shapes import offers_of
from agent.cluster.moment import Moment
from agent.cluster.reasons import TAKEN_BACK, Drain, DrainCause, is_ours
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.core.model import SliverNode

OTHER_TYPE = "?"
"""Stands for the type of a machine that matches none of [[demand.types]]."""


@dataclass(frozen=True)
class Supply:
    """What we hold, and what could be had, by type."""

    held: Mapping[str, int] = field(default_factory=dict)
    """Type -> machines held or asked for; those that match no type are under "?"."""
    coming: Mapping[str, int] = field(default_factory=dict)
    """Type -> those of them that will join."""
    leaving: Collection[str] = ()
    """Names of nodes that somebody wants empty."""
    returnable: Collection[str] = ()
    """Names of those of them that are emptied only because we found them surplus."""
    resuming: Collection[str] = ()
    """Names of nodes that we drained and that nobody wants empty any more, or that wait for their fence: they
    are about to serve."""
    spare: Mapping[str, int] | None = None
    """Type -> machines that the CMs together can spare; None for no limit."""

    partitions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Type -> the partitions that its machines come into, as those that have joined show; no key while none
    has: a new one then counts as in every partition."""

    horizon: Horizon = ENDLESS
    """How long jobs may be where nodes are fenced."""
    going: Mapping[str, int] = field(default_factory=dict)
    """Type -> those of the held that go by a deadline and whose places others may take already."""

    refusals: Refusals = NO_REFUSALS
    """Where Slurm does not start jobs that should fit."""

    lacking: Mapping[str, tuple[str, ...]] | None = None
    """Nodes that Slurm's power saving wants machines for -> the types that are like each, preferred first.

    None in all where the queue decides.
    """

    offers: tuple[Offer, ...] = ()
    """What can be borrowed, preferred first, by what is known of its machines; none: not worked out yet."""

    @property
    def count(self) -> int:
        """Machines held or asked for, but for those whose places others may take."""
        return sum(self.held.values()) - sum(self.going.values())

    def count_of(self, kind: str) -> int:
        """Count those of one type."""
        return self.held.get(kind, 0) - self.going.get(kind, 0)


def type_of(machine: SliverNode, settings: DemandSettings) -> str:
    """Return the type that a machine counts as."""
    if not settings.types:
        return ""
    known = {t.hardware_type for t in settings.types}
    return machine.hardware_type if machine.hardware_type in known else OTHER_TYPE


def count_supply(moment: Moment) -> Supply:
    """Count what we hold by type, and what the CMs can spare.

    A machine that was asked for, or that may be held although no manifest shows it, counts as its type where
    that is known, as the type that was asked for, or as the preferred one. The latter is not counted on, and
    no more is the former when it should have come by now.
    """
    settings = moment.settings.demand
    drains = drains_of(moment)
    leaving = frozenset(drains)
    held: Counter[str] = Counter()
    going: Counter[str] = Counter()
    coming: Counter[str] = Counter()
    partitions: dict[str, frozenset[str]] = {}
    for name, machine in sorted(moment.machines.items()):
        if machine.cm in moment.slice.over:
            continue
        kind = type_of(machine, settings)
        held[kind] += 1
        may_overlap = going.total() < settings.max_overlap
        if name in drains and may_overlap and _goes_in_time(drains[name], machine, moment):
            going[kind] += 1
        node = moment.nodes.get(name)
        is_there = node is not None and node.at_work
        if node is not None and is_there and node.partitions:
            partitions[kind] = partitions.get(kind, frozenset()) | frozenset(node.partitions)
        if not is_there and name not in moment.failed and name not in leaving:
            coming[kind] += 1
    seen = {(m.cm, m.client_id) for m in moment.machines.values()}
    offered = [offer.type for offer in settings.offers()]

    def type_asked(place: tuple[str, str]) -> str:
        kind = moment.asked_types.get(place, offered[0])
        return kind if kind in offered else OTHER_TYPE

    for intent in moment.slice.requested:
        if (intent.cm, intent.client_id) not in seen:
            kind = type_asked((intent.cm, intent.client_id))
            held[kind] += 1
            seen.add((intent.cm, intent.client_id))
            if (intent.cm, intent.client_id) not in moment.slice.overdue:
                coming[kind] += 1
    doubted = {(m.cm, m.client_id): m for m in moment.slice.doubted if m.hardware_type}
    for place in moment.slice.unseen - seen:
        known = doubted.get(place)
        held[type_of(known, settings) if known else type_asked(place)] += 1
    totals: Counter[str] = Counter()
    for (kind, _), count in spare_machines(moment).items():
        totals[kind] += max(count, 0)
    serving = moment.joined - leaving
    resuming = {n for n in serving if moment.nodes[n].draining and is_ours(moment.nodes[n].reason)}
    resuming |= held_nodes(moment) & serving
    horizon = horizon_of(moment, partitions)
    return Supply(
        *(held, coming, leaving, returnable(moment), resuming, totals, partitions, horizon),
        going=going,
        offers=offers_of(moment),
    )


def _goes_in_time(drain: Drain, machine: SliverNode, moment: Moment) -> bool:
    """Tell whether it is known by when a machine goes, so that another may be asked for in its place."""
    if drain.cause is DrainCause.TAKEN:
        return True
    is_given_back = drain.cause in TAKEN_BACK or drain.leaves or moment.torn_down_by(machine) is not None
    return drain.deadline is not None and is_given_back
