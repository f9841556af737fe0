"""Revocations of machines of the slice that are not ours: told, and answered with their countdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

from agent.core.desk import Desk
from agent.core.events import EventKind, OfCm
from agent.core.model import Place
from agent.core.notices.whence import cm_of
from agent.core.said import Revocation, said_of
from agent.core.slice.inventory import Inventory


class Whose(Enum):
    """Whose machine a revocation is about."""

    OURS = auto()
    """It is ours, or in no manifest at all."""
    FOREIGN = auto()
    """It is in the slice and not ours: it is neither cleaned up nor released."""
    UNKNOWN = auto()
    """It may be either: not every manifest was read since it was announced, or the last one may lack it."""


class ForeignNotices:
    """Tells them apart by the last manifests. Thread-safe.

    Args:
        desk: told of each once.
        inventory: what the manifests have.
        cms: URNs of the CMs in use.
        revocations: those in force, by place; guarded by the desk's lock.
    """

    def __init__(
        self, desk: Desk, inventory: Inventory, cms: Sequence[str], revocations: Mapping[Place, Revocation]
    ) -> None:
        self._desk = desk
        self._inventory = inventory
        self._cms = cms
        self._revocations = revocations
        self._told: dict[Place, datetime] = {}

    def whose(self, revocation: Revocation) -> Whose:
        """Tell whose machine a revocation is about."""
        with self._desk.lock:
            if any(revocation.means(machine) for machine in self._inventory.held(None)):
                return Whose.OURS
            if any(revocation.means(machine) for machine in self._inventory.foreign()):
                return Whose.FOREIGN
            if any(revocation.is_at(m) or not m.node_id for m in self._inventory.doubted()):
                return Whose.UNKNOWN
            # A machine may be too new for a manifest that is older than its notice.
            seen = self._inventory.read_since(revocation.noticed)
            return Whose.OURS if seen.issuperset(self._cms) else Whose.UNKNOWN

    def cm_of(self, node_id: str, client_id: str, source: str) -> str:
        """Tell at which CM a machine is that was named; "" where it cannot be told (see ``cm_of``)."""
        with self._desk.lock:
            return cm_of(
                *(node_id, client_id, source),
                cms=self._cms,
                machines=(
                    *self._inventory.held(None),
                    *self._inventory.doubted(),
                    *self._inventory.foreign(),
                ),
                said=self._revocations.values(),
            )

    def steps(self) -> tuple[str, ...]:
        """Return the steps that tell whose a machine is which no manifest had; none where all is known."""
        with self._desk.lock:
            seen = (*self._inventory.held(None), *self._inventory.foreign())
            fresh = [r.noticed for r in self._revocations.values() if not any(map(r.is_at, seen))]
            known = not fresh or self._inventory.read_since(max(fresh)).issuperset(self._cms)
        return () if known else ("update_sliver_status",)

    def tell(self) -> None:
        """Tell of each such revocation that was not told before."""
        fresh: list[tuple[str, str, str]] = []
        with self._desk.lock:
            self._told = {place: at for place, at in self._told.items() if place in self._revocations}
            for machine in self._inventory.foreign():
                said = (r for r in said_of(self._revocations, machine) if r.means(machine))
                revocation = next(said, None)
                if revocation is None or self._told.get(revocation.place) == revocation.noticed:
                    continue
                self._told[revocation.place] = revocation.noticed
                when = f"{revocation.deadline:%Y-%m-%dT%H:%M:%SZ}"
                message = f"Cloudlab takes {machine.client_id}, which is not ours, at {when}"
                fresh.append((machine.node_id, message, machine.cm))
        for node_id, message, cm in fresh:
            self._desk.tell(EventKind.FOREIGN_REVOKE, node_id, message, OfCm(cm))
