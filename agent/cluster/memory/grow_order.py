"""An administrator's wish for more machines than the queue wants: held until they are in service."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from agent.cluster.desk import Desk
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.errors import LedgerError
from agent.core.events import EventKind
from agent.core.model import GrowOrder

log = structlog.get_logger()


class GrowStore(Protocol):
    """Where an administrator's wish for more machines survives a restart."""

    def grow_order(self) -> GrowOrder | None:
        """Return what is stored; None for nothing."""

    def put_grow_order(self, order: GrowOrder) -> None:
        """Store one in place of an older one."""

    def remove_grow_order(self) -> None:
        """Forget it; no error where there is none."""


class GrowOrders:
    """Holds the wish in force, in memory as in the store. Thread-safe.

    Whoever reads waits for nobody who writes: those wait for each other, so that orders that are given at the
    same time end alike in both.

    Args:
        desk: has the lock of all that is remembered; told what becomes of the wish.
        store: where it survives a restart.

    Raises:
        LedgerError: from ``put`` and ``strike``: nothing is changed then.
    """

    def __init__(self, desk: Desk, store: GrowStore) -> None:
        self._desk = desk
        self._lock = desk.lock
        self._store = store
        self._writing = threading.Lock()
        self._order = store.grow_order()

    @property
    def order(self) -> GrowOrder | None:
        """The wish in force."""
        with self._lock:
            return self._order

    def put(self, order: GrowOrder) -> None:
        """Take a wish in place of an earlier one."""
        with self._writing:
            self._store.put_grow_order(order)
            self._keep(order)
        self._desk.tell(EventKind.ADMIN, "", f"{order.who} wants {order.machines} machines in service")

    def strike(self, who: str) -> bool:
        """Withdraw the wish; False where there is none."""
        with self._writing:
            is_there = self.order is not None
            if is_there:
                self._remove()
        if is_there:
            self._desk.tell(EventKind.ADMIN, "", f"{who} wants no more machines than the queue does")
        return is_there

    def observe(self, in_service: int, now: datetime) -> None:
        """End the wish when it is fulfilled, or its time is over; what cannot be struck ends later."""
        with self._writing:
            order = self.order
            if order is None or (in_service < order.machines and now < order.until):
                return
            try:
                self._remove()
            except LedgerError as error:
                log.warning("a wish that is over cannot be struck; tried again", error=str(error))
                return
        outcome = "is fulfilled" if in_service >= order.machines else "ends: its time is over"
        self._desk.tell(
            EventKind.ADMIN,
            "",
            f"the wish of {order.who} {outcome}: {in_service} of {order.machines} machines are in service",
        )

    def _remove(self) -> None:
        self._store.remove_grow_order()
        self._keep(None)

    def _keep(self, order: GrowOrder | None) -> None:
        with self._lock:
            self._order = order

    def applied_to(self, settings: ClusterSettings, now: datetime) -> ClusterSettings:
        """Return settings that keep at least as many machines as are wished for at this time."""
        order, demand = self.order, settings.demand
        least = min(order.machines, demand.max_nodes) if order and now < order.until else 0
        if least <= demand.min_nodes:
            return settings
        return replace(settings, demand=demand.model_copy(update={"min_nodes": least}))
