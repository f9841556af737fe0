"""Packs pending jobs onto machines: those that are there, those that come, and those that are borrowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from agent.cluster.grow.horizon import ENDLESS, is_longer
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.core.settings import format_duration
from agent.slurm.constraint import satisfies
from agent.slurm.gres import Gres, parse_gres, take_gres
from agent.slurm.model import Job, Node, Snapshot


@dataclass
class Room:
    """What one machine has that no job has yet."""

    name: str
    """"" for a machine that has not joined."""
    free: int
    cpus: int
    memory: int | None
    """MB that are free; None where it is not looked at."""
    gres: Gres
    features: frozenset[str]
    partitions: frozenset[str] | None
    """None where it counts as in every partition: no machine of its type has joined yet."""
    used: bool = False
    """A job is there, or was placed there."""
    longest: timedelta | None = None
    """How long a job may take; None for any."""

    def takes(self, job: Job, cpus: int) -> bool:
        """Tell whether so many CPUs of a job find room here."""
        if self.name in job.excluded_nodes or self.free < cpus or (job.exclusive and self.used):
            return False
        if not self.is_in_reach(job) or is_longer(job, self.longest):
            return False
        if self.memory is not None and self.memory < _memory(job, cpus):
            return False
        return satisfies(self.features, job.features) and take_gres(self.gres, _gres(job)) is not None

    def is_in_reach(self, job: Job) -> bool:
        """Tell whether it is in one of a job's partitions."""
        return self.partitions is None or not self.partitions.isdisjoint(job.partitions)

    def most(self, job: Job) -> int:
        """Return how many CPUs of a job find room here at most."""
        cpus = min(self.free, job.cpus)
        if self.memory is not None and job.memory_per_cpu and job.memory:
            cpus = min(cpus, self.memory // job.memory)
        return cpus if cpus > 0 and self.takes(job, cpus) else 0

    def give(self, job: Job, cpus: int) -> None:
        """Take what a job needs out of it."""
        self.used = True
        self.free -= self.free if job.exclusive else cpus
        self.gres = take_gres(self.gres, _gres(job)) or {}
        if self.memory is not None:
            self.memory -= _memory(job, cpus)


@dataclass(frozen=True)
class Placed:
    """What became of the tasks of one job record."""

    borrowed: int = 0
    """Machines to borrow that CMs can spare."""
    beyond: int = 0
    """Machines wanted that no CM can spare."""
    returned: frozenset[str] = frozenset()
    """Drained nodes that it takes back into service."""
    obstacle: str = ""
    """Why a task found no place; "" where all did."""


class Packer:
    """Places jobs one after the other, first fit, and borrows machines for what finds no room.

    Attributes:
        borrowed: type -> machines to borrow.
        beyond: type -> machines that would be borrowed if a CM could spare them.
        claimed: names of the nodes in service with free CPUs that jobs are expected to take.
        returned: names of the drained nodes that go back into service.
    """

    def __init__(
        self, snapshot: Snapshot, supply: Supply, settings: DemandSettings, moving: Collection[str] = ()
    ) -> None:
        """Begin with what is free.

        Args:
            snapshot: what Slurm says.
            supply: what is held, and what could be had.
            settings: the limits, and what a machine gives.
            moving: ids of running jobs that are to be placed anew: what they hold becomes free.
        """
        self._settings = settings
        self._offers = settings.offers()
        self._supply = supply
        self._allowed = max(settings.max_nodes - supply.count, 0)
        self._limits = _array_limits(snapshot.jobs)
        staying = [job for job in snapshot.jobs if job.holds_nodes and job.id not in moving]
        self._running = Counter(map(array_of, staying))
        self._rooms = _rooms(snapshot, supply, self._offers, moving)
        self._wishes: list[Room] = []
        """Machines that no CM can spare: what is placed there waits, and takes no other job's machine."""
        self._hopeless: set[tuple[object, ...]] = set()
        self.borrowed: Counter[str] = Counter()
        self.beyond: Counter[str] = Counter()
        self.claimed: set[str] = set()
        self.returned: set[str] = set()

    @property
    def count(self) -> int:
        """Machines that are wanted in addition."""
        return self.borrowed.total() + self.beyond.total()

    def place(self, job: Job, *, may_borrow: bool) -> Placed:
        """Place what may run of a job record."""
        before = (self.borrowed.total(), self.beyond.total(), set(self.returned))
        tasks = job.task_count
        if (limit := self._limits.get(array_of(job))) is not None:
            tasks = min(tasks, max(limit - self._running[array_of(job)], 0))
        shape = (*shape_of(job, may_borrow), None if self._supply.horizon is ENDLESS else job.time_limit)
        obstacle = ""
        for _ in range(tasks):
            if shape in self._hopeless or not self._place_task(job, may_borrow):
                self._hopeless.add(shape)
                obstacle = self._obstacle(job, may_borrow)
                break
            self._running[array_of(job)] += 1
        return Placed(
            self.borrowed.total() - before[0],
            self.beyond.total() - before[1],
            frozenset(self.returned - before[2]),
            obstacle,
        )

    def keep_at_least(self, count: int) -> None:
        """Borrow until so many machines are held."""
        missing = max(min(count - self._supply.count, self._allowed) - self.count, 0)
        for offer in self._offers:
            if missing:
                taken = min(missing, self._obtainable(offer))
                self.borrowed[offer.type] += taken
                missing -= taken
        self.beyond[self._offers[0].type] += missing

    def _obstacle(self, job: Job, may_borrow: bool) -> str:
        fresh = [self._borrowable(offer) for offer in self._offers]
        if not any(room.is_in_reach(job) for room in fresh):
            return f"no borrowed machine comes into its partition ({', '.join(sorted(job.partitions))})"
        if all(is_longer(job, room.longest) for room in fresh):
            longest = max(room.longest or timedelta() for room in fresh)
            lent = format_duration(max(longest // timedelta(minutes=1), 0) * 60.0)
            return f"may take longer than a machine is lent for now, {lent}: a fence would keep it off"
        if not any(satisfies(room.features, job.features) for room in fresh):
            return f"borrowed machines do not offer {job.features!r}"
        if not any(take_gres(room.gres, _gres(job)) is not None for room in fresh):
            return f"borrowed machines do not offer {job.gres!r}"
        if not any(room.most(job) for room in fresh):
            per = " for each CPU" if job.memory_per_cpu else ""
            return f"borrowed machines do not offer {job.memory} MB{per}"
        if not may_borrow:
            return f"waits for less than grow_after, {self._settings.grow_after:g} s"
        return f"not all fits within max_nodes {self._settings.max_nodes}"

    def _place_task(self, job: Job, may_borrow: bool) -> bool:
        """Place one task as it asks, or over more machines where none is large enough for its share."""
        nodes = max(job.node_count, 1)
        share = -(-job.cpus // nodes)
        if self._take(job, nodes, share, None, 0):
            return True
        if not may_borrow:
            return False
        fitting = [
            (offer, nodes, share) for offer in self._offers if self._borrowable(offer).takes(job, share)
        ]
        for offer in self._offers:
            if (offer, nodes, share) not in fitting and (most := self._borrowable(offer).most(job)):
                fitting.append((offer, -(-job.cpus // most), most))
        for beyond in (False, True):
            for offer, count, each in fitting:
                limit = self._addable(offer) if beyond else self._obtainable(offer)
                if self._take(job, count, each, offer, limit, beyond=beyond):
                    return True
        return False

    def _borrowable(self, offer: Offer) -> Room:
        return _borrowable(offer, self._supply)

    def _addable(self, offer: Offer) -> int:
        """Count the machines of a type that the settings allow in addition."""
        held = self._supply.count_of(offer.type) + self.borrowed[offer.type] + self.beyond[offer.type]
        return max(min(self._allowed - self.count, offer.max_nodes - held), 0)

    def _obtainable(self, offer: Offer) -> int:
        if self._supply.spare is None:
            return self._addable(offer)
        spare = self._supply.spare.get(offer.type, 0) - self.borrowed[offer.type]
        return max(min(self._addable(offer), spare), 0)

    def _take(
        self, job: Job, nodes: int, share: int, offer: Offer | None, most: int, *, beyond: bool = False
    ) -> bool:
        """Take ``share`` CPUs on each of ``nodes`` machines, borrowing at most ``most``: all or nothing."""
        found: list[Room] = []
        for room in (*self._rooms, *self._wishes) if beyond else self._rooms:
            if len(found) == nodes:
                break
            if room.takes(job, share):
                found.append(room)
        lacking = nodes - len(found)
        if lacking > most:
            return False
        if offer is not None and lacking:
            fresh = [self._borrowable(offer) for _ in range(lacking)]
            (self.beyond if beyond else self.borrowed)[offer.type] += lacking
            (self._wishes if beyond else self._rooms).extend(fresh)
            found += fresh
        for room in found:
            room.give(job, share)
            if room.name in self._supply.returnable:
                self.returned.add(room.name)
            elif room.name:
                self.claimed.add(room.name)
        if any(room.free == 0 for room in found):
            self._rooms = [room for room in self._rooms if room.free > 0]
            self._wishes = [room for room in self._wishes if room.free > 0]
        return True


def _rooms(
    snapshot: Snapshot, supply: Supply, offers: Iterable[Offer], moving: Collection[str]
) -> list[Room]:
    """List what is there: nodes in service, machines that come, and nodes that may come back."""
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
    # Slurm may not know yet that a node is to be emptied.
    serving = [n for n in back if n.usable and "RESERVED" not in n.flags and n.name not in supply.leaving]
    resting = [_without_drain(n) for n in ordered if n.name in supply.returnable]
    coming = [_borrowable(offer, supply) for offer in offers for _ in range(supply.coming.get(offer.type, 0))]
    longest = supply.horizon.nodes
    rooms = [_room(n, holders.get(n.name, ()), longest.get(n.name)) for n in serving]
    rooms += coming
    rooms += [_room(n, holders.get(n.name, ()), longest.get(n.name)) for n in resting if n.usable]
    return [room for room in rooms if room.free > 0]


def when_empty(node: Node) -> Room:
    """Return what a node has, whatever runs there now."""
    return _room(replace(node, allocated_cpus=0, allocated_memory=0), (), None)


def _without(node: Node, job: Job) -> Node:
    """Return a node as it will be without the share of a job that moves."""
    cpus = -(-job.cpus // len(job.nodes))
    return replace(
        node,
        allocated_cpus=max(node.allocated_cpus - cpus, 0),
        allocated_memory=max(node.allocated_memory - _memory(job, cpus), 0),
    )


def _without_drain(node: Node) -> Node:
    return replace(node, flags=node.flags - {"DRAIN"})


def _room(node: Node, jobs: Collection[Job], longest: timedelta | None) -> Room:
    gres: Gres = _offered(node.gres)
    for job in jobs:
        gres = take_gres(gres, _gres(job)) or {}
    # Jobs and nodes are not read at one instant: a job that started in between is still among the pending
    # ones, and this node is the room that it found.
    is_held = bool(jobs) or "COMPLETING" in node.flags
    return Room(
        node.name,
        node.cpus - (node.allocated_cpus if is_held else 0),
        node.cpus,
        node.memory - (node.allocated_memory if is_held else 0),
        gres,
        node.features,
        frozenset(node.partitions),
        used=is_held and (not node.empty or node.allocated_cpus > 0),
        longest=longest,
    )


def _borrowable(offer: Offer, supply: Supply) -> Room:
    partitions = supply.partitions.get(offer.type)
    gres, longest = parse_gres(offer.gres), supply.horizon.fresh.get(offer.type)
    size = (offer.cpus, offer.cpus, offer.memory, gres)
    return Room("", *size, offer.features, partitions, longest=longest)


def _offered(text: str) -> Gres:
    """Read what a node offers; nothing where it cannot be read."""
    try:
        return parse_gres(text)
    except ValueError:
        return {}


def _gres(job: Job) -> Gres:
    try:
        return parse_gres(job.gres)
    except ValueError:
        # Nothing offers what cannot be read.
        return {job.gres: 1}


def _memory(job: Job, cpus: int) -> int:
    return job.memory * cpus if job.memory_per_cpu else job.memory


def shape_of(job: Job, may_borrow: bool = False) -> tuple[object, ...]:
    """Return all that decides whether a job finds a place."""
    size = (job.node_count, job.cpus, job.memory, job.memory_per_cpu, job.gres, job.exclusive)
    return (size, job.partitions, job.features, job.excluded_nodes, may_borrow)


def age(job: Job) -> tuple[float, str]:
    """Order jobs as they have their turn: oldest first, as far as it is known."""
    return (job.submitted.timestamp() if job.submitted else float("inf"), job.id)


def array_of(job: Job) -> str:
    """Return the id that all tasks of an array share; that of the job itself where it is in none."""
    return job.id.partition("_")[0]


def _array_limits(jobs: Iterable[Job]) -> Mapping[str, int]:
    """Return array -> how many of its tasks may run at once; a task that was split off does not tell it."""
    return {array_of(j): j.task_limit for j in jobs if j.task_limit is not None}
