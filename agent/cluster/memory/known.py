"""What is known at this moment of our machines: Cloudlab's word, Slurm's, and the administrators'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from agent.cluster.drain.wanted import Situation, Wishes, drains_of, wishes_of
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.drains import Drains
from agent.cluster.memory.hold import GrowthHold
from agent.cluster.moment import Picture
from agent.cluster.reasons import Drain
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.join import node_name
from agent.core.model import ResourceValue, Revocation, SliverNode, Taken
from agent.core.slice.inventory import Inventory
from agent.slurm.model import Snapshot


class Holder(Protocol):
    """What the manager knows of Cloudlab."""

    rlock: Any
    cmlist: tuple[str, ...]
    inventory: Inventory
    resource_values: dict[str, ResourceValue]
    revocations: dict[str, Revocation]
    taken: dict[str, Taken]
    settings: ClusterSettings

    def held(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that manifests say are ours."""


class Known:
    """Answers from memory, for any thread.

    Args:
        holder: the manager.
        failed: lists the machines that are of no use.
        drains: what was said of single machines.
        giveback: which nodes are surplus.
        hold: the administrator's wish for the whole slice.

    Attributes:
        snapshot: what Slurm said last; None before it was read once.
        read_back: the CMs of whose machines it is known what an earlier run of the agent did to them.
    """

    def __init__(
        self,
        holder: Holder,
        failed: Callable[[], Iterable[SliverNode]],
        *,
        drains: Drains,
        giveback: GiveBack,
        hold: GrowthHold,
    ) -> None:
        self._holder = holder
        self._failed = failed
        self._drains = drains
        self._giveback = giveback
        self._hold = hold
        self.snapshot: Snapshot | None = None
        self.read_back: frozenset[str] = frozenset()

    def machines(self) -> dict[str, SliverNode]:
        """Return node name -> machine, for every machine that a manifest says is ours."""
        named = ((self.name(node), node) for node in self._holder.held())
        return {name: node for name, node in named if name}

    def name(self, machine: SliverNode) -> str:
        """Return a machine's node name; "" while it has none."""
        return node_name(machine, self._holder.settings.join)

    def failed(self) -> set[str]:
        """Return the node names of the machines that are of no use."""
        return {self.name(machine) for machine in self._failed()}

    def is_complete(self) -> bool:
        """Tell whether every CM's manifest was read: else other nodes may be machines of ours too."""
        return self._holder.inventory.slivers.keys() >= set(self._holder.cmlist)

    def picture(self, snapshot: Snapshot) -> Picture:
        """Set our machines beside what Slurm says."""
        now = self._situation()
        return Picture(snapshot, now.machines, frozenset(drains_of(now)))

    def values(self, machines: Mapping[str, SliverNode]) -> dict[str, float]:
        """Return node name -> resource value, of those of these machines that have one."""
        with self._holder.rlock:
            values = dict(self._holder.resource_values)
        return {n: values[m.node_id].value for n, m in machines.items() if m.node_id in values}

    def drains(self) -> dict[str, Drain]:
        """Return node name -> the most urgent reason to empty it."""
        return drains_of(self._situation())

    def wishes(self) -> Wishes:
        """Tell what is to be emptied now, and what is ours to touch."""
        read_back, now = self.read_back, self._situation()
        unread = frozenset(name for name, machine in now.machines.items() if machine.cm not in read_back)
        return replace(wishes_of(now, self._holder.settings.drain), unread=unread)

    def _situation(self) -> Situation:
        snapshot = self.snapshot
        known = snapshot.nodes if snapshot else {}
        failed = self.failed() & known.keys()
        with self._holder.rlock:
            return Situation(
                machines=self.machines(),
                all_read=self.is_complete(),
                snapshot=snapshot,
                revocations=dict(self._holder.revocations),
                taken=set(self._holder.taken),
                useless=self._giveback.chosen | failed,
                hold=self._hold.wish,
                leases=self._holder.inventory.expires,
                said=self._drains.said,
                limited=self._drains.limited,
            )
