"""Which machines may be given back now, and what is done when nothing is left on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.hold import GrowthHold
from agent.cluster.memory.known import Known
from agent.cluster.reach import Reach
from agent.cluster.reasons import DrainCause
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import AgentError
from agent.core.events import EventData, EventKind, Release
from agent.core.model import Revocation
from agent.core.ports import Clock, Host, HostResult

IN_TIME = 1.5
"""So many intervals before the deadline, the next notice comes and leaves time to act should it not."""


class Owner(Protocol):
    """What the manager gives."""

    clock: Clock
    settings: ClusterSettings
    rlock: Any
    revocations: dict[str, Revocation]

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event."""

    def wake(self, *steps: str) -> None:
        """Make steps due now."""

    def end_delete(self, nodelist: Sequence[str]) -> None:
        """Let the next reply tell Cloudlab that it may take these node_ids."""

    def get_delete_commands(self, nodelist: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the shell commands that are run on a machine when nothing is left on it."""


class Departures:
    """Goes by what is known; thread-safe, since what it remembers is.

    Args:
        owner: the manager.
        known: the moment.
        giveback: which nodes are surplus, and which are empty.
        hold: the administrator's wish for the whole slice.
        reach: runs commands on machines.
    """

    def __init__(
        self, owner: Owner, *, known: Known, giveback: GiveBack, hold: GrowthHold, reach: Reach
    ) -> None:
        self._owner = owner
        self._known = known
        self._giveback = giveback
        self._hold = hold
        self._reach = reach

    def is_idle(self, name: str) -> bool:
        """Tell whether no job is on a node and none can start there; False while Slurm was never read."""
        snapshot = self._known.snapshot
        if snapshot is None or snapshot.jobs_on([name]):
            return False
        node = snapshot.nodes.get(name)
        return node is None or not node.usable

    def are_near(self) -> bool:
        """Tell whether a machine may be given back as soon as its node is seen idle."""
        return bool(self._giveback.emptied or self._released())

    def due(self, cm: str | None) -> list[str]:
        """Return the client_ids of the surplus machines of a CM that are empty; in a teardown of all."""
        ready = self._giveback.emptied
        if not self._hold.tearing_down:
            ready &= self._giveback.chosen
        idle = sorted(name for name in ready | self._released() if self.is_idle(name))
        machines = self._known.machines()
        return [machines[n].client_id for n in idle if n in machines and cm in {None, machines[n].cm}]

    def _released(self) -> set[str]:
        """Return the names of the revoked machines that are empty, where we give them back ourselves."""
        drain = self._owner.settings.drain
        with self._owner.rlock:
            revocations = self._owner.revocations.values()
            free = {r.node_id: r.client_id for r in revocations if is_given_back(r, drain)}
        machines = self._known.machines()
        return {n for n, m in machines.items() if free.get(m.node_id) in {"", m.client_id}}

    def leave(self, name: str, timeout: float) -> HostResult:
        """Run the delete commands on a node, within so many seconds."""
        machine = self._known.machines().get(name)
        if machine is None:
            return HostResult(Host(name, "", ""), "", "it is not ours any more")
        try:
            commands = self._owner.get_delete_commands([vars(machine)])
        except AgentError as error:
            return HostResult(self._reach.host(machine), "", str(error))
        return self._reach.run(machine, commands, timeout)

    def left(self, action: LeaveNode) -> None:
        """Take note that nothing is left on a node: a revoked machine is released, another given back."""
        machine = self._known.machines().get(action.node)
        if machine is None:
            return
        if action.cause is not DrainCause.REVOKED:
            self._giveback.empty(action.node)
            if action.cause is DrainCause.ADMIN:
                self._giveback.choose(action.node)
            self._owner.wake("delete_nodes")
            return
        self._owner.end_delete([machine.node_id])
        self._owner.wake("delete_nodes")
        now = self._owner.clock.now()
        margin = (action.deadline - now).total_seconds() if action.deadline else 0.0
        with self._owner.rlock:
            revocation = self._owner.revocations.get(machine.node_id)
        self._owner.tell(
            EventKind.RELEASE,
            machine.node_id,
            f"Cloudlab may take it, {margin:.0f} s before its deadline",
            Release(
                margin_seconds=round(margin, 1),
                drain_seconds=round((now - revocation.noticed).total_seconds(), 1) if revocation else None,
            ),
        )


def is_given_back(revocation: Revocation, settings: DrainSettings) -> bool:
    """Tell whether our own DeleteNodes gives a machine back, rather than the reply to the next notice.

    Cloudlab repeats its notice, the last time up to an interval before the deadline: a machine that is empty
    only then would not be offered any more. A countdown that stops earlier may have been withdrawn, so that
    such a machine is kept.
    """
    if not revocation.releasable or settings.release == "delete":
        return revocation.releasable
    left = revocation.deadline - revocation.last_notice
    return not revocation.offered and left <= timedelta(seconds=IN_TIME * settings.notice_interval)
