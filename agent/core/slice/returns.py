"""Gives machines of a sliver back, or all of it: which part goes by which call, and what a CM keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from agent.core.desk import Desk
from agent.core.errors import InsufficientNodesError, LastMachineError, RefusedError
from agent.core.model import Intent, IntentKind, Sliver, SliverNode
from agent.core.ports import SliceServer
from agent.core.slice.at_work import AtWork
from agent.core.slice.intents import Intents
from agent.core.slice.machines import MachineBook
from agent.core.slice.whole import Gate


class Holder(Protocol):
    """What is given of the slivers. The caller holds the CM."""

    def read(self, cm: str) -> Sliver | None:
        """Read the manifest and learn from it."""

    def carry_out(self, cm: str, asked: Sequence[Intent], call: Callable[[], Sliver | None]) -> None:
        """Make a call whose intents are written down."""

    def let_go(self, cm: str, call: Callable[[], None]) -> None:
        """Make a call after which the CM holds nothing for us."""


class Returns:
    """Gives back. The caller holds the CM.

    Args:
        server: the CMs.
        desk: the manager's.
        slivers: what they hold.
        book: the machines; read under the desk's lock.
        intents: where what is asked is written first.
        gate: tells whether a sliver goes as a whole.
        at_work: tells which CMs take no change.
        sightings: how many manifests in a row must show a sliver empty.
    """

    def __init__(
        self,
        server: SliceServer,
        desk: Desk,
        slivers: Holder,
        book: MachineBook,
        intents: Intents,
        gate: Gate,
        at_work: AtWork,
        sightings: int,
    ) -> None:
        self._server = server
        self._desk = desk
        self._slivers = slivers
        self._book = book
        self._intents = intents
        self._gate = gate
        self._at_work = at_work
        self._sightings = sightings
        self._keeps_last: set[str] = set()
        """CMs that give the last machine back with the whole sliver only."""

    def delete(self, cm: str, client_ids: Collection[str]) -> tuple[SliverNode, ...]:
        """Give machines back: those of these names that a manifest read now still shows as the same machines.

        With them goes what is in the sliver and not ours any more. While the CM is at work, the whole sliver
        alone can go: nothing else is asked there.

        Returns:
            What was given back.

        Raises:
            RefusedError: the last machine stays, for the sliver is not ours to delete.
        """
        with self._desk.lock:
            # The CM deletes no other machine while one that is not ours any more stays in the sliver.
            meant_nodes = [n for n in self._book.held(cm) if n.client_id in client_ids]
            meant_nodes += self._book.lost(cm)
            meant = {n.key for n in meant_nodes}
            is_all = len(meant) >= len(self._book.held(cm)) and not self._book.foreign(cm)
        if not meant:
            return ()
        if (why := self._at_work.why_now(cm)) and (self._at_work.is_ending(cm) or not is_all):
            return self._not_now(cm, meant_nodes, why)
        sliver = self._slivers.read(cm)
        nodes = sliver.nodes if sliver else ()
        targets = tuple(n for n in nodes if n.key in meant and self._may_delete(n))
        if sliver is None or not targets:
            return ()
        if self._gate.is_ours(cm, sliver, targets):
            if self._gate.is_open(cm, sliver, targets):
                self._carry_out(cm, targets, lambda: self._server.delete_sliver(cm))
                return targets
            # What DeleteNodes does with the last machine is not the same everywhere.
            targets = targets[1:]
        if not targets:
            return ()
        if why := self._at_work.why(cm):
            return self._not_now(cm, targets, why)
        return self._delete_some(cm, sliver, targets)

    def _not_now(self, cm: str, nodes: Collection[SliverNode], why: str) -> tuple[SliverNode, ...]:
        names = ", ".join(sorted(n.client_id for n in nodes))
        self._desk.note(f"{names} at {cm} goes back later: nothing is asked there {why}")
        return ()

    def delete_bare(self, cm: str) -> bool:
        """Give a sliver back that has no machine left, and that none may still come to.

        Several manifests must have shown it empty, one that is read now, and the status.

        Returns:
            Whether it was given back.
        """
        with self._desk.lock:
            bare = self._book.is_bare(cm, self._sightings)
        if not bare or self._at_work.is_ending(cm) or self._intents.in_flight(cm=cm):
            return False
        sliver = self._slivers.read(cm)
        if sliver is None or not self._gate.is_open(cm, sliver):
            return False
        self._slivers.let_go(cm, lambda: self._server.delete_sliver(cm))
        return True

    def _delete_some(
        self, cm: str, sliver: Sliver, targets: tuple[SliverNode, ...]
    ) -> tuple[SliverNode, ...]:
        is_all = len(targets) == len(sliver.nodes)
        if is_all and cm in self._keeps_last:
            # The first one stays: it is the oldest, and the others go.
            targets = targets[1:]
        if not targets:
            raise _stays(cm, sliver.nodes[0])
        names = [n.client_id for n in targets]
        try:
            self._carry_out(cm, targets, lambda: self._server.delete_nodes(cm, names))
        except LastMachineError:
            self._keeps_last.add(cm)
            if not is_all:
                raise
            return self._delete_some(cm, sliver, targets)
        except InsufficientNodesError as error:
            raise _not_placed(names, error) from error
        return targets

    def _carry_out(self, cm: str, targets: Sequence[SliverNode], call: Callable[[], Sliver | None]) -> None:
        names = [n.client_id for n in targets]
        self._slivers.carry_out(cm, self._intents.declare(IntentKind.DELETE, cm, names), call)

    def _may_delete(self, node: SliverNode) -> bool:
        with self._desk.lock:
            return self._book.may_touch(node) or node.key in {lost.key for lost in self._book.lost(node.cm)}


def _stays(cm: str, node: SliverNode) -> RefusedError:
    text = (
        f"{node.node_id} ({node.client_id}) is the last machine of a sliver that is not ours to delete, and"
        " the CM gives it back with the sliver only: whoever made that has to delete it"
    )
    return RefusedError(text, method="DeleteNodes", authority=cm)


def _not_placed(names: Sequence[str], error: InsufficientNodesError) -> InsufficientNodesError:
    """Say what a lack of machines means for a delete (``GeniCMV2 DeleteNodes`` maps what stays anew)."""
    text = (
        f"{', '.join(names)} cannot be given back alone: the CM places the machines that stay anew, and"
        f" cannot; the whole sliver can be given back all the same ({error.args[0]})"
    )
    said = InsufficientNodesError(text, shortages=error.shortages, never=error.never, node_id=error.node_id)
    said.method, said.authority, said.code = error.method, error.authority, error.code
    said.log_url = error.log_url
    return said
