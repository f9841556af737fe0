"""Machines in the order in which jobs take them, and where a wish finds those that can serve it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from agent.cluster.grow.choosing import Option
from agent.cluster.grow.machine import Left
from agent.cluster.grow.share import Share, can_ever, share_now
from agent.cluster.grow.wish import Wish

_NO_LIMIT = 1 << 62
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
        if not self.free:
            self.among.note_full()

    def _measure(self) -> None:
        left = self.left
        self.free = left.free_cpus
        self.memory = _NO_LIMIT if left.memory is None else left.memory
        self.number = self.among.number_of(self.kind, left)


class Rooms:
    """Machines in the order in which jobs take them. What is left of one only becomes less.

    Args:
        found: name, what is left, and the type where it has not joined, of each.
    """

    def __init__(self, found: Iterable[tuple[str, Left, str]]) -> None:
        self._kinds: dict[tuple[object, ...], int] = {}
        self._numbers: dict[tuple[object, ...], int] = {}
        self._rooms = [self._room(name, left, of_type) for name, left, of_type in found if left.free_cpus]
        self._full = 0
        self.turn = 0
        """Goes up where places in the list change."""

    def add(self, left: Left, kind: str) -> Room:
        """Add a machine of a type that is to be borrowed."""
        room = self._room("", left, kind)
        room.borrowed = kind
        self._rooms.append(room)
        return room

    def note_full(self) -> None:
        """Take full machines off the list, once they are many."""
        self._full += 1
        if self._full > _FULL_AT_MOST:
            self._rooms = [room for room in self._rooms if room.free]
            self._full = 0
            self.turn += 1

    @property
    def in_order(self) -> Sequence[Room]:
        """Those that are on the list."""
        return self._rooms

    def number_of(self, kind: int, left: Left) -> int:
        """Return a number that stands for what is left of a machine of a kind."""
        same = (kind, left.rows, left.memory, left.gres, left.is_used, left.takes_memory)
        return self._numbers.setdefault(same, len(self._numbers))

    def _room(self, name: str, left: Left, of_type: str) -> Room:
        kind = self._kinds.setdefault((left.frame, left.unreadable), len(self._kinds))
        return Room(name, left, kind, self, of_type)


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
        known, kinds = self._known, self._kinds
        cpus, memory = self.wish.least_cpus, self.wish.least_memory
        in_order = rooms.in_order
        # What is appended meanwhile is looked at too.
        for at, room in enumerate(islice(in_order, self._start, None), self._start):
            if room.free < cpus or room.memory < memory or not kinds.get(room.kind, True):
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
            self._start = len(in_order)

    def _share(self, room: Room) -> Share | None:
        """Look at a machine as it is now; at no other one of its kind again where that is the wrong one."""
        if room.kind not in self._kinds:
            self._kinds[room.kind] = can_ever(room.left, self.wish)
        share = share_now(room.left, self.wish) if self._kinds[room.kind] else None
        self._known[room.number] = share
        return share
