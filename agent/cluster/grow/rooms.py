"""Machines in the order in which jobs take them, and where a wish finds those that can serve it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from agent.cluster.grow.choosing import Option
from agent.cluster.grow.machine import Left
from agent.cluster.grow.share import Share, share_of
from agent.cluster.grow.wish import Wish

_FULL_AT_MOST = 32
"""Full rooms that are looked at in vain before they are taken off the list."""


@dataclass(eq=False)
class Room:
    """One machine."""

    name: str
    """"" for one that has not joined."""
    left: Left
    number: int
    """The same for all machines of which the same is left."""
    among: Rooms
    """The list that it is on."""
    borrowed: str | None = None
    """Its type, where it is to be borrowed."""

    def take(self, left: Left) -> None:
        """Set down what is left of it."""
        self.left, self.number = left, self.among.number_of(left)
        if not left.has_room:
            self.among.note_full()


class Rooms:
    """Machines in the order in which jobs take them. What is left of one only becomes less.

    Args:
        found: name and what is left, of each.
    """

    def __init__(self, found: Iterable[tuple[str, Left]]) -> None:
        self._numbers: dict[Left, int] = {}
        self._rooms = [self._room(name, left) for name, left in found if left.has_room]
        self._full = 0
        self.turn = 0
        """Goes up where places in the list change."""

    def add(self, left: Left, kind: str) -> Room:
        """Add a machine of a type that is to be borrowed."""
        room = self._room("", left)
        room.borrowed = kind
        self._rooms.append(room)
        return room

    def note_full(self) -> None:
        """Take full machines off the list, once they are many."""
        self._full += 1
        if self._full > _FULL_AT_MOST:
            self._rooms = [room for room in self._rooms if room.left.has_room]
            self._full = 0
            self.turn += 1

    @property
    def count(self) -> int:
        """How many are on the list."""
        return len(self._rooms)

    def begin_at(self, place: int) -> Iterator[tuple[int, Room]]:
        """Yield the machines from a place in the list on, each with its place."""
        rooms = self._rooms
        return ((at, rooms[at]) for at in range(place, len(rooms)))

    def number_of(self, left: Left) -> int:
        """Return a number that stands for what is left of a machine."""
        return self._numbers.setdefault(left, len(self._numbers))

    def _room(self, name: str, left: Left) -> Room:
        return Room(name, left, self.number_of(left), self)


@dataclass(eq=False)
class Search:
    """Where one wish finds machines. It remembers where there are none."""

    wish: Wish
    _known: dict[int, Share | None] = field(default_factory=dict)
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
        for at, room in rooms.begin_at(self._start):
            number = room.number
            share = known[number] if number in known else self._share(room)
            if share is None:
                continue
            if is_first:
                self._start, is_first = at, False
            if room.name not in without:
                yield Option(room, share)
        if is_first:
            self._start = rooms.count

    def _share(self, room: Room) -> Share | None:
        share = self._known[room.number] = share_of(room.left, self.wish)
        return share
