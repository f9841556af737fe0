"""What is known of our machines, for whoever asks: from memory, consistent, and at no cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agent.core.desk import Lock
from agent.core.model import Intent, IntentKind, MachineId, NodeStatus, Sliver, SliverNode, SliverStatus
from agent.core.slice.slivers import Slivers


class Inventory:
    """Answers about the slivers of one slice. Thread-safe.

    Args:
        slivers: what the CMs hold for us.
        lock: guards that state.
        over: returns the CMs whose lease ended while they are silent, and when.

    Attributes:
        over: the same.
    """

    def __init__(self, slivers: Slivers, lock: Lock, over: Callable[[], Mapping[str, datetime]]) -> None:
        self._slivers = slivers
        self._lock = lock
        self.over = over

    @property
    def slivers(self) -> dict[str, Sliver | None]:
        """CM -> what the last good read said (None: nothing); no key while it was never read."""
        with self._lock:
            return dict(self._slivers.book.slivers)

    @property
    def statuses(self) -> dict[str, SliverStatus]:
        """CM -> the last good ``SliverStatus``."""
        with self._lock:
            return dict(self._slivers.book.statuses)

    @property
    def expires(self) -> dict[str, datetime]:
        """CM -> until when its sliver lasts."""
        with self._lock:
            return dict(self._slivers.expires)

    def held(self, cm: str | None) -> list[SliverNode]:
        """List the machines in the last manifests, of one CM or of all."""
        with self._lock:
            return list(self._slivers.book.held(cm))

    def may_touch(self, node: SliverNode) -> bool:
        """Tell whether a machine is ours to act on; one whose lease ended in silence may be another's."""
        is_over = node.cm in self.over()
        with self._lock:
            return not is_over and self._slivers.book.may_touch(node)

    def foreign(self) -> list[SliverNode]:
        """List the machines in the last manifests that are not ours."""
        with self._lock:
            return list(self._slivers.book.foreign())

    def unexplained(self) -> frozenset[MachineId]:
        """Return the keys of the machines that are ours by their name alone."""
        with self._lock:
            return frozenset(self._slivers.unexplained)

    def told(self) -> dict[MachineId, NodeStatus]:
        """Return key -> its entry in the last status, of each machine that has one."""
        with self._lock:
            book = self._slivers.book
            said = {node.key: book.status_of(node) for node in book.held()}
        return {key: status for key, status in said.items() if status is not None}

    def read_since(self, time: datetime) -> frozenset[str]:
        """Return the CMs whose manifest was read at this time or later."""
        with self._lock:
            return frozenset(cm for cm, at in self._slivers.read_at.items() if at >= time)

    def with_fate(self, fate: str, cm: str | None = None) -> list[SliverNode]:
        """List those that are ``ready``, ``failed`` or, with "", neither yet."""
        with self._lock:
            return list(self._slivers.book.with_fate(fate, cm))

    def lost(self) -> int:
        """Count the machines in the last manifests that are not ours any more."""
        with self._lock:
            return sum(len(self._slivers.book.lost(cm)) for cm in self._slivers.book.slivers)

    def in_flight(self, kind: IntentKind, cm: str | None) -> list[Intent]:
        """List what was asked for and is not settled."""
        return list(self._slivers.intents.in_flight(kind, cm))

    def overdue(self) -> frozenset[tuple[str, str]]:
        """Return (CM, client_id) of the machines that were asked for and would have come by now."""
        asked = (i for i in self._slivers.intents.overdue() if i.kind is IntentKind.ADD)
        return frozenset((i.cm, i.client_id) for i in asked)

    def count(self) -> int:
        """Count the machines held or asked for, over all CMs, and those that may be held (``unseen``).

        Those whose lease ended in silence are not among them, so that others are sought.
        """
        over = self.over()
        held = {(n.cm, n.client_id) for n in self.held(None) if n.cm not in over}
        asked = {(i.cm, i.client_id) for i in self.in_flight(IntentKind.ADD, None)}
        return len(held | asked | self.unseen())

    def doubted(self) -> list[SliverNode]:
        """List our machines that the last manifests lack and that are not known to be gone."""
        with self._lock:
            return list(self._slivers.book.doubted())

    def unseen(self) -> frozenset[tuple[str, str]]:
        """Return (CM, client_id) of what may be held: machines in doubt, and what silent CMs last held."""
        over = self.over()
        doubted = {(n.cm, n.client_id) for n in self.doubted() if n.cm not in over}
        return frozenset(doubted | self._slivers.holdings.presumed())

    def is_coming(self, node: str | None, cm: str | None) -> bool:
        """Tell whether a machine (client_id; None for any) is asked for or starting."""
        names = {i.client_id for i in self.in_flight(IntentKind.ADD, cm)}
        return _among(node, names | {n.client_id for n in self.with_fate("", cm)})

    def is_leaving(self, node: str | None, cm: str | None) -> bool:
        """Tell whether a machine (client_id; None for any) is being given back."""
        return _among(node, {i.client_id for i in self.in_flight(IntentKind.DELETE, cm)})

    def is_asked(self, since: datetime) -> bool:
        """Tell whether a machine was asked for at this time or later, and that is not settled."""
        return any(intent.asked >= since for intent in self.in_flight(IntentKind.ADD, None))

    def fresh(self) -> frozenset[MachineId]:
        """Return the keys of the machines that were asked for, or seen to start, in this run."""
        with self._lock:
            return frozenset(node.key for node in self._slivers.book.fresh())

    def unproven(self, since: datetime) -> list[SliverNode]:
        """List the machines that may still prove themselves, asked for at this time or later."""
        with self._lock:
            return list(self._slivers.book.unproven(since))

    def status_of(self, node: str, cm: str | None, key: str | None) -> Any:
        """Return the last status of a machine (client_id) as a dict, or one key of it; None where unknown."""
        with self._lock:
            found = next((n for n in self._slivers.book.held(cm) if n.client_id == node), None)
            status = self._slivers.book.status_of(found) if found else None
        if status is None:
            return None
        return asdict(status) if key is None else asdict(status).get(key)


def _among(node: str | None, names: set[str]) -> bool:
    return bool(names) if node is None else node in names
