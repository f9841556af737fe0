"""What is there for jobs, as a reading of Slurm and the settings have it: nodes and offers as machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from agent.cluster.grow.machine import Left, all_of, fill, frame_of
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import Offer
from agent.slurm.gres import Gres, offered_gres, parse_gres, take_gres
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.scheduling import Scheduling


def machines_there(
    snapshot: Snapshot,
    supply: Supply,
    offers: Iterable[Offer],
    moving: Collection[str],
    scheduling: Scheduling | None,
) -> Iterator[tuple[str, Left, str]]:
    """Yield the machines that are there: nodes in service, those that come, and nodes that may come back.

    Each with its name, what is left of it, and its type where it comes.

    Args:
        snapshot: what Slurm says.
        supply: what is held.
        offers: what each type gives.
        moving: ids of running jobs that are to be placed anew: what they hold becomes free.
        scheduling: how Slurm chooses nodes; None where that is not known.
    """
    holders: dict[str, list[Job]] = {}
    nodes = dict(snapshot.nodes)
    for job in snapshot.jobs:
        for name in job.nodes if job.holds_nodes else ():
            if job.id not in moving:
                holders.setdefault(name, []).append(job)
            elif name in nodes:
                nodes[name] = _without(nodes[name], job)
    ordered = sorted(nodes.values(), key=lambda n: (n.weight, n.name))
    # An active reservation keeps its nodes from everybody else.
    back = (_without_drain(n) if n.name in supply.resuming else n for n in ordered)
    longest = supply.horizon.nodes
    # Slurm may not know yet that a node is to be emptied.
    for node in back:
        if node.usable and "RESERVED" not in node.flags and node.name not in supply.leaving:
            yield node.name, _left(node, holders.get(node.name, ()), longest.get(node.name), scheduling), ""
    for offer in offers:
        for _ in range(supply.coming.get(offer.type, 0)):
            yield "", borrowable(offer, supply, scheduling), offer.type
    for node in map(_without_drain, ordered):
        if node.name in supply.returnable and node.usable:
            yield node.name, _left(node, holders.get(node.name, ()), longest.get(node.name), scheduling), ""


def when_empty(node: Node, scheduling: Scheduling | None = None) -> Left:
    """Return what a node has, whatever runs there now."""
    return _left(replace(node, allocated_cpus=0, allocated_memory=0), (), None, scheduling)


def borrowable(offer: Offer, supply: Supply, scheduling: Scheduling | None) -> Left:
    """Return what a machine of a type has when it has come."""
    partitions = supply.partitions.get(offer.type)
    longest = supply.horizon.fresh.get(offer.type)
    frame = frame_of(offer.cpus, offer.memory, offer.layout, offer.features, partitions, longest)
    gres = tuple(sorted(offered_gres(offer.gres).items()))
    return all_of(frame, offer.layout, gres, shared_by=_shared_by(partitions, scheduling))


def _left(
    node: Node, jobs: Collection[Job], longest: timedelta | None, scheduling: Scheduling | None
) -> Left:
    partitions = frozenset(node.partitions)
    frame = frame_of(node.cpus, node.memory, node.layout, node.features, partitions, longest)
    gres: Gres = offered_gres(node.gres)
    for job in jobs:
        gres = take_gres(gres, _gres(job)) or {}
    whole = all_of(
        frame, node.layout, tuple(sorted(gres.items())), shared_by=_shared_by(partitions, scheduling)
    )
    # Jobs and nodes are not read at one instant: a job that started in between is still among the pending
    # ones, and this node is the room that it found.
    if not (jobs or "COMPLETING" in node.flags):
        return whole
    taken = [-(-_cpus_on_one(job) // frame.threads) for job in jobs]
    told = -(-node.allocated_cpus // frame.threads)
    if len(whole.rows) == 1 and told > sum(taken):
        taken = [told]
    memory = None if whole.memory is None else max(whole.memory - node.allocated_memory, 0)
    is_used = not node.empty or node.allocated_cpus > 0
    return replace(whole, rows=_filled(whole.rows, taken), memory=memory, is_used=is_used)


def _filled(rows: tuple[tuple[int, ...], ...], taken: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """Place jobs of so many cores, each in the first row that has them."""
    left = list(rows)
    for cores in taken:
        number = next((n for n, row in enumerate(left) if sum(row) >= cores), 0)
        left[number] = fill(left[number], cores)
    return tuple(left)


def _shared_by(partitions: frozenset[str] | None, scheduling: Scheduling | None) -> int:
    """Return how many jobs may have the same CPU of a machine."""
    if scheduling is None:
        return 1
    known = scheduling.partitions
    rules = known.values() if partitions is None else (known[name] for name in partitions if name in known)
    return max((each.shared_by for each in rules if each.is_forced), default=1)


def _cpus_on_one(job: Job) -> int:
    return -(-job.cpus // max(len(job.nodes), 1))


def _without(node: Node, job: Job) -> Node:
    """Return a node as it will be without the share of a job that moves."""
    cpus = _cpus_on_one(job)
    memory = job.memory * cpus if job.memory_per_cpu else job.memory
    return replace(
        node,
        allocated_cpus=max(node.allocated_cpus - cpus, 0),
        allocated_memory=max(node.allocated_memory - memory, 0),
    )


def _without_drain(node: Node) -> Node:
    return replace(node, flags=node.flags - {"DRAIN"})


def _gres(job: Job) -> Gres:
    try:
        return parse_gres(job.gres)
    except ValueError:
        # Nothing offers what cannot be read.
        return {job.gres: 1}
