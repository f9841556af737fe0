"""Which estimates were wrong: a job should start on nodes that nobody uses, and Slurm has it wait. Pure.

What plans leave out of what Slurm goes by shows in this. So machines are neither kept nor borrowed for such
jobs, until what they ask for or what the machines give changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from agent.cluster.drain.wanted import drains_of
from agent.cluster.grow import misfits
from agent.cluster.grow.alike import digest
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.packing import array_of, shape_of
from agent.cluster.grow.refusals import NO_REFUSALS, NOWHERE, Refusal, Refusals, Shape
from agent.cluster.grow.shapes import offers_of
from agent.cluster.grow.supply import type_of
from agent.cluster.moment import Moment
from agent.cluster.settings.demand import Offer
from agent.cluster.shape import MachineShape
from agent.core.estimates import WrongEstimate
from agent.slurm.model import Job, Node, Snapshot

KEPT = timedelta(days=1)
"""After so long an estimate is tried again: much of what Slurm goes by is never seen."""
_NO_ROOM = "Resources"
"""Reason of a job that Slurm would start if it had room for it."""
_BEHIND = "Priority"
"""Reason of one that it starts after others."""
_TURNS = frozenset({_NO_ROOM, "ReqNodeNotAvail", "BadConstraints"})
"""Reasons of jobs whose turn it is: those behind them wait for them."""


@dataclass(frozen=True)
class Waiting:
    """A job that should start on a node, and what that node has meanwhile."""

    array: str
    """Id of the job; for a task, that of its array."""
    shape: Shape
    node: str
    beside: frozenset[str]
    """Ids of the jobs that are there."""


@dataclass(frozen=True)
class Watch:
    """What has been seen of jobs that should start."""

    since: Mapping[Waiting, datetime] = field(default_factory=dict)
    """By the steady clock."""
    refused: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Id of each waiting job (for a task, that of its array) that Slurm refuses to start somewhere -> the
    digests of its shapes."""


def in_force(moment: Moment) -> tuple[WrongEstimate, ...]:
    """Return the wrong estimates that still hold: what the machines give is as it was then."""
    is_asked = moment.settings.demand.settle > 0
    return tuple(mark for mark in moment.wrong if is_asked and _holds(mark, moment))


def refusals_of(moment: Moment) -> Refusals:
    """Tell where Slurm does not start jobs that should fit.

    Those that wait behind others are refused for as long as these wait in vain.
    """
    marks, snapshot = in_force(moment), moment.snapshot
    if not marks or snapshot is None:
        return NO_REFUSALS
    first = [mark for mark in marks if mark.reason != _BEHIND]
    waiting = [job for job in snapshot.jobs if job.state == "PENDING"]
    blocked = _blocked(waiting, _refusals(first, moment, snapshot))
    shapes = {_digest(shape_of(job)) for job in waiting if not blocked.isdisjoint(job.partitions)}
    return _refusals([m for m in marks if m.reason != _BEHIND or m.shape in shapes], moment, snapshot)


def look(
    moment: Moment, growth: GrowthPlan, before: Watch
) -> tuple[Watch, Mapping[WrongEstimate, tuple[str, ...]]]:
    """Take in a reading of Slurm: which jobs should start on which nodes, and since when they do not.

    Args:
        moment: with the reading.
        growth: what follows from it for growth.
        before: what was seen until then.

    Returns:
        What has been seen; and each estimate that is wrong by now, with the nodes on which the job should
        have started. Where these are machines of several types, that which is preferred least is told alone.
    """
    snapshot, settle = moment.snapshot, timedelta(seconds=moment.settings.demand.settle)
    if snapshot is None or not settle:
        return Watch(), {}
    since: dict[Waiting, datetime] = {}
    found: dict[tuple[str, str, bool], tuple[WrongEstimate, tuple[str, ...]]] = {}
    for job, places in _expected(moment, snapshot, growth):
        since |= {place: before.since.get(place, moment.read_at) for place in places}
        if all(moment.read_at - since[place] >= settle for place in places):
            for mark in _marks(job, places, moment):
                nodes = (mark.where,) if mark.is_node else tuple(place.node for place in places)
                found.setdefault((mark.shape, mark.where, mark.is_node), (mark, nodes))
    marked = {mark.shape for mark in (*moment.wrong, *(mark for mark, _ in found.values()))}
    refused: dict[str, frozenset[str]] = {}
    for job in snapshot.jobs if marked else ():
        if job.state == "PENDING" and (shape := _digest(shape_of(job))) in marked:
            refused[array_of(job)] = refused.get(array_of(job), frozenset()) | {shape}
    return Watch(since, refused), dict(found.values())


