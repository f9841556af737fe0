"""What Cloudlab said of machines, dropped once it holds no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Protocol

from agent.core.model import ResourceValue, Revocation, SliverNode, Taken
from agent.core.slice.machines import MachineBook
from agent.core.slice.settling import withdrawn


class Hearer(Protocol):
    """Who keeps what Cloudlab said: the manager."""

    taken: dict[str, Taken]
    revocations: dict[str, Revocation]
    resource_values: dict[str, ResourceValue]

    def drop_revocation(self, node_id: str) -> Revocation | None:
        """Forget a revocation."""


class Sayings:
    """Compares it with manifests. Not thread-safe: its owner holds a lock.

    Args:
        hearer: keeps what was said.
        book: the machines.
        cms: URNs of the CMs in use.
        grace: seconds after its deadline until a revocation of a machine that is still there is over.
    """

    def __init__(self, hearer: Hearer, book: MachineBook, cms: Iterable[str], grace: float) -> None:
        self._hearer = hearer
        self._book = book
        self._cms = frozenset(cms)
        self._grace = grace

    def is_taken(self, node: SliverNode, now: datetime) -> bool:
        """Tell whether Cloudlab said that it took a machine, or was free to."""
        revocation = self._hearer.revocations.get(node.node_id)
        due = revocation is not None and (revocation.releasable or revocation.deadline <= now)
        return due or node.node_id in self._hearer.taken

    def forget(self, node: SliverNode) -> None:
        """Drop what was said of a machine that is gone, but not of another that has its node_id now."""
        hearer, node_id = self._hearer, node.node_id
        there = (*self._book.held(), *self._book.foreign())
        others = [n for n in there if n.node_id == node_id and (n.cm, n.key) != (node.cm, node.key)]
        if not others:
            hearer.resource_values.pop(node_id, None)
        if (taken := hearer.taken.get(node_id)) and not any(map(taken.means, others)):
            del hearer.taken[node_id]
        if (revocation := hearer.revocations.get(node_id)) and not any(map(revocation.means, others)):
            hearer.drop_revocation(node_id)

    def refuted(
        self, nodes: Collection[SliverNode], read_at: datetime
    ) -> tuple[list[SliverNode], tuple[Revocation, ...]]:
        """Drop what a manifest refutes.

        Args:
            nodes: what it has.
            read_at: when it was read.

        Returns:
            The machines that were said to be taken and are there, and the revocations that are over.
        """
        hearer = self._hearer
        kept = [n for n in nodes if n.node_id in hearer.taken and hearer.taken[n.node_id].told < read_at]
        for node in kept:
            del hearer.taken[node.node_id]
        there = {node.node_id for node in nodes} | self._strangers()
        over = withdrawn(hearer.revocations.values(), there, read_at, self._grace)
        for revocation in over:
            hearer.drop_revocation(revocation.node_id)
        return kept, over

    def _strangers(self) -> set[str]:
        """Collect revoked node_ids that no CM holds for us; none while a CM was never read."""
        if self._book.slivers.keys() != self._cms:
            return set()
        there = (*self._book.held(), *self._book.foreign())
        return self._hearer.revocations.keys() - {node.node_id for node in there}
