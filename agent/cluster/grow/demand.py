"""How many machines does the queue want: a pure decision.

The queue is packed, oldest job first, onto what is free now, then onto the machines that are coming, then
onto drained surplus that may go back into service, and the rest onto machines that would have to be borrowed.
It is an estimate of what Slurm will do, not a copy of its scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import merge

from agent.cluster.grow import misfits
from agent.cluster.grow.limits import why_never
from agent.cluster.grow.moving import Move
from agent.cluster.grow.packing import Packer, Placed, age, array_of
from agent.cluster.grow.reserved import BOOT, reserved_of
from agent.cluster.grow.shapes import offers_of
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Moment
from agent.cluster.reasons import write_time
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.core.settings import format_duration
from agent.slurm.model import Job, Snapshot
from agent.slurm.names import leader

_WAITING = frozenset(
    {"Resources", "Priority", "None", "SchedDefer", "ReqNodeNotAvail", "Reservation", "Constraints"}
)
"""Pending reasons of a job that would start if there were room (``job_state_reason`` in slurm.h).

``Reservation`` is also said of a job that asks for none where others' are in its way, and ``Constraints`` of
one of 24.11 and later that may find nodes with what it prefers in time.
"""
_TOO_FEW_NODES = frozenset({"PartitionConfig", "PartitionNodeLimit"})
"""Reasons that Slurm gives, among others, to a job of more nodes than its partition has now."""
_TOLD = 20
"""Jobs that are told one by one in the reasons of a plan."""


@dataclass(frozen=True)
class JobVerdict:
    """What one job that is pending, or will have to move, means for growth."""

    job: str
    counts: bool
    """It asks for machines, or would if there were no room."""
    machines: int
    """How many have to be borrowed for it."""
    why: str
    expects: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the nodes in service that it is expected to start on now, all of it or some of its tasks."""


@dataclass(frozen=True)
class GrowthPlan:
    """What the queue wants beyond what there is."""

    count: int
    """Machines that are wanted in addition, 0 or more."""
    reasons: tuple[str, ...] = ()
    """Why, and why jobs do not count, in words."""
    wanted: Mapping[str, int] = field(default_factory=dict)
    """Type -> how many of them to ask for now; what no CM can spare is left out."""
    claimed: frozenset[str] = field(default=frozenset(), repr=False)
    """Names of nodes with free CPUs that pending jobs are expected to take."""
    returned: frozenset[str] = frozenset()
    """Names of drained surplus nodes that go back into service instead."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names that the machines are to have -> their types, where Slurm's power saving asks for them."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Names that it asks for too -> why they get no machine."""
    wanted_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)
    """Type -> ids of the jobs that its machines are wanted for, oldest first."""
    jobs: tuple[JobVerdict, ...] = field(default=(), repr=False)
    """One for each job that is pending or will have to move, oldest first."""


