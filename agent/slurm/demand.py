"""How many machines does the queue want, and which of ours can go back: pure decisions.

The queue is packed onto the CPUs that are free now, then onto the machines that are coming, and the rest onto
machines that would have to be borrowed. It is an estimate of what Slurm will do, not a copy of its scheduler:
memory and other resources are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from agent.core.settings import Duration, Section, format_duration
from agent.slurm.features import satisfies
from agent.slurm.model import Job, Node, Snapshot

_WAITING = frozenset({"Resources", "Priority", "None"})
"""Pending reasons of a job that would start if there were room (``squeue %r``)."""
_TOO_FEW_NODES = frozenset({"PartitionConfig", "PartitionNodeLimit"})
"""Reasons that Slurm gives, among others, to a job of more nodes than its partition has now."""
_TOLD = 20
"""Jobs that are told one by one in the reasons of a plan."""


class DemandSettings(Section):
    """[demand]: when machines are borrowed and given back."""

    node_cpus: int = Field(1, ge=1, description="number of CPUs that Slurm sees on one borrowed machine")
    features: tuple[str, ...] = Field(
        (), description="Slurm features that every borrowed machine has; jobs that want others do not count"
    )
    min_nodes: int = Field(0, ge=0, description="number of machines that are kept even when nothing waits")
    max_nodes: int = Field(10, ge=0, description="number of machines that are held at most")
    idle_timeout: Duration = Field(
        600, ge=0, description="how long a machine is idle before it counts as surplus"
    )
    begin_horizon: Duration = Field(
        600,
        ge=0,
        description="how near the begin time of a job is, such as a requeued one, for it to count already",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}")
        return self


@dataclass(frozen=True)
class GrowthPlan:
    """What the queue wants beyond what there is."""

    count: int
    """Machines to borrow in addition, 0 or more."""
    reasons: tuple[str, ...] = ()
    """Why, and why jobs do not count, in words."""
    claimed: frozenset[str] = field(default=frozenset(), repr=False)
    """Names of nodes with free CPUs that pending jobs are expected to take."""


@dataclass(frozen=True)
class SurplusNode:
    """A machine that may go back."""

    name: str
    reason: str


@dataclass
class _Room:
    """CPUs on one machine that no job has yet."""

    name: str
    """"" for a machine that is not joined."""
    free: int
    cpus: int
    features: frozenset[str]
    partitions: frozenset[str] | None
    """None where it will be in every partition that counts."""

    def takes(self, job: Job, cpus: int) -> bool:
        fits = self.free == self.cpus >= cpus if job.exclusive else self.free >= cpus
        here = self.partitions is None or not self.partitions.isdisjoint(job.partitions)
        return fits and here and satisfies(self.features, job.features)


def plan_growth(
    snapshot: Snapshot,
    *,
    ours: Collection[str],
    coming: int,
    settings: DemandSettings,
    partitions: Collection[str] = (),
) -> GrowthPlan:
    """Decide how many more machines to borrow.

    Args:
        snapshot: what Slurm says.
        ours: node names of the machines that we hold and that have joined.
        coming: machines held or asked for that have not joined yet.
        settings: [demand].
        partitions: whose jobs count; empty for all.

    Returns:
        A count that keeps ``len(ours) + coming + count`` within ``max_nodes``, and at ``min_nodes`` or above.
    """
    allowed = max(settings.max_nodes - len(ours) - coming, 0)
    packer = _Packer(snapshot, coming, allowed, settings)
    dismissed: Counter[str] = Counter()
    told: list[str] = []
    for job in sorted(snapshot.jobs, key=_age):
        if job.state != "PENDING":
            continue
        against = _does_not_count(job, snapshot, partitions, settings)
        if against:
            dismissed[against] += 1
            continue
        more = packer.place(job)
        if more:
            told.append(f"job {job.id} waits ({job.reason}) and needs {_machines(more)} more")
    reasons = told[:_TOLD]
    if len(told) > _TOLD:
        reasons.append(f"so do {len(told) - _TOLD} other jobs")
    dismissed += packer.unplaced
    reasons += [f"{_jobs(number)} not counted: {why}" for why, number in sorted(dismissed.items())]
    missing = min(settings.min_nodes - len(ours) - coming, allowed)
    if missing > packer.borrowed:
        reasons.append(f"min_nodes is {settings.min_nodes}, {_machines(len(ours) + coming)} held or coming")
    return GrowthPlan(max(packer.borrowed, missing), tuple(reasons), frozenset(packer.claimed))


def _age(job: Job) -> tuple[float, str]:
    """Oldest first, as far as it is known."""
    return (job.submitted.timestamp() if job.submitted else float("inf"), job.id)


def _does_not_count(
    job: Job, snapshot: Snapshot, partitions: Collection[str], settings: DemandSettings
) -> str:
    """Say why a pending job asks for no machine of ours; "" where it does."""
    if partitions and not set(partitions) & set(job.partitions):
        return "in other partitions"
    if job.requested_nodes:
        return "asks for nodes by name"
    if not _waits_for_room(job, snapshot, settings):
        return f"waits for something else ({job.reason or 'unknown'})"
    return ""


def _waits_for_room(job: Job, snapshot: Snapshot, settings: DemandSettings) -> bool:
    if job.reason == "BeginTime":
        soon = snapshot.taken + timedelta(seconds=settings.begin_horizon)
        return job.begins is not None and job.begins <= soon
    if job.reason in _TOO_FEW_NODES:
        there = sum(1 for n in snapshot.nodes.values() if not set(n.partitions).isdisjoint(job.partitions))
        return job.node_count > there
    return job.reason in _WAITING or job.reason == "ReqNodeNotAvail"


class _Packer:
    """Packs pending jobs onto free CPUs, first fit, and borrows machines for the rest."""

    def __init__(self, snapshot: Snapshot, coming: int, allowed: int, settings: DemandSettings) -> None:
        self._settings = settings
        self._allowed = allowed
        self._running = Counter(_array(j) for j in snapshot.jobs if j.holds_nodes)
        rooms = [_room(n) for n in snapshot.nodes.values() if n.usable and n.allocated_cpus < n.cpus]
        self._rooms = rooms + [self._borrowable() for _ in range(coming)]
        self._hopeless: set[tuple[object, ...]] = set()
        self.borrowed = 0
        self.claimed: set[str] = set()
        self.unplaced: Counter[str] = Counter()

    def _borrowable(self) -> _Room:
        cpus = self._settings.node_cpus
        return _Room("", cpus, cpus, frozenset(self._settings.features), None)

    def place(self, job: Job) -> int:
        """Place what may run of a job; return how many machines had to be borrowed for it."""
        before = self.borrowed
        tasks = job.task_count
        if job.task_limit is not None:
            tasks = min(tasks, job.task_limit - self._running[_array(job)])
        shape = (job.partitions, job.features, job.exclusive, job.node_count, job.cpus)
        for _ in range(tasks):
            if shape in self._hopeless or not self._place_task(job):
                self._hopeless.add(shape)
                self.unplaced[self._obstacle(job)] += 1
                break
        return self.borrowed - before

    def _obstacle(self, job: Job) -> str:
        if not satisfies(frozenset(self._settings.features), job.features):
            return f"borrowed machines do not offer {job.features!r}"
        return f"not all fits within max_nodes {self._settings.max_nodes}"

    def _place_task(self, job: Job) -> bool:
        """Place one task as it asks, or over more machines where one of ours is too small for its share."""
        nodes = max(job.node_count, 1)
        share = -(-job.cpus // nodes)
        if share <= self._settings.node_cpus:
            return self._take(job, nodes, share, self._allowed - self.borrowed)
        spread = -(-job.cpus // self._settings.node_cpus)
        return self._take(job, nodes, share, 0) or self._take(
            job, spread, self._settings.node_cpus, self._allowed - self.borrowed
        )

    def _take(self, job: Job, nodes: int, share: int, most: int) -> bool:
        """Take ``share`` CPUs on each of ``nodes`` machines, borrowing at most ``most``: all or nothing."""
        found: list[_Room] = []
        for room in self._rooms:
            if len(found) == nodes:
                break
            if room.takes(job, share):
                found.append(room)
        lacking = nodes - len(found)
        fresh = [self._borrowable() for _ in range(min(lacking, most))]
        if len(fresh) < lacking or not all(room.takes(job, share) for room in fresh[:1]):
            return False
        self.borrowed += lacking
        self._rooms += fresh
        for room in (*found, *fresh):
            room.free -= room.cpus if job.exclusive else share
            if room.name:
                self.claimed.add(room.name)
        if any(room.free == 0 for room in (*found, *fresh)):
            self._rooms = [room for room in self._rooms if room.free > 0]
        return True


def _room(node: Node) -> _Room:
    free = node.cpus - node.allocated_cpus
    return _Room(node.name, free, node.cpus, node.features, frozenset(node.partitions))


def _array(job: Job) -> str:
    return job.id.partition("_")[0]


def _machines(count: int) -> str:
    return f"{count} machine" if count == 1 else f"{count} machines"


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def plan_surplus(
    snapshot: Snapshot,
    *,
    ours: Collection[str],
    idle_since: Mapping[str, datetime],
    values: Mapping[str, float],
    growth: GrowthPlan,
    settings: DemandSettings,
    now: datetime,
) -> tuple[SurplusNode, ...]:
    """Decide which machines of ours may go back.

    Args:
        snapshot: what Slurm says.
        ours: node names of the machines that we hold and that have joined.
        idle_since: node name -> since when it has been seen without a job; one that is missing is not idle.
        values: node name -> how much Cloudlab wants it, 0 to 1; the most wanted go first.
        growth: what the queue wants at the same moment; nothing goes while it wants more machines.
        settings: [demand].
        now: the time of the decision.

    Returns:
        At most ``len(ours) - min_nodes`` nodes, in the order in which they should go. Never one that is
        drained (who drained it decides), that pending jobs are expected to take, or that a job asks for by
        name.
    """
    if growth.count > 0:
        return ()
    kept = growth.claimed.union(*(j.requested_nodes | j.nodes for j in snapshot.jobs))
    idle = [
        node.name
        for node in _held(snapshot, ours)
        if node.usable and node.empty and node.name not in kept and node.name in idle_since
        if now - idle_since[node.name] >= timedelta(seconds=settings.idle_timeout)
    ]
    idle.sort(key=lambda name: (-values.get(name, 0.0), idle_since[name], name))
    spare = max(len(ours) - settings.min_nodes, 0)
    return tuple(SurplusNode(name, _idle_reason(idle_since[name], now)) for name in idle[:spare])


def _held(snapshot: Snapshot, ours: Collection[str]) -> Sequence[Node]:
    return [snapshot.nodes[name] for name in ours if name in snapshot.nodes]


def _idle_reason(since: datetime, now: datetime) -> str:
    return f"idle for {format_duration(round((now - since).total_seconds()))} and nothing waits for it"
