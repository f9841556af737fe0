"""Machines in the order in which jobs take them, and where a wish finds those that can serve it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from agent.cluster.grow.choosing import Option
from agent.cluster.grow.machine import Frame, Left
from agent.cluster.grow.share import Share, can_ever, share_now
from agent.cluster.grow.wish import Wish

_NO_LIMIT = 1 << 62
_REDRAWN_AT = 8
"""Bounds are drawn anew when one of so many machines has less left than they say."""
_FULL_AT_MOST = 32
"""Full rooms that are looked at in vain before they are taken off the list."""


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


class Bounds:
    """Kind by kind, how much memory is left at most on a machine with so many free CPUs.

    A machine of which something is taken stays within them.
    """

    def __init__(self) -> None:
        self._most: dict[int, list[int]] = {}
        """Kind -> number of CPUs -> MB."""

    def add(self, room: Room) -> None:
        """Let them hold a machine, too."""
        most = self._most.setdefault(room.kind, [])
        most += [-1] * (room.free + 1 - len(most))
        for cpus in range(room.free, -1, -1):
            if most[cpus] >= room.memory:
                break
            most[cpus] = room.memory

    def kinds_with(self, cpus: int, memory: int) -> Iterator[int]:
        """Yield the kinds of which a machine may have so much left."""
        return (k for k, most in self._most.items() if cpus < len(most) and most[cpus] >= memory)


class Rooms:
    """Machines in the order in which jobs take them. What is left of one only becomes less.

    Args:
        found: name, what is left, and the type where it has not joined, of each.
    """

    def __init__(self, found: Iterable[tuple[str, Left, str]]) -> None:
        self._kinds: dict[Frame, int] = {}
        self._examples: list[Left] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._bounds = Bounds()
        self._rooms = [self._room(name, left, of_type) for name, left, of_type in found if left.free_cpus]
        self._full = 0
        self._taken = 0
        """Machines of which something was taken since the bounds were drawn."""
        self.turn = 0
        """Goes up where places in the list change."""

    def add(self, left: Left, kind: str) -> Room:
        """Add a machine of a type that is to be borrowed."""
        room = self._room("", left, kind)
        room.borrowed = kind
        self._rooms.append(room)
        return room

    def note_taken(self, room: Room) -> None:
        """Draw the bounds anew, and take full machines off the list, once they are many."""
        self._taken += 1
        self._full += not room.free
        if self._taken * _REDRAWN_AT > len(self._rooms):
            self._taken = 0
            self._bounds = Bounds()
            for each in self._rooms:
                self._bounds.add(each)
        if self._full > _FULL_AT_MOST:
            self._rooms = [room for room in self._rooms if room.free]
            self._full = 0
            self.turn += 1

    def kinds_with(self, cpus: int, memory: int) -> Iterator[tuple[int, Left]]:
        """Yield the kinds of which a machine may have so much left, each with one such machine."""
        return ((kind, self._examples[kind]) for kind in self._bounds.kinds_with(cpus, memory))

    @property
    def in_order(self) -> Sequence[Room]:
        """Those that are on the list."""
        return self._rooms

    def number_of(self, kind: int, left: Left) -> int:
        """Return a number that stands for what is left of a machine of a kind."""
        same = (kind, left.rows, left.memory, left.gres, left.is_used, left.takes_memory)
        return self._numbers.setdefault(same, len(self._numbers))

    def _room(self, name: str, left: Left, of_type: str) -> Room:
        kind = self._kinds.setdefault(left.frame, len(self._kinds))
        if kind == len(self._examples):
            self._examples.append(left)
        room = Room(name, left, kind, self, of_type)
        self._bounds.add(room)
        return room


@dataclass(eq=False)
class Search:
    """Where one wish finds machines. It remembers where there are none."""

    wish: Wish
    _known: dict[int, Share | None] = field(default_factory=dict)
    _kinds: dict[int, bool] = field(default_factory=dict)
    """Which kinds of machines can be the job's at all."""
    _start: int = 0
    _turn: int = 0

    def options(self, rooms: Rooms, without: Collection[str]) -> Iterator[Option[Room]]:
        """Yield the machines that can be among the job's, each with what it can give.

        Args:
            rooms: always the same.
            without: names of machines that the job does not want.
        """
        if self._turn != rooms.turn:
            self._turn, self._start = rooms.turn, 0
        is_first = True
        known = self._known
        cpus, memory = self.wish.least_cpus, self.wish.least_memory
        kinds = {kind for kind, left in rooms.kinds_with(cpus, memory) if self._is_of_use(kind, left)}
        in_order = rooms.in_order if kinds else ()
        for at, room in enumerate(islice(in_order, self._start, None), self._start):
            if room.free < cpus or room.memory < memory or room.kind not in kinds:
                continue
            number = room.number
            share = known[number] if number in known else self._share(room)
            if share is None:
                continue
            if is_first:
                self._start, is_first = at, False
            if room.name not in without:
                yield Option(room, share)
        if is_first:
            self._start = len(rooms.in_order)

    def _is_of_use(self, kind: int, left: Left) -> bool:
        if kind not in self._kinds:
            self._kinds[kind] = can_ever(left, self.wish)
        return self._kinds[kind]

    def _share(self, room: Room) -> Share | None:
        share = self._known[room.number] = share_now(room.left, self.wish)
        return share
