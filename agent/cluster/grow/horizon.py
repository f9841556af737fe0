"""How long a job may be on each machine, where nodes are fenced: a pure decision.

Slurm starts no job that would run into a fence. So a machine is neither borrowed nor kept for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from agent.cluster.drain.wanted import fences_of
from agent.cluster.moment import Moment
from agent.slurm.model import Job

_BOOT = timedelta(minutes=15)
"""What of a lease a machine takes to come, at most a tenth of it."""


@dataclass(frozen=True)
class Horizon:
    """The longest jobs that may start now."""

    nodes: Mapping[str, timedelta] = field(default_factory=dict)
    """Node name -> by its fence; no key where it has none."""
    fresh: Mapping[str, timedelta] = field(default_factory=dict)
    """Type -> on a machine that would be borrowed now, or that comes; no key where it would get no fence."""

    def keeps_off(self, job: Job, name: str) -> bool:
        """Tell whether a node's fence keeps a job off, however long it waits."""
        longest = self.nodes.get(name)
        return longest is not None and is_longer(job, longest)


ENDLESS = Horizon()
"""Nodes are not fenced."""


def is_longer(job: Job, longest: timedelta | None) -> bool:
    """Tell whether a job may take longer; of one without a limit of its own that is not known."""
    return outlasts(job.time_limit, longest)


def outlasts(limit: timedelta | None, longest: timedelta | None) -> bool:
    """Tell whether a job of a time limit may take longer; of one without any that is not known."""
    return longest is not None and limit is not None and limit > longest


def horizon_of(moment: Moment, partitions: Mapping[str, frozenset[str]]) -> Horizon:
    """Tell how long jobs may be.

    Args:
        moment: what is known.
        partitions: type -> the partitions that its machines come into; no key where that is not known.
    """
    if not moment.settings.drain.fence:
        return ENDLESS
    _, fences = fences_of(moment)
    all_partitions = _all_partitions(moment)
    fresh = {}
    for kind in {offer.type for offer in moment.settings.demand.offers()}:
        there = partitions.get(kind, all_partitions)
        if there and there <= moment.limited and (lent := _lent_for(moment, kind)) is not None:
            fresh[kind] = lent
    return Horizon({name: start - moment.now for name, start in fences.items()}, fresh)


def _all_partitions(moment: Moment) -> frozenset[str]:
    snapshot = moment.snapshot
    if snapshot is None:
        return frozenset()
    of_nodes = (node.partitions for node in snapshot.nodes.values())
    return frozenset(
        name for names in (*of_nodes, *(job.partitions for job in snapshot.jobs)) for name in names
    )


def _lent_for(moment: Moment, kind: str) -> timedelta | None:
    """Return for how long a machine of a type could be at work before its fence; None where it is not known.

    Where we hold machines of a CM, another one comes into their sliver, and goes with it.
    """
    new = timedelta(seconds=moment.slice.lease_seconds)
    left = [
        moment.slice.leases[cm] - moment.now if cm in moment.slice.leases else new
        for cm in moment.slice.cms
        if kind in moment.settings.demand.types_at(cm)
    ]
    if not left or not new:
        return None
    longest = max(left)
    return longest - min(_BOOT, longest / 10) - timedelta(seconds=moment.settings.drain.cleanup_lead)
