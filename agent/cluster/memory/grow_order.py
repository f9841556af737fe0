"""An administrator's wish for more machines than the queue wants: held until they are in service."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from agent.cluster.desk import Desk
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.events import EventKind
from agent.core.model import GrowOrder


class GrowStore(Protocol):
    """Where an administrator's wish for more machines survives a restart."""

    def grow_order(self) -> GrowOrder | None:
        """Return what is stored; None for nothing."""

    def put_grow_order(self, order: GrowOrder) -> None:
        """Store one in place of an older one."""

    def remove_grow_order(self) -> None:
        """Forget it; no error where there is none."""


class GrowOrders:
    """Holds the wish in force. Thread-safe.

    Args:
        desk: has the lock of all that is remembered; told what becomes of the wish.
        store: where it survives a restart.
    """

    def __init__(self, desk: Desk, store: GrowStore) -> None:
        self._desk = desk
        self._lock = desk.lock
        self._store = store
        self._order = store.grow_order()

    @property
    def order(self) -> GrowOrder | None:
        """The wish in force."""
        with self._lock:
            return self._order

    def put(self, order: GrowOrder) -> None:
        """Take a wish in place of an earlier one.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._store.put_grow_order(order)
        with self._lock:
            self._order = order
        self._desk.tell(EventKind.ADMIN, "", f"{order.who} wants {order.machines} machines in service")

    def strike(self, who: str) -> bool:
        """Withdraw the wish; False where there is none.

        Raises:
            LedgerError: it cannot be struck.
        """
        self._store.remove_grow_order()
        with self._lock:
            order, self._order = self._order, None
        if order is not None:
            self._desk.tell(EventKind.ADMIN, "", f"{who} wants no more machines than the queue does")
        return order is not None

    def observe(self, in_service: int, now: datetime) -> None:
        """End the wish when it is fulfilled, or its time is over.

        Raises:
            LedgerError: it cannot be struck, and ends anew after a restart.
        """
        with self._lock:
            order = self._order
            if order is None or (in_service < order.machines and now < order.until):
                return
            self._order = None
        outcome = "is fulfilled" if in_service >= order.machines else "ends: its time is over"
        self._desk.tell(
            EventKind.ADMIN,
            "",
            f"the wish of {order.who} {outcome}: {in_service} of {order.machines} machines are in service",
        )
        self._store.remove_grow_order()

    def applied_to(self, settings: ClusterSettings) -> ClusterSettings:
        """Return settings that keep at least as many machines as are wished for."""
        order, demand = self.order, settings.demand
        least = min(order.machines, demand.max_nodes) if order else 0
        if least <= demand.min_nodes:
            return settings
        return replace(settings, demand=demand.model_copy(update={"min_nodes": least}))
