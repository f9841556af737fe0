"""An administrator's wish for more machines than the queue wants: held until they are in service."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
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
        store: where it survives a restart.
        tell: tells an event about the whole agent, in words.
    """

    def __init__(self, store: GrowStore, tell: Callable[[str], None]) -> None:
        self._store = store
        self._tell = tell
        self._lock = threading.Lock()
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
        self._tell(f"{order.who} wants {order.machines} machines in service")

    def strike(self, who: str) -> bool:
        """Withdraw the wish; False where there is none.

        Raises:
            LedgerError: it cannot be struck.
        """
        self._store.remove_grow_order()
        with self._lock:
            order, self._order = self._order, None
        if order is not None:
            self._tell(f"{who} wants no more machines than the queue does")
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
        self._tell(
            f"the wish of {order.who} {outcome}: {in_service} of {order.machines} machines are in service"
        )
        self._store.remove_grow_order()

    def applied_to(self, settings: ClusterSettings) -> ClusterSettings:
        """Return settings that keep at least as many machines as are wished for."""
        order = self.order
        least = min(order.machines, settings.demand.max_nodes) if order else 0
        if least <= settings.demand.min_nodes:
            return settings
        return replace(settings, demand=settings.demand.model_copy(update={"min_nodes": least}))


def in_service(picture: Picture) -> int:
    """Count the machines of ours that jobs may start on, or could until they were drained.

    A wish counts from all that are held: one that is drained meanwhile must not keep it open for good.
    """
    nodes = picture.snapshot.nodes
    return sum(1 for name in picture.joined if nodes[name].usable or nodes[name].draining)
