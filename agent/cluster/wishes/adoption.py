"""Takes over what an earlier run of the agent wrote into Slurm, where nothing else remembers it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.drains import Drains, left_by_an_earlier_run
from agent.cluster.memory.known import Known
from agent.cluster.reasons import TEARDOWN, Drain, DrainCause
from agent.cluster.wishes.orders import Orders
from agent.core.events import EventData, EventKind
from agent.core.model import AdminDrain, Revocation, SliverNode
from agent.core.ports import Clock
from agent.core.slice.inventory import Inventory
from agent.slurm.model import Snapshot


class Owner(Protocol):
    """What the manager gives."""

    clock: Clock
    rlock: Any
    revocations: dict[str, Revocation]
    inventory: Inventory

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event."""


class Adoption:
    """Reads the reasons of draining nodes, once a CM: when its manifest and Slurm were first read.

    Args:
        owner: the manager.
        known: the moment.
        orders: what administrators ask for.
        drains: the wishes for single machines.
        giveback: which nodes are surplus.
    """

    def __init__(
        self, owner: Owner, known: Known, *, orders: Orders, drains: Drains, giveback: GiveBack
    ) -> None:
        self._owner = owner
        self._known = known
        self._orders = orders
        self._drains = drains
        self._giveback = giveback

    def look(self, snapshot: Snapshot) -> bool:
        """Take over what is found; tell whether there was a CM whose machines were not looked at yet.

        Raises:
            LedgerError: a wish cannot be written down.
        """
        new = frozenset(self._owner.inventory.slivers) - self._known.read_back
        if not new:
            return False
        machines = {name: m for name, m in self._known.machines().items() if m.cm in new}
        now = self._owner.clock.now()
        for machine, drain in left_by_an_earlier_run(machines, snapshot):
            if self._take_over(machine, drain, now):
                self._owner.tell(
                    EventKind.ADOPT, machine.node_id, f"found as an earlier run left it: {drain.reason}"
                )
        self._known.read_back |= new
        return True

    def _take_over(self, machine: SliverNode, drain: Drain, now: datetime) -> bool:
        node_id = machine.node_id
        match drain:
            case Drain(cause=DrainCause.REVOKED, deadline=datetime() as deadline):
                revocation = Revocation(node_id, machine.client_id, deadline, now, now)
                with self._owner.rlock:
                    self._owner.revocations.setdefault(node_id, revocation)
            case Drain(cause=DrainCause.ADMIN, why=why) if why == TEARDOWN:
                if self._orders.hold is None:
                    self._orders.tear_down(drain.who, drain.deadline)
            case Drain(cause=DrainCause.ADMIN) if self._drains.get(node_id) is None:
                self._drains.put(
                    AdminDrain(node_id, drain.why, drain.who, now, drain.deadline, drain.give_back)
                )
            case Drain(cause=DrainCause.SURPLUS):
                self._giveback.choose(drain.node)
            case _:
                return False
        return True
