"""Machines in the order in which jobs take them, and where a wish finds those that can serve it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import merge

from agent.cluster.grow.choosing import Option
from agent.cluster.grow.machine import Frame, Left
from agent.cluster.grow.share import Share, can_ever, may_still, share_now
from agent.cluster.grow.wish import Wish

_NO_LIMIT = 1 << 62
_REDRAWN_AT = 8
"""Bounds are drawn anew when one of so many machines has less left than they say."""
_TOLD_APART = 8
"""Generic resources are told apart by count up to so many."""


@dataclass(eq=False)
class Room:
    """One machine."""

    name: str
    """"" for one that has not joined."""
    left: Left
    kind: int
    """The same for all machines that can ever take the same jobs."""
    among: Rooms
    """The list that it is on."""
    at: int
    """Its place on that list."""
    type: str = ""
    """Hardware type of one that has not joined."""
    borrowed: str | None = None
    """Its type, where it is to be borrowed."""
    free: int = 0
    """CPUs that one job can have at most."""
    memory: int = 0
    """MB that one job can have at most."""
    number: int = 0
    """The same for all machines of which the same is left."""

    def __post_init__(self) -> None:
        self._measure()

    def take(self, left: Left) -> None:
        """Set down what is left of it."""
        self.left = left
        self._measure()
        self.among.note_taken(self)

    def _measure(self) -> None:
        left = self.left
        self.free = left.free_cpus
        self.memory = _NO_LIMIT if left.memory is None else left.memory
        self.number = self.among.number_of(self.kind, left)


@dataclass(eq=False)
class Group:
    """Machines of one kind that differ in free CPUs and MB alone, as far as jobs look closely, in order."""

    number: int
    kind: int
    example: Left
    """What one of them has at most of all but CPUs and MB."""
    places: list[int] = field(default_factory=list)
    rooms: list[Room] = field(default_factory=list)
    most: list[int] = field(default_factory=list)
    """Number of free CPUs -> MB that one of them has at most; those that have less by now are within it."""

    def add(self, room: Room) -> None:
        """Add a machine."""
        index = bisect_left(self.places, room.at)
        self.places.insert(index, room.at)
        self.rooms.insert(index, room)
        self._hold(room)

    def remove(self, room: Room) -> None:
        """Take a machine away."""
        index = bisect_left(self.places, room.at)
        del self.places[index], self.rooms[index]

    def redraw(self) -> None:
        """Find anew what they have at most."""
        self.most = []
        for room in self.rooms:
            self._hold(room)

    def _hold(self, room: Room) -> None:
        most = self.most
        most += [-1] * (room.free + 1 - len(most))
        for cpus in range(room.free, -1, -1):
            if most[cpus] >= room.memory:
                break
            most[cpus] = room.memory


class Rooms:
    """Machines in the order in which jobs take them. What is left of one only becomes less.

    Args:
        found: name, what is left, and the type where it has not joined, of each.
    """

    def __init__(self, found: Iterable[tuple[str, Left, str]]) -> None:
        self._kinds: dict[Frame, int] = {}
        self._groups: dict[tuple[object, ...], Group] = {}
        self._group_of: dict[int, Group] = {}
        """Place of each machine that is not full -> its group."""
        self._numbers: dict[tuple[object, ...], int] = {}
        self._taken = 0
        """Machines of which something was taken since the bounds were drawn."""
        self._made = 0
        """Groups that were ever there."""
        self.end = 0
        """The place of the machine that is added next."""
        for name, left, of_type in found:
            if left.free_cpus:
                self._room(name, left, of_type)

    def __bool__(self) -> bool:
        """Tell whether any machine is not full."""
        return bool(self._group_of)

    def add(self, left: Left, kind: str) -> Room:
        """Add a machine of a type that is to be borrowed."""
        room = self._room("", left, kind)
        room.borrowed = kind
        return room

    def note_taken(self, room: Room) -> None:
        """Put a machine where it belongs now; draw the bounds anew once many have less than those say."""
        before = self._group_of.pop(room.at)
        group = self._group(room) if room.free else None
        if group is not before:
            before.remove(room)
            if group is not None:
                group.add(room)
        if group is not None:
            self._group_of[room.at] = group
        self._taken += 1
        if self._taken * _REDRAWN_AT > len(self._group_of):
            self._taken = 0
            self._groups = {key: group for key, group in self._groups.items() if group.rooms}
            for each in self._groups.values():
                each.redraw()

    def groups_with(self, cpus: int, memory: int) -> list[Group]:
        """Return the groups of which a machine may have so much left."""
        groups = self._groups.values()
        return [group for group in groups if cpus < len(group.most) and group.most[cpus] >= memory]

    def number_of(self, kind: int, left: Left) -> int:
        """Return a number that stands for what is left of a machine of a kind."""
        same = (kind, left.rows, left.memory, left.gres, left.is_used, left.takes_memory)
        return self._numbers.setdefault(same, len(self._numbers))

    def _room(self, name: str, left: Left, of_type: str) -> Room:
        kind = self._kinds.setdefault(left.frame, len(self._kinds))
        room = Room(name, left, kind, self, self.end, of_type)
        self.end += 1
        group = self._group_of[room.at] = self._group(room)
        group.add(room)
        return room

    def _group(self, room: Room) -> Group:
        left = room.left
        has_all = left.memory is None or left.memory == left.frame.memory
        gres = tuple((name, _rounded_up(count)) for name, count in left.gres) if left.gres else ()
        key = (room.kind, gres, left.is_used, left.takes_memory, has_all)
        group = self._groups.get(key)
        if group is None:
            self._made += 1
            group = self._groups[key] = Group(self._made, room.kind, replace(left, gres=gres))
        return group


def _rounded_up(count: int) -> int:
    """Let groups be few however many of a generic resource machines have."""
    return count if count <= _TOLD_APART else 1 << (count - 1).bit_length()


@dataclass(eq=False, slots=True)
class Shares:
    """What machines can give one wish, as far as it was looked at."""

    known: dict[int, Share | None] = field(default_factory=dict)
    kinds: dict[int, bool] = field(default_factory=dict)
    """Which kinds of machines can be the job's at all."""
    groups: dict[int, bool] = field(default_factory=dict)
    """Which groups of machines may have what it asks for besides CPUs and MB."""


