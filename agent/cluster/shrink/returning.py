"""Begins to give surplus nodes back, and takes that back while it may be undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.moment import Picture
from agent.cluster.planner import Grower
from agent.cluster.shrink.surplus import NodeVerdict, names_in_use
from agent.core.events import EventKind
from agent.slurm.model import SlurmBackend, Snapshot


class Returning:
    """Acts on what ``plan_surplus`` says.

    Args:
        backend: the way in to Slurm; its reservations are read only when a node is about to go.
        grower: plans.
        giveback: remembers.
        tell: records an event: kind, subject, words.
    """

    def __init__(
        self,
        backend: SlurmBackend,
        grower: Grower,
        giveback: GiveBack,
        tell: Callable[[EventKind, str, str], None],
    ) -> None:
        self._backend = backend
        self._grower = grower
        self._giveback = giveback
        self._tell = tell

    def mark(self, picture: Picture, growth: GrowthPlan, values: Mapping[str, float], now: datetime) -> bool:
        """Begin to empty the nodes that the queue has no use for; tell whether there are any.

        Raises:
            SlurmError: Slurm's reservations could not be read; nothing was done.
        """
        going = [verdict for verdict in self.verdicts(picture, growth, values, now) if verdict.goes]
        for verdict in going:
            self._giveback.choose(verdict.name)
            node_id = picture.machines[verdict.name].node_id
            self._tell(EventKind.SURPLUS, node_id, f"to be given back: {verdict.why}")
        return bool(going)

    def verdicts(
        self, picture: Picture, growth: GrowthPlan, values: Mapping[str, float], now: datetime
    ) -> tuple[NodeVerdict, ...]:
        """Tell which nodes go and which stay.

        Raises:
            SlurmError: Slurm's reservations could not be read.
        """
        verdicts = self._grower.surplus(picture, growth, values, now)
        if any(verdict.goes for verdict in verdicts):
            return self._grower.surplus(picture, growth, values, now, self._backend.reservations())
        return verdicts

    def keep(self, snapshot: Snapshot, growth: GrowthPlan) -> bool:
        """Return draining nodes to service for jobs that wait for room, or that name them meanwhile.

        Raises:
            SlurmError: Slurm's reservations could not be read; nothing was done.
        """
        kept = self.to_keep(snapshot, growth)
        self._giveback.keep(kept)
        for name, why in sorted(kept.items()):
            self._tell(EventKind.KEEP, name, why)
        return bool(kept)

    def to_keep(self, snapshot: Snapshot, growth: GrowthPlan) -> dict[str, str]:
        """Tell which draining nodes are to return to service: node name -> why.

        Raises:
            SlurmError: Slurm's reservations could not be read.
        """
        resting = self._giveback.returnable
        if not resting:
            return {}
        waiting = [job for job in snapshot.jobs if not job.holds_nodes]
        named = names_in_use(waiting, self._backend.reservations(), snapshot.taken)
        kept = {name: named[name] for name in resting & named.keys()}
        return kept | dict.fromkeys(growth.returned & resting, "the queue wants it again")
