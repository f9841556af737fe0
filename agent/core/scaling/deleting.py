"""Gives machines back: those that failed, those that are surplus, and slivers that are left without any."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from agent.core.desk import Desk
from agent.core.errors import BusyError
from agent.core.events import EventKind
from agent.core.model import MachineId, SliverNode
from agent.core.scaling.refused import Refused
from agent.core.slice.inventory import Inventory
from agent.core.slice.lease import Lease
from agent.core.slice.slivers import Slivers

log = structlog.get_logger()


class Giver(Protocol):
    """What the manager decides."""

    enable_delete: bool

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the failed machines that may go."""

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Decide which other machines go."""


class Giving:
    """Deletes machines and slivers. The caller holds the CM.

    Args:
        desk: the manager's.
        giver: the manager.
        inventory: the machines.
        slivers: what the CMs hold.
        lease: knows which machine hinders its renewal.
        refused: what hinders a CM until a person acts.
        decides: the manager is a subclass that answers ``should_delete_nodes`` itself.
    """

    def __init__(
        self,
        desk: Desk,
        giver: Giver,
        inventory: Inventory,
        slivers: Slivers,
        lease: Lease,
        refused: Refused,
        *,
        decides: bool = False,
    ) -> None:
        self._desk = desk
        self._inventory = inventory
        self._giver = giver
        self._slivers = slivers
        self._lease = lease
        self._refused = refused
        slivers.at_work.is_due = self.is_due
        self._dropped: set[MachineId] = set()
        """Keys of machines that block the renewal."""
        self._is_unasked = decides
        """The manager decides which machines go, and was not told yet that nobody asks it."""

    def drop(self, node: SliverNode) -> None:
        """Have a machine go at the next ``delete_nodes``."""
        self._dropped.add(node.key)
        self._desk.wake("delete_nodes")

    def keep(self, cm: str) -> None:
        """Let those stay that were to go and have not gone."""
        self._dropped = {key for key in self._dropped if key.cm != cm}

    def delete(self, cm: str, wanted: Callable[[str], object]) -> None:
        """Give back what is due at a CM.

        Args:
            cm: the CM.
            wanted: tells whether a machine should be added there, which keeps an empty sliver.
        """
        if not self._slivers.holds(cm):
            return
        if why := self._lease.life.why_kept(cm):
            self._desk.note(f"nothing is given back at {cm}: {why}")
            return
        at_work = self._slivers.at_work
        try:
            self._delete(cm, wanted)
        except BusyError as error:
            if not at_work.why(cm):
                raise
            # A status tells when that is over, and wakes this step.
            self._desk.note(f"nothing is given back at {cm} now: {error}")

    def is_due(self, cm: str) -> bool:
        """Tell whether something is to be given back at a CM."""
        if self._lease.life.why_kept(cm):
            return False
        return self._slivers.has_lost(cm) or bool(self._names(cm))

    def _delete(self, cm: str, wanted: Callable[[str], object]) -> None:
        returns = self._slivers.returns
        given: tuple[SliverNode, ...] = ()
        if (names := self._names(cm)) or self._slivers.has_lost(cm):
            with self._refused.giving_back(cm), self._slivers.at_work.turn(cm):
                given = returns.delete(cm, names)
        self._dropped.difference_update(n.key for n in given)
        if self._lease.gave_back(cm, given):
            self._desk.wake("renew")
        if given:
            self._refused.gave_back(cm)
            machines = ", ".join(f"{n.node_id} ({n.client_id})" for n in given)
            stays = self._slivers.gate.why_it_stays(cm)
            self._desk.tell(EventKind.DELETE, cm, f"gave back {machines}{f'; {stays}' if stays else ''}")
        elif not wanted(cm):
            with self._refused.giving_back(cm):
                is_gone = returns.delete_bare(cm)
            if is_gone:
                self._desk.tell(EventKind.DELETE, cm, "gave the sliver back, which had no machine left")

    def _names(self, cm: str) -> Collection[str]:
        names = {node.client_id for node in self._giver.failed(cm)}
        names.update(n.client_id for n in self._inventory.held(cm) if n.key in self._dropped)
        if self._giver.enable_delete:
            names.update(self._giver.should_delete_nodes(cm) or ())
        else:
            self._tell_unasked()
        return names

    def _tell_unasked(self) -> None:
        """Say once that a subclass has an answer that nobody asks for."""
        with self._desk.lock:
            is_unasked, self._is_unasked = self._is_unasked, False
        if is_unasked:
            text = "should_delete_nodes is not asked, since enable_delete is False"
            log.warning(text)
            self._desk.note(text)
