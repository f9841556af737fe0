"""Which of the machines that could be among a job's it takes, and how many more it needs: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from agent.cluster.grow.share import Share
from agent.cluster.grow.wish import Wish

Place = TypeVar("Place")
"""A machine that is there, or a type of machine that would be borrowed."""


class Option(NamedTuple, Generic[Place]):
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
        self._tasks = 0
        self._totals = dict.fromkeys(wish.per_job, 0)
        self._features: Counter[frozenset[str]] = Counter()

    def add(self, share: Share, count: int = 1) -> None:
        """Add machines that give the same."""
        self.nodes += count
        self._cpus += share.cpus * count
        self._tasks += share.most_tasks * count
        for kind, number in share.gres.items():
            self._totals[kind] += number * count
        if self._wish.constraint.groups:
            self._features[share.features] += count

    def suffices(self) -> bool:
        """All of the job runs there."""
        wish = self._wish
        return (
            wish.min_nodes <= self.nodes <= wish.max_nodes
            and self._cpus >= wish.cpus
            and (self._tasks >= wish.tasks or not wish.counts_tasks)
            and all(self._totals[kind] >= number for kind, number in wish.per_job.items())
            and self._serves_groups()
        )

    def _serves_groups(self) -> bool:
        """Tell whether each group has its machines, those first that are in the fewest groups."""
        groups = self._wish.constraint.groups
        if not groups:
            return True
        left = self._features.copy()
        for group in groups:
            missing = group.count
            fitting = [each for each in left if group.features.met_by(each)]
            for each in sorted(fitting, key=lambda has: sum(g.features.met_by(has) for g in groups)):
                taken = min(missing, left[each])
                left[each] -= taken
                missing -= taken
            if missing:
                return False
        return True


def choose(wish: Wish, options: Iterable[Option[Place]]) -> list[Option[Place]] | None:
    """Choose machines that suffice: the first that does alone, else the first that do together.

    Returns:
        None where all of them together are too little for the job.
    """
    every = list(options)
    return choose_one(wish, every) or choose_several(wish, every)


def choose_one(wish: Wish, options: Iterable[Option[Place]]) -> list[Option[Place]] | None:
    """Choose the first machine that suffices alone; None where none does."""
    if wish.min_nodes > 1:
        return None
    return next(([option] for option in options if _alone(wish, option)), None)


def choose_several(wish: Wish, options: Iterable[Option[Place]]) -> list[Option[Place]] | None:
    """Choose the first machines that suffice together, where none does alone.

    Returns:
        None where all of them are too little for the job: then all options were taken, unless the job has one
        machine at most.
    """
    if wish.max_nodes == 1:
        return None
    found: list[Option[Place]] = []
    together = Sum(wish)
    is_in_order = wish.min_nodes > 1 or not wish.constraint.groups
    for option in options:
        found.append(option)
        if is_in_order and together.nodes < wish.max_nodes:
            together.add(option.share)
            if together.suffices():
                return found
    for order in (found, sorted(found, key=_largest_first)):
        if chosen := _first_that_suffice(wish, _groups_first(wish, order)):
            return chosen
    return None


def _alone(wish: Wish, option: Option[Place]) -> bool:
    if option.share.cpus < wish.cpus:
        return False
    alone = Sum(wish)
    alone.add(option.share)
    return alone.suffices()


def _largest_first(option: Option[Place]) -> int:
    return -option.share.cpus


def _groups_first(wish: Wish, options: Sequence[Option[Place]]) -> list[Option[Place]]:
    """Put those in front that a group of machines needs, group by group."""
    left = list(options)
    first: list[Option[Place]] = []
    for group in wish.constraint.groups:
        fitting = [option for option in left if group.features.met_by(option.share.features)]
        first += fitting[: group.count]
        left = [option for option in left if option not in first]
    return first + left


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
    largest = _groups_first(wish, sorted(there, key=_largest_first))
    for count in range(max(wish.min_nodes - len(there), 1), min(most, wish.max_nodes) + 1):
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
    taken = _groups_first(wish, sorted(there, key=_largest_first))[: wish.max_nodes - 1]
    for option in taken:
        together.add(option.share)
    counts: Counter[str] = Counter()
    for kind in _kinds_in_turn(wish, taken, fresh, most):
        if together.nodes < wish.max_nodes and counts.total() < most_in_all and counts[kind] < most[kind]:
            together.add(fresh[kind])
            counts[kind] += 1
            if together.suffices():
                return counts, taken
    return None


def _kinds_in_turn(
    wish: Wish, taken: Sequence[Option[Place]], fresh: Mapping[str, Share], most: Mapping[str, int]
) -> Iterator[str]:
    """Yield the types to take machines of: first such as a group lacks, then the largest."""
    for group in wish.constraint.groups:
        meets = group.features.met_by
        missing = group.count - sum(1 for option in taken if meets(option.share.features))
        fitting = [kind for kind, share in fresh.items() if meets(share.features) and most[kind]]
        yield from fitting[:1] * max(missing, 0)
    for kind in sorted(fresh, key=lambda each: -fresh[each].cpus):
        yield from [kind] * min(most[kind], wish.max_nodes)
