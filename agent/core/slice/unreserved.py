"""Machines of a sliver that are not reserved to us any more: how a CM tells, and what follows.

Asked with the slice's credential, a CM lists the free machines, flagged as free, and those that are reserved
to the slice, flagged as not (``GeniCMV2 DiscoverResources``, ptopgen). To read that list changes nothing.
``AddNodes`` and ``DeleteNodes`` name such a machine as well, where something is to be added or deleted; with
nothing to add, the first would take it back where it is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.core.config import CycleSettings
from agent.core.desk import Desk
from agent.core.errors import CloudlabError, InsufficientNodesError, UnreservedError
from agent.core.events import EventKind, OfCm
from agent.core.model import AdvertisedNode, SliverNode
from agent.core.slice.machines import MachineBook
from agent.core.slice.news import News

_NO_MAPPING = 28
_SILENT_LISTS = 3
"""A CM gives the list that it is making for somebody to all who ask meanwhile: seldom so often in a row."""


class Unreserved:
    """Counts sightings: after as many in a row as are set, a machine counts as gone, and is deleted.

    Args:
        desk: the manager's.
        book: the machines.
        news: told of what is gone.
        limits: how many sightings, and how far apart.
        forget: drops what is remembered of a machine; called under the desk's lock.
    """

    def __init__(
        self,
        desk: Desk,
        book: MachineBook,
        news: News,
        limits: CycleSettings,
        forget: Callable[[SliverNode], None],
    ) -> None:
        self._desk = desk
        self._book = book
        self._news = news
        self._limits = limits
        self._forget = forget
        self._silent: dict[str, int] = {}
        """CM -> lists in a row that had no machine of the sliver at all."""

    def note_listed(self, cm: str, listed: Iterable[AdvertisedNode]) -> None:
        """Count a sighting of each machine that a CM's list of free ones speaks of as of others'."""
        with self._desk.lock:
            sliver, lost = self._book.slivers.get(cm), {node.key for node in self._book.lost(cm)}
        nodes = [node for node in sliver.nodes if node.key not in lost] if sliver else []
        told = spoken_of(nodes, listed)
        with self._desk.lock:
            count = self._silent[cm] = self._silent.get(cm, 0) + 1 if told.is_silent else 0
        if not told.is_silent or count >= _SILENT_LISTS:
            for node_id in sorted(told.node_ids):
                self._note(cm, node_id)

    def note_refused(self, cm: str, error: CloudlabError) -> CloudlabError:
        """Count a sighting where a CM's refusal names a machine of ours as not reserved to us.

        Returns:
            The error that says so; the refusal itself where it says so already, or names none.
        """
        node_id = named_by(error)
        if not node_id or not self._note(cm, node_id) or isinstance(error, UnreservedError):
            return error
        return UnreservedError(
            error.args[0],
            node_id=node_id,
            method=error.method,
            authority=error.authority,
            code=error.code,
            log_url=error.log_url,
        )

    def _note(self, cm: str, node_id: str) -> bool:
        """Count a sighting; False where the machine is none of ours."""
        with self._desk.lock:
            now, spacing = self._desk.clock.steady(), self._limits.retry_interval / 2
            machine = self._book.disown(cm, node_id, self._limits.gone_sightings, now, spacing)
            if machine is None:
                return False
            node, gone = machine.node, machine.disowned >= self._limits.gone_sightings
            if gone:
                self._forget(node)
        if gone:
            self._news.gone(node, "its CM says that it is not reserved to us")
            self._desk.wake("delete_nodes")
        else:
            message = f"{node_id} ({node.client_id}) is not reserved to us, says its CM"
            self._desk.tell(EventKind.MISSING, node_id, message, OfCm(cm))
        return True


@dataclass(frozen=True)
class Told:
    """What a list tells of the machines of a sliver."""

    node_ids: frozenset[str]
    """Those that it speaks of as of others': as free, or not at all."""
    is_silent: bool
    """It has no machine of the sliver, which has several: it may be another caller's list."""


def spoken_of(machines: Iterable[SliverNode], listed: Iterable[AdvertisedNode]) -> Told:
    """Find the machines that a CM's list of free ones speaks of as of others'.

    Args:
        machines: all of the sliver.
        listed: what the CM lists as free, with what is reserved to the slice.
    """
    ids = {machine.node_id for machine in machines if machine.node_id and machine.is_machine}
    is_free = {node.node_id: node.available for node in listed if node.node_id in ids}
    freed = frozenset(node_id for node_id, free in is_free.items() if free)
    if freed and len(freed) == len(is_free):
        # All that it has of ours is free: of the others it may say nothing because it is another's list.
        return Told(freed, is_silent=False)
    return Told(freed | (ids - is_free.keys()), is_silent=not is_free and len(ids) > 1)


def named_by(error: CloudlabError) -> str:
    """Tell which machine a refusal calls not available, if it may be one that the sliver has; "" for none.

    Newer CMs map all machines of a sliver anew at each change, each to where it is: «Fixed physical node: pc5
    not available», with code 28 (assign/anneal.cc).
    """
    match error:
        case UnreservedError(node_id=node_id):
            return node_id
        case InsufficientNodesError(code=code, node_id=node_id) if code == _NO_MAPPING:
            return node_id
    return ""