@dataclass(eq=False, slots=True)
class Search:
    """Where one wish finds machines. It remembers where there are none."""

    wish: Wish
    cpus: int
    """The fewest that a machine has to have free."""
    shares: Shares = field(default_factory=Shares)
    """The same for all searches of one wish on the same machines."""
    _start: int = 0

    def options(self, rooms: Rooms, without: Collection[str]) -> Iterator[Option[Room]]:
        """Yield the machines that can be among the job's, each with what it can give.

        Args:
            rooms: always the same.
            without: names of machines that the job does not want.
        """
        groups = rooms.groups_with(self.cpus, self.wish.least_memory)
        found = [self._of(group) for group in groups if self._is_of_use(group)]
        is_first = True
        for at, option in found[0] if len(found) == 1 else merge(*found):
            if is_first:
                self._start, is_first = at, False
            if option.place.name not in without:
                yield option
        if is_first:
            self._start = rooms.end

    def _is_of_use(self, group: Group) -> bool:
        if group.number not in self.shares.groups:
            if group.kind not in self.shares.kinds:
                self.shares.kinds[group.kind] = can_ever(group.example, self.wish)
            is_of_use = self.shares.kinds[group.kind] and may_still(group.example, self.wish)
            self.shares.groups[group.number] = is_of_use
        return self.shares.groups[group.number]

    def _of(self, group: Group) -> Iterator[tuple[int, Option[Room]]]:
        """Yield the machines of a group that can be among the job's, each with its place in the order."""
        cpus, memory, known = self.cpus, self.wish.least_memory, self.shares.known
        for index in range(bisect_left(group.places, self._start), len(group.rooms)):
            room = group.rooms[index]
            if room.free < cpus or room.memory < memory:
                continue
            number = room.number
            share = known[number] if number in known else self._share(room)
            if share is not None:
                yield room.at, Option(room, share)

    def _share(self, room: Room) -> Share | None:
        share = self.shares.known[room.number] = share_now(room.left, self.wish)
        return share
