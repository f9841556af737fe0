"""What Cloudlab said of machines, dropped once it holds no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from agent.core.model import Place, SliverNode
from agent.core.said import ResourceValue, Revocation, Taken, said_of
from agent.core.slice.machines import MachineBook
from agent.core.slice.settling import withdrawn


class Hearer(Protocol):
    """Who keeps what Cloudlab said: the manager."""

    taken: dict[Place, Taken]
    revocations: dict[Place, Revocation]
    resource_values: dict[Place, ResourceValue]

    def follow_clock(self) -> None:
        """Move the deadlines of revocations with the wall clock, where that was set."""

    def drop_revocation(self, place: Place) -> Revocation | None:
        """Forget a revocation."""


class Sayings:
    """Compares it with manifests. Not thread-safe: its owner holds a lock.

    Args:
        hearer: keeps what was said.
        book: the machines.
        cms: URNs of the CMs in use.
        grace: seconds after its deadline until a revocation of a machine that is still there is over.
        ends: CM -> until when its sliver lasts, as it changes: nobody says that a machine goes then.
    """

    def __init__(
        self,
        hearer: Hearer,
        book: MachineBook,
        cms: Iterable[str],
        grace: float,
        ends: Mapping[str, datetime] = MappingProxyType({}),
    ) -> None:
        self._hearer = hearer
        self._book = book
        self._cms = frozenset(cms)
        self._grace = grace
        self._ends = ends

    def is_taken(self, node: SliverNode, now: datetime) -> bool:
        """Tell whether Cloudlab said that it took a machine, or was free to, at the end of its lease too."""
        if (end := self._ends.get(node.cm)) is not None and end <= now:
            return True
        said = (r for r in said_of(self._hearer.revocations, node) if r.means(node))
        due = any(revocation.offered or revocation.deadline <= now for revocation in said)
        return due or any(taken.means(node) for taken in said_of(self._hearer.taken, node))

    def forget(self, node: SliverNode) -> None:
        """Drop what was said of a machine that is gone, but not of another that has its node_id now.

        What nobody told of which CM it is said goes too, unless it may be of a machine that is there.
        """
        hearer = self._hearer
        there = [n for n in (*self._book.held(), *self._book.foreign()) if n.key != node.key]
        for place in (node.place, ("", node.node_id)):
            others = [n for n in there if n.node_id == node.node_id and place[0] in {"", n.cm}]
            if not others:
                hearer.resource_values.pop(place, None)
            if (taken := hearer.taken.get(place)) and not any(map(taken.means, others)):
                del hearer.taken[place]
            if (revocation := hearer.revocations.get(place)) and not any(map(revocation.means, others)):
                hearer.drop_revocation(place)

    def confirmed(self, read_at: Mapping[str, datetime]) -> None:
        """Drop what was said of taken machines that no manifest has which was read since: it is done.

        Kept, it would grow without end, and be held against the next machine at that place.

        Args:
            read_at: CM -> when the reading of its last manifest began, by the steady clock.
        """
        there = {n.node_id for n in (*self._book.held(), *self._book.foreign())}
        taken = self._hearer.taken
        for place, word in list(taken.items()):
            cms = {word.cm} if word.cm in self._cms else self._cms
            if word.node_id not in there and all(cm in read_at and word.told < read_at[cm] for cm in cms):
                del taken[place]

    def refuted(
        self, nodes: Collection[SliverNode], read_at: datetime, on_wall: datetime
    ) -> tuple[list[SliverNode], tuple[Revocation, ...]]:
        """Drop what a manifest refutes.

        Args:
            nodes: what it has.
            read_at: when it was read, by the steady clock.
            on_wall: the same by the wall clock, which deadlines are kept in.

        Returns:
            The machines that were said to be taken and are there, and the revocations that are over.
        """
        hearer = self._hearer
        told = {n: [t for t in said_of(hearer.taken, n) if t.told < read_at] for n in nodes}
        kept = [n for n, said in told.items() if any(taken.means(n) for taken in said)]
        for node, said in told.items():
            for taken in said:
                # One without a CM may be about a machine at another one.
                if taken.cm or taken.means(node):
                    hearer.taken.pop(taken.place, None)
        there = {r.place for r in hearer.revocations.values() if any(map(r.is_at, nodes))} | self._strangers()
        over = withdrawn(hearer.revocations.values(), there, on_wall, self._grace)
        for revocation in over:
            hearer.drop_revocation(revocation.place)
        return kept, over

    def _strangers(self) -> set[Place]:
        """Collect the places of revocations that no CM has a machine at; none while one was not read."""
        if self._book.slivers.keys() != self._cms:
            return set()
        there = (*self._book.held(), *self._book.foreign())
        return {r.place for r in self._hearer.revocations.values() if not any(map(r.is_at, there))}