def plan_growth(moment: Moment, supply: Supply, moves: Sequence[Move] = ()) -> GrowthPlan:
    """Decide how many more machines to borrow.

    Args:
        moment: what is known; Slurm was read, and ``history`` has taken the reading in.
        supply: what we hold, and what could be had.
        moves: the running jobs that will be requeued before a deadline: a machine that is asked for only then
            boots while they wait.

    Returns:
        A count that keeps ``supply.count + count`` within ``max_nodes``, and at ``min_nodes`` or above. It
        does not depend on the order of nodes and jobs in the snapshot; a younger job more never lowers it.
    """
    snapshot, settings = moment.snapshot, moment.settings.demand
    if snapshot is None:
        return GrowthPlan(0)
    supply = supply if supply.offers else replace(supply, offers=offers_of(moment))
    waiting_since = moment.history.waiting_since if moment.history else {}
    deadlines = {move.job.id: move.deadline for move in moves}
    reserved = reserved_of(moment)
    packer = Packer(reserved.applied_to(snapshot), supply, settings, deadlines.keys(), moment.scheduling)
    fits, verdicts = misfits.Fits(snapshot.nodes.values(), moment.scheduling), []
    wanted_for: dict[str, list[str]] = {}

    def place(jobs: Sequence[Job], *, may_borrow: bool) -> list[Placed]:
        found = look_for(jobs, may_borrow=may_borrow)
        for job, placed in zip(jobs, found, strict=True):
            for kind in placed.types:
                wanted_for.setdefault(kind, []).append(job.id)
        return found

    def look_for(jobs: Sequence[Job], *, may_borrow: bool) -> list[Placed]:
        if not reserved:
            return packer.place_whole(jobs, may_borrow=may_borrow)
        if against := next(filter(None, map(reserved.against, jobs)), ""):
            return [Placed(obstacle=against)] * len(jobs)
        late = next(filter(None, (reserved.against(job, BOOT) for job in jobs)), "") if may_borrow else ""
        found = packer.place_whole(list(map(reserved.seen_by, jobs)), may_borrow=may_borrow and not late)
        return [replace(placed, obstacle=late) if late and placed.obstacle else placed for placed in found]

    for jobs in _in_turn(_pending(snapshot), [move.job for move in moves]):
        if deadline := deadlines.get(jobs[0].id):
            verdicts += _moves(jobs, deadline, place, supply, moment)
            continue
        against = [_does_not_count(job, moment, snapshot, fits) for job in jobs]
        if any(against):
            verdicts += _dismissed(jobs, against)
            continue
        since = max(waiting_since.get(array_of(job), moment.read_at) for job in jobs)
        waited = moment.read_at - since >= timedelta(seconds=settings.grow_after)
        verdicts += map(_verdict, jobs, place(jobs, may_borrow=waited))
    closed = reserved.against_more()
    if not closed:
        packer.keep_at_least(settings.min_nodes)
    reasons = _reasons(verdicts)
    if closed and supply.count < settings.min_nodes:
        reasons.append(f"no machine is borrowed for min_nodes: {closed}")
    if packer.count > sum(v.machines for v in verdicts):
        reasons.append(f"min_nodes is {settings.min_nodes}, {_machines(supply.count)} held or coming")
    beyond = packer.beyond.total()
    if beyond and supply.spare is not None:
        reasons.append(f"{_machines(beyond)} of them cannot be spared by any CM now")
    return GrowthPlan(
        packer.count,
        tuple(reasons),
        +packer.borrowed,
        frozenset(packer.claimed),
        frozenset(packer.returned),
        wanted_for={kind: tuple(jobs) for kind, jobs in wanted_for.items()},
        jobs=tuple(verdicts),
    )


def still_waiting(moment: Moment) -> dict[str, datetime]:
    """Return since when each job has been seen to wait for room; one that stopped to wait begins anew.

    In the first reading of an agent, before there is a history, a job counts as waiting since its submission.

    Returns:
        Job id (for a task, that of its array: tasks change their ids when they are split off) -> time.
    """
    snapshot = moment.snapshot
    if snapshot is None:
        return {}
    fits = misfits.Fits(snapshot.nodes.values(), moment.scheduling)
    waiting = [j for j in _pending(snapshot) if not _does_not_count(j, moment, snapshot, fits)]
    if moment.history is not None:
        earlier = moment.history.waiting_since
        return {key: earlier.get(key, moment.read_at) for key in map(array_of, waiting)}
    since: dict[str, datetime] = {}
    for job in waiting:
        known = since.get(array_of(job), moment.read_at)
        since[array_of(job)] = min(moment.since(job.submitted), known) if job.submitted else known
    return since


def _pending(snapshot: Snapshot) -> Iterator[Job]:
    """Yield each pending job once."""
    return iter({job.id: job for job in snapshot.jobs if job.state == "PENDING"}.values())


def _in_turn(*queues: Iterable[Job]) -> Iterator[list[Job]]:
    """Yield jobs, oldest first, the components of a heterogeneous one together."""
    alone: list[Job] = []
    whole: dict[tuple[int, str], list[Job]] = {}
    for number, queue in enumerate(queues):
        for job in queue:
            if "+" in job.id:
                whole.setdefault((number, leader(job.id)), []).append(job)
            else:
                alone.append(job)
    alone.sort(key=age)
    together = sorted((sorted(jobs, key=age) for jobs in whole.values()), key=_age_of_first)
    each = ([job] for job in alone)
    return merge(each, together, key=_age_of_first) if together else each


def _age_of_first(jobs: Sequence[Job]) -> tuple[float, str]:
    return age(jobs[0])


def _dismissed(jobs: Sequence[Job], against: Sequence[str]) -> list[JobVerdict]:
    """Tell of each why it does not count: Slurm starts all components of a job or none."""
    other = next(f"its component {job.id}: {why}" for job, why in zip(jobs, against, strict=True) if why)
    told = zip(jobs, against, strict=True)
    return [JobVerdict(job.id, False, 0, why or f"Slurm does not start {other}") for job, why in told]


