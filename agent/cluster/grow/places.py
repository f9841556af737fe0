"""Which jobs that leave their nodes would find a place elsewhere at once: a pure and cautious estimate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from agent.cluster.grow.packing import Packer, age, array_of, shape_of
from agent.cluster.grow.refusals import NO_REFUSALS, Refusals
from agent.cluster.grow.reserved import NOTHING, Reserved
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.names import leader

_ASKS_FOR_NONE = frozenset({"JobHeldUser", "JobHeldAdmin", "Dependency", "DependencyNeverSatisfied"})
"""Reasons of pending jobs that take no place."""


def find_places(
    snapshot: Snapshot,
    jobs: Sequence[Job],
    leaving: Collection[str],
    fences: Mapping[str, datetime] | None,
    settings: DemandSettings,
    refusals: Refusals = NO_REFUSALS,
    reserved: Reserved = NOTHING,
) -> frozenset[str]:
    """Return the ids of those of these jobs that fit on what is free now, after all that wait.

    A job that asks for nodes by name or for a reservation counts as finding none, and so do one that holds
    nodes beside those that are emptied, one of an array of which only so many may run at once, and a
    heterogeneous one, all of whose components want places.

    Args:
        snapshot: what Slurm says.
        jobs: run now; those that come first are placed first.
        leaving: names of the nodes that are emptied.
        fences: node name -> from when on no job may run there; None where that is not known.
        settings: what machines count as.
        refusals: where Slurm does not start jobs that should fit.
        reserved: the reservations of others, and of Slurm's nodes what they keep jobs off.
    """
    away, snapshot = frozenset(leaving), reserved.applied_to(snapshot)
    free = [n for n in snapshot.nodes.values() if n.usable and n.name not in away and _has_room(n)]
    if fences is None or not free:
        return frozenset()
    limited = {job.array for job in snapshot.jobs if job.task_limit is not None}
    moving = [j for j in jobs if j.nodes <= away and not (j.requested_nodes or j.reservation)]
    moving = [
        j for j in moving if j.array not in limited and j.id == leader(j.id) and not reserved.against(j)
    ]
    going = {job.id for job in moving}
    rest = [job for job in snapshot.jobs if job.id not in going]
    waiting = [job for job in rest if job.state == "PENDING" and job.reason not in _ASKS_FOR_NONE]
    away = away.union(*(job.requested_nodes for job in waiting))
    packer = Packer(replace(snapshot, jobs=tuple(rest)), Supply(leaving=away, refusals=refusals), settings)
    for job in sorted(waiting, key=age):
        packer.place(reserved.seen_by(job), may_borrow=False)
    placed = set()
    fenced = {
        limit: frozenset(name for name, start in fences.items() if _may_outlast(limit, start, snapshot.taken))
        for limit in {job.time_limit for job in moving}
    }
    for job in moving:
        refused = refusals.of(shape_of(job), array_of(job)).nodes
        seen = reserved.seen_by(job)
        job_there = replace(seen, excluded_nodes=seen.excluded_nodes | fenced[job.time_limit] | refused)
        if not packer.place(job_there, may_borrow=False).obstacle:
            placed.add(job.id)
    return frozenset(placed)


def _has_room(node: Node) -> bool:
    return node.empty or node.cpus > node.allocated_cpus


def _may_outlast(limit: timedelta | None, start: datetime, now: datetime) -> bool:
    return limit is None or now + limit > start