def contradicted(moment: Moment, seen: Watch) -> tuple[WrongEstimate, ...]:
    """Return the wrong estimates that hold, as they stand now that jobs of those that waited have started.

    Where another job than the one that waited starts on such a machine, it alone is meant from then on.
    """
    marks, snapshot = in_force(moment), moment.snapshot
    if snapshot is None or not seen.refused:
        return marks
    left = {mark.key: mark for mark in marks}
    places = {mark.key: _nodes(mark, moment) for mark in marks}
    for job in snapshot.jobs:
        if not job.holds_nodes or array_of(job) not in seen.refused:
            continue
        for mark in marks:
            if mark.shape in seen.refused[array_of(job)] and not places[mark.key].isdisjoint(job.nodes):
                if array_of(job) == mark.job:
                    left.pop(mark.key, None)
                elif mark.key in left:
                    left[mark.key] = replace(mark, alone=True)
    return tuple(left.values())


def _expected(
    moment: Moment, snapshot: Snapshot, growth: GrowthPlan
) -> Iterator[tuple[Job, tuple[Waiting, ...]]]:
    """Yield each job that Slurm says it has no room for, with the nodes that should take it.

    Of those that should take one node the first is yielded alone: others may wait for their turn.
    """
    jobs = {job.id: job for job in snapshot.jobs if job.state == "PENDING"}
    lasting = _refusals(
        [m for m in in_force(moment) if m.reason != _BEHIND and not m.beside], moment, snapshot
    )
    blocked = _blocked(jobs.values(), lasting)
    turns = {
        name
        for job in jobs.values()
        if job.reason in _TURNS and not lasting.of(shape_of(job), array_of(job))
        for name in job.partitions
    }
    holders: dict[str, frozenset[str]] = {}
    for job in snapshot.jobs:
        for name in job.nodes if job.holds_nodes else ():
            holders[name] = holders.get(name, frozenset()) | {job.id}
    unused = _unused(moment, growth)
    taken: dict[str, Shape] = {}
    yield from _refused(jobs.values(), moment, lasting)
    for verdict in growth.jobs:
        names = verdict.expects or unused.get(verdict.job)
        job_or_none = jobs.get(verdict.job)
        if not names or job_or_none is None:
            continue
        job = job_or_none
        if job.reason == _BEHIND:
            is_next = turns.isdisjoint(job.partitions) and not blocked.isdisjoint(job.partitions)
        else:
            is_next = job.reason == _NO_ROOM
        if not is_next or not all(_takes_jobs(snapshot.nodes.get(name)) for name in names):
            continue
        shape = shape_of(job)
        if all(taken.setdefault(name, shape) == shape for name in names):
            none: frozenset[str] = frozenset()
            yield (
                job,
                tuple(Waiting(array_of(job), shape, name, holders.get(name, none)) for name in sorted(names)),
            )


def _refused(
    jobs: Iterable[Job], moment: Moment, refusals: Refusals
) -> Iterator[tuple[Job, tuple[Waiting, ...]]]:
    """Yield each job that Slurm took out of its queue, with our machines that fit it by our reckoning.

    Whatever runs there: Slurm says that no node is of the kind that it asks for.
    """
    fits = misfits.Fits(moment.nodes.values(), moment.scheduling)
    for job in jobs:
        if job.reason != misfits.REASON:
            continue
        shape, array = shape_of(job), array_of(job)
        known = refusals.of(shape, array).nodes
        if names := (fits.of(job) & moment.machines.keys()) - known:
            yield job, tuple(Waiting(array, shape, name, frozenset()) for name in sorted(names))


def _takes_jobs(node: Node | None) -> bool:
    return node is not None and node.usable and "COMPLETING" not in node.flags


def _unused(moment: Moment, growth: GrowthPlan) -> dict[str, frozenset[str]]:
    """Return the machines that came for a job and that it cannot use, while it wants another of their type.

    Returns:
        Job id -> names of the nodes: they are unused, and no job is expected there.
    """
    wanting = {(job, kind) for kind, jobs in growth.wanted_for.items() for job in jobs}
    away = drains_of(moment).keys() | growth.claimed
    found: dict[str, frozenset[str]] = {}
    for name in sorted(moment.joined - away) if wanting else ():
        machine, node = moment.machines[name], moment.nodes[name]
        came_for = moment.asked_for.get((machine.cm, machine.client_id))
        kind = type_of(machine, moment.settings.demand)
        for job in came_for.jobs if came_for and node.usable and node.empty else ():
            if (job, kind) in wanting:
                found[job] = found.get(job, frozenset()) | {name}
    return found