def _does_not_count(job: Job, moment: Moment, snapshot: Snapshot, fits: misfits.Fits) -> str:
    """Say why a pending job asks for no machine of ours; "" where it does."""
    settings = moment.settings
    if against := _asks_for_others(job, settings) or why_never(job, moment.scheduling):
        return against
    if job.reason == "BeginTime" and not _begins_soon(job, snapshot, settings.demand):
        horizon = format_duration(settings.demand.begin_horizon)
        return f"does not begin within begin_horizon, {horizon} (BeginTime)"
    if job.reason == misfits.REASON and fits.of(job):
        return f"Slurm refuses the nodes that are there ({job.reason})"
    if not _waits_for_room(job, snapshot):
        return f"waits for something else ({job.reason or 'unknown'})"
    return ""


def _asks_for_others(job: Job, settings: ClusterSettings) -> str:
    """Say why no borrowed machine is what a job asks for; "" where one may be."""
    if settings.partitions and not set(settings.partitions) & set(job.partitions):
        return "in other partitions"
    if job.requested_nodes:
        return "asks for nodes by name"
    if job.reservation:
        return f"asks for the reservation {job.reservation!r}"
    return ""


def _begins_soon(job: Job, snapshot: Snapshot, settings: DemandSettings) -> bool:
    soon = snapshot.taken + timedelta(seconds=settings.begin_horizon)
    return job.begins is not None and job.begins <= soon


def _waits_for_room(job: Job, snapshot: Snapshot) -> bool:
    if job.reason in _TOO_FEW_NODES:
        there = sum(1 for n in snapshot.nodes.values() if not set(n.partitions).isdisjoint(job.partitions))
        return job.node_count > there
    return job.reason in _WAITING or job.reason in {"BeginTime", misfits.REASON}


def _moves(
    jobs: Sequence[Job],
    deadline: datetime,
    place: Callable[..., list[Placed]],
    supply: Supply,
    moment: Moment,
) -> list[JobVerdict]:
    """Place a job that will have to move: it has waited for nothing yet, and shall not begin to."""
    never = [_asks_for_others(job, moment.settings) or why_never(job, moment.scheduling) for job in jobs]
    if any(never):
        return [replace(v, why=f"has to move; {v.why}") for v in _dismissed(jobs, never)]
    # What is exclusive holds all CPUs of its machines, however many it asked for.
    most = max(offer.cpus for offer in supply.offers)
    limits = [most * max(job.node_count, 1) if job.exclusive else job.cpus for job in jobs]
    asking = [replace(job, cpus=min(job.cpus, limit)) for job, limit in zip(jobs, limits, strict=True)]
    must = f"has to move before {write_time(deadline)}"
    placed = zip(jobs, place(asking, may_borrow=True), strict=True)
    verdicts = [_verdict(job, each, must) for job, each in placed]
    return [v if v.machines else replace(v, why=f"has to move; {v.why}") for v in verdicts]


def _verdict(job: Job, placed: Placed, waits: str = "") -> JobVerdict:
    more = placed.borrowed + placed.beyond
    parts = []
    if more:
        none_spares = f", {placed.beyond} of which no CM can spare now" if placed.beyond else ""
        parts.append(f"{waits or f'waits ({job.reason})'} and needs {_machines(more)} more{none_spares}")
    if placed.returned:
        parts.append(f"takes {', '.join(sorted(placed.returned))} back into service")
    if placed.obstacle:
        parts.append(placed.obstacle)
    counts = bool(more or placed.returned or not placed.obstacle)
    why = "; ".join(parts) or "fits on what is free or coming"
    if counts and job.request is not None and job.request.contiguous:
        why += " (that its nodes have to be beside each other, --contiguous, is left out)"
    return JobVerdict(job.id, counts, more, why, placed.expects)


def _reasons(verdicts: list[JobVerdict]) -> list[str]:
    """Tell the plan in few words, however long the queue."""
    growing = [v for v in verdicts if v.machines]
    reasons = [f"job {v.job} {v.why}" for v in growing[:_TOLD]]
    if len(growing) > _TOLD:
        reasons.append(f"so do {len(growing) - _TOLD} other jobs")
    dismissed = Counter(v.why for v in verdicts if not v.counts)
    reasons += [f"{_jobs(number)} not counted: {why}" for why, number in sorted(dismissed.items())]
    return reasons


def _machines(count: int) -> str:
    return f"{count} machine" if count == 1 else f"{count} machines"


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
