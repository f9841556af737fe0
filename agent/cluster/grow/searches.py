"""A wish, and where it finds machines: those that are there, and what one more of each type gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.cluster.grow.machine import Left
from agent.cluster.grow.rooms import Search, Shares
from agent.cluster.grow.share import Share, share_of
from agent.cluster.grow.wish import Wish


class Searches:
    """A wish, and where it finds machines.

    Args:
        wish: what is looked for.
        lefts: type -> what a machine of it has when it has come.

    Attributes:
        alone: where it finds machines that have all CPUs that it asks for.
        there: where it finds machines that could be some of its own.
    """

    def __init__(self, wish: Wish, lefts: Mapping[str, Left]) -> None:
        self.wish = wish
        self._lefts = lefts
        self._fresh: Mapping[str, Share] | None = None
        # One that says what the system keeps may have more than is left to others.
        says_what_is_kept = wish.core_spec or wish.thread_spec
        least = wish.least_cpus
        shares = Shares()
        self.alone = Search(wish, least if says_what_is_kept else max(wish.cpus, least), shares)
        self.there = Search(wish, least, shares)
        self._beyond: Search | None = None

    @property
    def beyond(self) -> Search:
        """Where it finds machines that no CM can spare."""
        if self._beyond is None:
            self._beyond = Search(self.wish, self.wish.least_cpus, Shares())
        return self._beyond

    @property
    def fresh(self) -> Mapping[str, Share]:
        """Type -> what a machine that is borrowed gives; no key where it can be none of the job's."""
        if self._fresh is None:
            self._fresh = dict(self.each_fresh())
        return self._fresh

    def each_fresh(self) -> Iterator[tuple[str, Share]]:
        """Yield them one by one."""
        shares = ((kind, share_of(left, self.wish)) for kind, left in self._lefts.items())
        return ((kind, share) for kind, share in shares if share is not None)
