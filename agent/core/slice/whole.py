"""Whether a sliver goes as a whole, with all that it holds: the one gate before ``delete_sliver``."""

from __future__ import annotations

from collections.abc import Collection

from agent.core.desk import Desk
from agent.core.errors import CloudlabError
from agent.core.model import IntentKind, NodeStatus, Sliver, SliverNode, SliverStatus, differ
from agent.core.ownership import Ownership, goes_whole
from agent.core.ports import SliceServer
from agent.core.slice.holdings import Holdings
from agent.core.slice.intents import Intents
from agent.core.slice.machines import MachineBook
from agent.core.slice.words import staying_words

ERROR = 2
"""ProtoGENI's code of a fault without a name; ``SliverStatus`` has it when a machine is not ours any more."""


class Gate:
    """Asked right before a sliver is given back. Thread-safe.

    Args:
        server: tells the status.
        desk: the manager's.
        ownership: what the site says.
        book: the machines; read under the desk's lock.
        holdings: tells whose the slivers are.
        intents: tells what may still come.
    """

    def __init__(
        self,
        server: SliceServer,
        desk: Desk,
        ownership: Ownership,
        book: MachineBook,
        holdings: Holdings,
        intents: Intents,
    ) -> None:
        self._server = server
        self._desk = desk
        self._ownership = ownership
        self._book = book
        self._holdings = holdings
        self._intents = intents

    def is_ours(self, cm: str, sliver: Sliver, leaving: Collection[SliverNode] = ()) -> bool:
        """Tell whether a sliver is ours, and so is all that a manifest shows in it.

        Args:
            cm: the CM.
            sliver: what a manifest says that was read just now.
            leaving: its machines that go with it.
        """
        holding = self._holdings.of(cm)
        made = holding is not None and holding.made
        with self._desk.lock:
            has_foreign = bool(self._book.foreign(cm))
        return goes_whole(self._ownership, sliver, leaving, made=made, has_foreign=has_foreign)

    def is_open(self, cm: str, sliver: Sliver, leaving: Collection[SliverNode] = ()) -> bool:
        """Tell whether a sliver goes now: it would take along what its manifest lacks.

        So it is ours, no machine may still come to it, the manifest lacks none of ours that is not known to
        be gone, and the status shows no other.

        Args:
            cm: the CM.
            sliver: what a manifest says that was read just now.
            leaving: its machines that go with it.

        Raises:
            CloudlabError: no status was to be had now.
        """
        if not self.is_ours(cm, sliver, leaving):
            return False
        with self._desk.lock:
            in_doubt = bool(self._book.doubted(cm))
        if in_doubt or self._intents.in_flight(IntentKind.ADD, cm):
            self._desk.note(f"the sliver at {cm} stays for now: it may hold more than its manifest shows")
            return False
        try:
            status = self._server.sliver_status(cm)
        except CloudlabError as error:
            if leaving and error.code == ERROR:
                # One of them is not reserved to us any more: there is no status before it has gone.
                return True
            raise
        return status is not None and shows_no_other(status, sliver)

    def why_it_stays(self, cm: str) -> str:
        """Say why a CM's sliver stays although no machine of ours is in it; "" where that is not so."""
        with self._desk.lock:
            sliver, foreign = self._book.slivers.get(cm), len(self._book.foreign(cm))
            if sliver is None or self._book.held(cm) or self.is_ours(cm, sliver):
                return ""
        return staying_words(foreign + sliver.unread)


def shows_no_other(status: SliverStatus, sliver: Sliver) -> bool:
    """Tell whether a status has no machine but those of a manifest.

    Its entries have a client_id, which one machine of a sliver has; where one does not, a machine whose
    sliver_id is not known to be another may be meant.
    """
    return all(any(_may_be(entry, node) for node in sliver.nodes) for entry in status.nodes)


def _may_be(entry: NodeStatus, node: SliverNode) -> bool:
    if entry.client_id:
        return entry.client_id == node.client_id
    return not differ(entry.sliver_id, node.sliver_id)
