"""Packs pending jobs onto machines: those that are there, those that come, and those that are borrowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.cluster.grow.choosing import Option, choose, choose_one, choose_several, lacking, mixed
from agent.cluster.grow.horizon import ENDLESS
from agent.cluster.grow.machine import Left
from agent.cluster.grow.refusals import NOWHERE
from agent.cluster.grow.rooms import Room, Rooms, Search
from agent.cluster.grow.searches import Searches
from agent.cluster.grow.share import give
from agent.cluster.grow.supply import Supply
from agent.cluster.grow.there import borrowable, machines_there
from agent.cluster.grow.unmet import why_unmet
from agent.cluster.grow.wish import Wish, wishes_of
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.slurm.model import Job, Snapshot
from agent.slurm.scheduling import Scheduling


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
    expects: frozenset[str] = field(default=frozenset(), compare=False)
    """The nodes in service that all of it is expected to start on, or those of its tasks that find such; else
    empty."""
    types: frozenset[str] = field(default=frozenset(), compare=False)
    """Types of the machines to borrow that it is expected to start on."""


class Packer:
    """Places jobs one after the other, first fit, and borrows machines for what finds no room.

    Attributes:
        borrowed: type -> machines to borrow.
        beyond: type -> machines that would be borrowed if a CM could spare them.
        claimed: names of the nodes in service with free CPUs that jobs are expected to take.
        returned: names of the drained nodes that go back into service.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        supply: Supply,
        settings: DemandSettings,
        moving: Collection[str] = (),
        scheduling: Scheduling | None = None,
    ) -> None:
        """Begin with what is free.

        Args:
            snapshot: what Slurm says.
            supply: what is held, and what could be had.
            settings: the limits, and what a machine gives.
            moving: ids of running jobs that are to be placed anew: what they hold becomes free.
            scheduling: how Slurm chooses nodes; None where that is not known.
        """
        self._settings = settings
        self._offers = supply.offers or settings.offers()
        self._supply = supply
        self._scheduling = scheduling
        self._allowed = max(settings.max_nodes - supply.count, 0)
        self._limits = _array_limits(snapshot.jobs)
        staying = [job for job in snapshot.jobs if job.holds_nodes and job.id not in moving]
        self._running = Counter(map(array_of, staying))
        self._fresh: Mapping[str, Left] = {o.type: borrowable(o, supply, scheduling) for o in self._offers}
        self._rooms = Rooms(machines_there(snapshot, supply, self._offers, moving, scheduling))
        self._wishes = Rooms(())
        """Machines that no CM can spare: what is placed there waits, and takes no other job's machine."""
        self._shapes: dict[tuple[object, ...], int] = {}
        """All that decides whether a job finds a place -> a number that stands for it."""
        self._requests: dict[int, int] = {}
        """Identity of what a job asks for -> its number among these; the reading keeps it alive."""
        self._searches: dict[int, tuple[Searches, ...]] = {}
        self._in_vain: dict[bool, dict[int, Placed]] = {True: {}, False: {}}
        """May borrow -> what found no place: no later job that asks for the same does, as all gets less."""
        self._found: list[Room] = []
        """Where the task that is being placed is."""
        self._refusal = NOWHERE
        """Where that record is not expected to start."""
        self._others: frozenset[Room] = frozenset()
        """What other components of the heterogeneous job take that is being placed."""
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
        shape = self._turn_to(job)
        tasks = job.task_count
        if self._limits and (limit := self._limits.get(array_of(job))) is not None:
            tasks = min(tasks, max(limit - self._running[array_of(job)], 0))
        if tasks and (in_vain := self._in_vain[may_borrow].get(shape)):
            return in_vain
        before = (self.borrowed.total(), self.beyond.total(), set(self.returned))
        obstacle = ""
        types: frozenset[str] = frozenset()
        expects: frozenset[str] = frozenset()
        searches = self._searches.get(shape) or self._begin(shape, job)
        for _ in range(tasks):
            self._found = []
            if not self._place_task(job, searches, may_borrow):
                obstacle = self._obstacle(job, searches, may_borrow)
                self._in_vain[may_borrow][shape] = Placed(obstacle=obstacle)
                del self._searches[shape]
                break
            if self._limits:
                self._running[array_of(job)] += 1
            types |= self._types()
            expects |= self._expected()
        return Placed(
            self.borrowed.total() - before[0],
            self.beyond.total() - before[1],
            frozenset(self.returned - before[2]),
            obstacle,
            expects,
            types,
        )

    def place_whole(self, jobs: Sequence[Job], *, may_borrow: bool) -> list[Placed]:
        """Place a job, or the components of a heterogeneous one: all or none, each on machines of its own.

        Returns:
            One for each; where one finds no place, the others name it.
        """
        if len(jobs) == 1:
            return [self.place(jobs[0], may_borrow=may_borrow)]
        chosen: list[tuple[Job, _Choice]] = []
        for job in jobs:
            shape = self._turn_to(job)
            if not (placed := self._in_vain[may_borrow].get(shape)):
                searches = self._searches.get(shape) or self._begin(shape, job)
                if choice := self._choose(job, searches, may_borrow):
                    self._count(choice, 1)
                    self._others |= {option.place for option in choice.chosen}
                    chosen.append((job, choice))
                    continue
                placed = Placed(obstacle=self._obstacle(job, searches, may_borrow))
                if not chosen:
                    self._in_vain[may_borrow][shape] = placed
            for _, choice in chosen:
                self._count(choice, -1)
            self._others = frozenset()
            other = Placed(obstacle=f"its component {job.id} finds no place: {placed.obstacle}")
            return [placed if each is job else other for each in jobs]
        self._others = frozenset()
        if any(choice.beyond for _, choice in chosen):
            # Part of its machines would be of no use to it.
            for number, (job, choice) in enumerate(chosen):
                self._count(choice, -1)
                chosen[number] = job, replace(choice, beyond=True)
                self._count(chosen[number][1], 1)
        found = [self._take_all(choice) for _, choice in chosen]
        if all(placed.expects for placed in found):
            return found
        # Slurm starts none of them before all can start.
        return [replace(placed, expects=frozenset()) for placed in found]

    def _take_all(self, choice: _Choice) -> Placed:
        self._found, returned = [], set(self.returned)
        self._take(choice)
        more = sum(choice.kinds.values())
        borrowed, beyond = (0, more) if choice.beyond else (more, 0)
        taken_back = frozenset(self.returned - returned)
        return Placed(borrowed, beyond, taken_back, "", self._expected(), self._types())

    def _turn_to(self, job: Job) -> int:
        """Look up where a record is refused; return a number for all that decides where it fits."""
        refusals = self._supply.refusals
        self._refusal = refusals.of(shape_of(job), array_of(job)) if refusals else NOWHERE
        limit = None if self._supply.horizon is ENDLESS else job.time_limit
        request = job.request
        if (asked := self._requests.get(id(request))) is None:
            # It is long to hash, and many jobs have the same.
            asked = self._shapes.setdefault((request,), len(self._shapes))
            self._requests[id(request)] = asked
        shape = (asked, *_size_of(job), limit, self._refusal)
        return self._shapes.setdefault(shape, len(self._shapes))

    def _types(self) -> frozenset[str]:
        return frozenset(room.borrowed for room in self._found if room.borrowed is not None)

    def _expected(self) -> frozenset[str]:
        names = frozenset(room.name for room in self._found)
        return frozenset() if "" in names or names & set(self._supply.returnable) else names

    def keep_at_least(self, count: int) -> None:
        """Borrow until so many machines are held."""
        missing = max(min(count - self._supply.count, self._allowed) - self.count, 0)
        for offer in self._offers:
            if missing:
                taken = min(missing, self._obtainable(offer))
                self.borrowed[offer.type] += taken
                missing -= taken
        self.beyond[self._offers[0].type] += missing

    def _begin(self, shape: int, job: Job) -> tuple[Searches, ...]:
        wishes = wishes_of(job, self._scheduling)
        searches = tuple(Searches(wish, self._open()) for wish in wishes)
        return self._searches.setdefault(shape, searches)

    def _obstacle(self, job: Job, searches: Sequence[Searches], may_borrow: bool) -> str:
        fresh = self._open()
        refused = [self._refusal.words] if self._refusal.words else []
        if not fresh:
            return refused[0]
        why = ""
        if len(fresh) == 1 or not any(next(each.each_fresh(), None) for each in searches):
            shares = [each.fresh for each in searches]
            why = why_unmet(job, [each.wish for each in searches], list(fresh.values()), shares)
        if not why and not may_borrow:
            why = f"waits for less than grow_after, {self._settings.grow_after:g} s"
        why = why or f"not all fits within max_nodes {self._settings.max_nodes}"
        return "; ".join((*refused, why))

    def _open(self) -> Mapping[str, Left]:
        """Return what one more machine of each type gives, without those that the record is refused on."""
        refused = self._refusal.types
        return {k: left for k, left in self._fresh.items() if k not in refused} if refused else self._fresh

    def _options(self, search: Search, rooms: Rooms, job: Job) -> Iterator[Option[Room]]:
        options, refusal, others = search.options(rooms, job.excluded_nodes), self._refusal, self._others
        if others:
            options = (o for o in options if o.place not in others)
        if not refusal:
            return options
        return (o for o in options if not refusal.bars(o.place.name, o.place.type))

    def _place_task(self, job: Job, searches: Sequence[Searches], may_borrow: bool) -> bool:
        """Place one task on what is there, or on as few more machines as it needs: all or nothing."""
        choice = self._choose(job, searches, may_borrow)
        if choice is None:
            return False
        self._count(choice, 1)
        self._take(choice)
        return True

    def _choose(self, job: Job, searches: Sequence[Searches], may_borrow: bool) -> _Choice | None:
        seen: list[list[Option[Room]]] = []
        for each in searches:
            options: list[Option[Room]] = []
            chosen = choose_one(each.wish, self._options(each.alone, self._rooms, job))
            if not chosen and each.wish.max_nodes > 1:
                found = _noted(self._options(each.there, self._rooms, job), options)
                chosen = choose_several(each.wish, found)
            if chosen:
                return _Choice(each, chosen)
            seen.append(options)
        if not may_borrow:
            return None
        choice = self._borrow(job, searches, seen, beyond=False)
        # Without a limit of the CMs' own no more than that can be wished for.
        if choice or self._supply.spare is None:
            return choice
        return self._borrow(job, searches, seen, beyond=True)

    def _borrow(
        self,
        job: Job,
        searches: Sequence[Searches],
        seen: Sequence[Sequence[Option[Room]]],
        beyond: bool,
    ) -> _Choice | None:
        """Borrow for one task: of the type of which the fewest machines are needed, the preferred first."""
        found = []
        if self.count >= self._allowed and not (beyond and self._wishes):
            return None
        most = {offer.type: self._most(offer, beyond) for offer in self._offers}
        for each, options in zip(searches, seen, strict=True):
            there = list(options)
            if beyond:
                there += self._options(each.beyond, self._wishes, job)
            fresh = each.fresh
            if beyond and there and (chosen := choose(each.wish, there)):
                return _Choice(each, chosen)
            ways: list[tuple[int, Mapping[str, int], list[Option[Room]]]] = []
            for kind, share in fresh.items():
                if way := lacking(each.wish, there, share, most[kind]):
                    ways.append((way[0], {kind: way[0]}, way[1]))
            is_mixed = not ways and len(fresh) > 1
            if is_mixed and (mix := mixed(each.wish, there, fresh, most, self._allowed - self.count)):
                ways.append((sum(mix[0].values()), *mix))
            found += [(count, each, kinds, taken) for count, kinds, taken in ways]
        if not found:
            return None
        _, each, kinds, taken = min(found, key=lambda way: (way[0], len(way[3])))
        return _Choice(each, taken, kinds, beyond)

    def _count(self, choice: _Choice, sign: int) -> None:
        for kind, count in choice.kinds.items():
            (self.beyond if choice.beyond else self.borrowed)[kind] += sign * count

    def _take(self, choice: _Choice) -> None:
        """Take the machines of a choice that is counted."""
        taken, rooms = [*choice.chosen], self._wishes if choice.beyond else self._rooms
        for kind, count in choice.kinds.items():
            left, given = self._fresh[kind], choice.searches.fresh[kind]
            taken += (Option(rooms.add(left, kind), given) for _ in range(count))
        self._give(choice.searches.wish, taken)

    def _most(self, offer: Offer, beyond: bool) -> int:
        return self._addable(offer) if beyond else self._obtainable(offer)

    def _addable(self, offer: Offer) -> int:
        """Count the machines of a type that the settings allow in addition."""
        held = self._supply.count_of(offer.type) + self.borrowed[offer.type] + self.beyond[offer.type]
        return max(min(self._allowed - self.count, offer.max_nodes - held), 0)

    def _obtainable(self, offer: Offer) -> int:
        if self._supply.spare is None:
            return self._addable(offer)
        spare = self._supply.spare.get(offer.type, 0) - self.borrowed[offer.type]
        return max(min(self._addable(offer), spare), 0)

    def _give(self, wish: Wish, chosen: Sequence[Option[Room]]) -> None:
        """Take what a job needs out of the machines that it takes."""
        cpus, tasks, totals = wish.cpus, wish.tasks, dict(wish.per_job)
        for number, option in enumerate(chosen):
            room, share = option.place, option.share
            self._found.append(room)
            reserved = (min(len(chosen), wish.min_nodes) - number - 1) * share.per_core
            most = max(cpus - max(reserved, 0), wish.cpus_per_node, wish.cpus_per_task)
            if wish.tasks_per_node and not wish.exclusive:
                most = min(most, wish.tasks_per_node * wish.cpus_per_task)
            given = min(share.cpus, most)
            started = min(max(given // wish.cpus_per_task, 1), share.most_tasks, max(tasks, 1))
            gres = {kind: min(count, totals[kind]) for kind, count in share.gres.items() if totals[kind]}
            room.take(give(room.left, share, given, started, gres, wish))
            cpus, tasks = cpus - given, tasks - started
            for kind, count in gres.items():
                totals[kind] -= count
            if room.name in self._supply.returnable:
                self.returned.add(room.name)
            elif room.name:
                self.claimed.add(room.name)


def _noted(options: Iterator[Option[Room]], seen: list[Option[Room]]) -> Iterator[Option[Room]]:
    """Yield options, and put them on a list: all of them, once there are no more."""
    for option in options:
        seen.append(option)
        yield option


@dataclass(frozen=True, eq=False)
class _Choice:
    """The machines that a job would take."""

    searches: Searches
    chosen: Sequence[Option[Room]]
    """Those that are there."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Type -> how many more are borrowed."""
    beyond: bool = False
    """No CM can spare these."""


def shape_of(job: Job) -> tuple[object, ...]:
    """Return all that decides whether a job finds a place."""
    return (*_size_of(job), job.request)


def _size_of(job: Job) -> tuple[object, ...]:
    size = (job.node_count, job.cpus, job.memory, job.memory_per_cpu, job.gres, job.exclusive)
    return (*size, job.partitions, job.features, job.excluded_nodes)


def age(job: Job) -> tuple[float, str]:
    """Order jobs as they have their turn: oldest first, as far as it is known."""
    return (job.submitted.timestamp() if job.submitted else float("inf"), job.id)


def array_of(job: Job) -> str:
    """Return the id that all tasks of an array share; that of the job itself where it is in none."""
    return job.id.partition("_")[0]


def _array_limits(jobs: Iterable[Job]) -> Mapping[str, int]:
    """Return array -> how many of its tasks may run at once; a task that was split off does not tell it."""
    return {array_of(j): j.task_limit for j in jobs if j.task_limit is not None}
