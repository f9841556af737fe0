"""Which of the machines that could be among a job's it takes, and how many more it needs: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from agent.cluster.grow.share import Share
from agent.cluster.grow.wish import Wish

Place = TypeVar("Place")
"""A machine that is there, or a type of machine that would be borrowed."""


@dataclass(frozen=True)
class Option(Generic[Place]):
    """A machine that could be one of a job's."""

    place: Place
    share: Share


class Sum:
    """What several machines give a job together.

    Args:
        wish: what it asks for.
    """

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self.nodes = 0
        self._cpus = 0
        self._totals = dict.fromkeys(wish.per_job, 0)

    def add(self, share: Share, count: int = 1) -> None:
        """Add machines that give the same."""
        self.nodes += count
        self._cpus += share.cpus * count
        for kind, number in share.gres.items():
            self._totals[kind] += number * count

    def suffices(self) -> bool:
        """All of the job runs there."""
        wish = self._wish
        return (
            wish.min_nodes <= self.nodes <= wish.max_nodes
            and self._cpus >= wish.cpus
            and all(self._totals[kind] >= number for kind, number in wish.per_job.items())
        )


def choose(wish: Wish, options: Iterable[Option[Place]]) -> list[Option[Place]] | None:
    """Choose machines that suffice: the first that does alone, else the first that do together.

    Returns:
        None where all of them together are too little for the job.
    """
    found: list[Option[Place]] = []
    together = Sum(wish)
    for option in options:
        if wish.min_nodes == 1 and _alone(wish, option):
            return [option]
        found.append(option)
        if wish.min_nodes > 1 and together.nodes < wish.max_nodes:
            together.add(option.share)
            if together.suffices():
                return found
    if wish.max_nodes == 1:
        return None
    in_order = _first_that_suffice(wish, found)
    return in_order or _first_that_suffice(wish, sorted(found, key=lambda option: -option.share.cpus))


def _alone(wish: Wish, option: Option[Place]) -> bool:
    alone = Sum(wish)
    alone.add(option.share)
    return alone.suffices()


def _first_that_suffice(wish: Wish, options: Sequence[Option[Place]]) -> list[Option[Place]] | None:
    together = Sum(wish)
    for number, option in enumerate(islice(options, wish.max_nodes), 1):
        together.add(option.share)
        if together.suffices():
            return list(options[:number])
    return None


def lacking(
    wish: Wish, there: Sequence[Option[Place]], fresh: Share, most: int
) -> tuple[int, list[Option[Place]]] | None:
    """Count the machines of one type that a job needs besides those that are there.

    Args:
        wish: what it asks for.
        there: what it could have now, which does not suffice.
        fresh: what one more machine gives it.
        most: how many more there may be.

    Returns:
        How many, and which of those that are there it takes with them; None where so many do not suffice.
    """
    largest = sorted(there, key=lambda option: -option.share.cpus)
    for count in range(1, min(most, wish.max_nodes) + 1):
        together = Sum(wish)
        together.add(fresh, count)
        if together.suffices():
            return count, []
        for number, option in enumerate(islice(largest, wish.max_nodes - count), 1):
            together.add(option.share)
            if together.suffices():
                return count, largest[:number]
    return None


def mixed(
    wish: Wish,
    there: Sequence[Option[Place]],
    fresh: Mapping[str, Share],
    most: Mapping[str, int],
    most_in_all: int,
) -> tuple[Mapping[str, int], list[Option[Place]]] | None:
    """Count the machines of several types that a job needs, where none does alone: the largest first.

    Args:
        wish: what it asks for.
        there: what it could have now.
        fresh: type -> what one more machine gives it.
        most: type -> how many more there may be.
        most_in_all: how many more there may be of all types.

    Returns:
        Type -> how many, and which of those that are there; None where all of them do not suffice.
    """
    together = Sum(wish)
    taken: list[Option[Place]] = []
    counts: dict[str, int] = {}
    options = [(option.share.cpus, option) for option in there]
    for option in (option for _, option in sorted(options, key=lambda pair: -pair[0])):
        if together.nodes + 1 < wish.max_nodes:
            together.add(option.share)
            taken.append(option)
    for kind, share in sorted(fresh.items(), key=lambda item: -item[1].cpus):
        for number in range(1, min(most[kind], most_in_all - sum(counts.values())) + 1):
            if together.nodes >= wish.max_nodes:
                break
            together.add(share)
            counts[kind] = number
            if together.suffices():
                return counts, taken
    return None