def _marks(job: Job, places: Sequence[Waiting], moment: Moment) -> list[WrongEstimate]:
    """Say what is wrong with the estimate that a job starts on these nodes."""

    def mark(where: str, *, is_node: bool, beside: frozenset[str] = frozenset()) -> WrongEstimate:
        under = _given(where, moment, is_node=is_node)
        shape = _digest(shape_of(job))
        said = (array_of(job), job.reason, moment.now, _rules(moment))
        return WrongEstimate(shape, where, is_node, under, *said, beside=beside)

    single = [each for each in places if each.beside or each.node not in moment.machines]
    if single:
        return [mark(each.node, is_node=True, beside=each.beside) for each in single]
    settings = moment.settings.demand
    types = {type_of(moment.machines[each.node], settings) for each in places}
    order = [offer.type for offer in offers_of(moment)]
    last = max(types, key=lambda kind: order.index(kind) if kind in order else len(order))
    return [mark(last, is_node=False)]


def _holds(mark: WrongEstimate, moment: Moment) -> bool:
    under = _given(mark.where, moment, is_node=mark.is_node)
    if moment.now - mark.since >= KEPT or mark.under != under or _changed(mark.rules, _rules(moment)):
        return False
    if not mark.is_node or moment.snapshot is None:
        return True
    return mark.beside == {job.id for job in moment.snapshot.jobs_on([mark.where])}


def _given(where: str, moment: Moment, *, is_node: bool) -> str:
    """Return the digest of what a machine of a type gives, or a node; "" where there is none."""
    if is_node:
        node = moment.nodes.get(where)
        return digest((_size(node), node.partitions)) if node else ""
    offer = next((each for each in offers_of(moment) if each.type == where), None)
    if offer is None:
        return ""
    # Where [demand] names no type, what it gives is what is held just now.
    came = moment.machine_types.values() if not where else ()
    return digest(frozenset(map(_size, came)) or _size(offer))


def _size(gives: Node | Offer | MachineShape) -> tuple[object, ...]:
    # Machines of one type differ by a few MB.
    layout = replace(gives.layout, tmp_disk=gives.layout.tmp_disk >> 10)
    return gives.cpus, (gives.memory or 0) >> 10, layout, gives.gres, gives.features


def _rules(moment: Moment) -> str:
    """Return the digest of how Slurm chooses nodes; "" where that is not known."""
    return digest(moment.scheduling) if moment.scheduling else ""


def _changed(before: str, now: str) -> bool:
    return bool(before and now) and before != now


def _nodes(mark: WrongEstimate, moment: Moment) -> frozenset[str]:
    """Return the names of the nodes that a mark is about."""
    if mark.is_node:
        return frozenset({mark.where})
    settings = moment.settings.demand
    return frozenset(n for n, machine in moment.machines.items() if type_of(machine, settings) == mark.where)


def _refusals(marks: Iterable[WrongEstimate], moment: Moment, snapshot: Snapshot) -> Refusals:
    of_shapes: dict[str, Refusal] = {}
    of_jobs: dict[tuple[str, str], Refusal] = {}
    for mark in marks:
        types = frozenset() if mark.is_node else frozenset({mark.where})
        refusal = Refusal(_nodes(mark, moment), types, frozenset({mark.reason}))
        if mark.alone:
            key = (mark.job, mark.shape)
            of_jobs[key] = of_jobs.get(key, NOWHERE) | refusal
        else:
            of_shapes[mark.shape] = of_shapes.get(mark.shape, NOWHERE) | refusal
    if not of_shapes and not of_jobs:
        return NO_REFUSALS
    asking = {(array_of(job), shape_of(job)) for job in snapshot.jobs}
    known = {shape: _digest(shape) for shape in {shape for _, shape in asking}}
    return Refusals(
        {shape: of_shapes[each] for shape, each in known.items() if each in of_shapes},
        {(job, s): of_jobs[job, known[s]] for job, s in asking if (job, known[s]) in of_jobs},
    )


def _blocked(jobs: Iterable[Job], refusals: Refusals) -> frozenset[str]:
    """Return the partitions of the jobs that wait in vain and that others wait for, as far as is known."""
    turns = _TURNS - {misfits.REASON}
    refused = (job for job in jobs if job.reason in turns and refusals.of(shape_of(job), array_of(job)))
    return frozenset(name for job in refused for name in job.partitions)


@lru_cache(maxsize=20_000)
def _digest(shape: Shape) -> str:
    return digest(shape)
