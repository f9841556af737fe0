"""A wish, and where it finds machines: those that are there, and what one more of each type gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from agent.cluster.grow.machine import Left
from agent.cluster.grow.rooms import Search
from agent.cluster.grow.share import Share, share_of
from agent.cluster.grow.wish import Wish


@dataclass(frozen=True, eq=False)
class Searches:
    """A wish, and where it finds machines."""

    wish: Wish
    lefts: Mapping[str, Left]
    """Type -> what a machine of it has when it has come."""

    @cached_property
    def alone(self) -> Search:
        """Where it finds machines that have all CPUs that it asks for."""
        wish = self.wish
        # One that says what the system keeps may have more than is left to others.
        says_what_is_kept = wish.core_spec or wish.thread_spec
        return Search(wish, wish.least_cpus if says_what_is_kept else max(wish.cpus, wish.least_cpus))

    @cached_property
    def there(self) -> Search:
        """Where it finds machines that could be some of its own."""
        return Search(self.wish, self.wish.least_cpus)

    @cached_property
    def beyond(self) -> Search:
        """Where it finds such as no CM can spare."""
        return Search(self.wish, self.wish.least_cpus)

    @cached_property
    def fresh(self) -> Mapping[str, Share]:
        """Type -> what a machine that is borrowed gives; no key where it can be none of the job's."""
        return dict(self.each_fresh())

    def each_fresh(self) -> Iterator[tuple[str, Share]]:
        """Yield them one by one."""
        shares = ((kind, share_of(left, self.wish)) for kind, left in self.lefts.items())
        return ((kind, share) for kind, share in shares if share is not None)
