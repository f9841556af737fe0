"""What the queue wants of Cloudlab: how many machines, of which types and names, and from which CM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.lenders import Borrowing
from agent.cluster.grow.supply import Supply
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.known import Known
from agent.cluster.moment import Picture
from agent.cluster.planner import Grower
from agent.core.model import SliverNode
from agent.core.ports import Clock


class Wanting:
    """Sets what the queue wants against what we hold and the CMs can spare.

    Args:
        known: the moment.
        grower: plans growth.
        borrowing: counts what we hold and could have.
        giveback: which nodes are surplus.
        failed: lists the machines that are of no use.
        clock: time.

    Attributes:
        names: names that Slurm's power saving wants machines for -> their types, at the last ``at``.
    """

    def __init__(
        self,
        known: Known,
        grower: Grower,
        borrowing: Borrowing,
        giveback: GiveBack,
        failed: Callable[[], Iterable[SliverNode]],
        clock: Clock,
    ) -> None:
        self._known = known
        self._grower = grower
        self._borrowing = borrowing
        self._giveback = giveback
        self._failed = failed
        self._clock = clock
        self.names: Mapping[str, str] = {}

    def supply(self, picture: Picture) -> Supply:
        """Count what we hold, and what the CMs can spare."""
        failed = {machine.sliver_id for machine in self._failed()}
        return self._borrowing.supply(picture, failed, self._giveback.returnable, self._clock.now())

    def growth(self, picture: Picture) -> GrowthPlan:
        """Plan growth."""
        return self._grower.growth(picture.snapshot, self.supply(picture))

    def shares(self, growth: GrowthPlan) -> dict[tuple[str, str], int]:
        """Share a plan out among the CMs: (type, CM) -> machines."""
        return self._borrowing.shares(growth, self._clock.now())

    def at(self, cm: str) -> dict[str, int]:
        """Return type -> machines that the queue wants from this CM; nothing without a reading of Slurm."""
        snapshot = self._known.snapshot
        if snapshot is None:
            return {}
        growth = self.growth(self._known.picture(snapshot))
        self.names = growth.names
        return {kind: n for (kind, at), n in self.shares(growth).items() if at == cm}

    def held_or_coming(self) -> int:
        """Count the machines that are held, or were asked for; 0 before Slurm was read once."""
        snapshot = self._known.snapshot
        return self.supply(self._known.picture(snapshot)).count if snapshot else 0
