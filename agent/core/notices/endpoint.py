"""The calls that Cloudlab makes to us, answered from memory.

Names, parameters and defaults are those of ``elasticslice.managers.core``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import structlog

from agent.core import threads
from agent.core.desk import Lock
from agent.core.model import Place, differ
from agent.core.notices.calls import BADARGS, ElasticSliceClientEndpoint, Envelope, reply, trace
from agent.core.notices.commands import run_commands
from agent.core.notices.countdowns import Countdowns
from agent.core.notices.foreign import Whose
from agent.core.notices.items import (
    BadItemError,
    Item,
    Notice,
    once,
    plain,
    read_complete,
    read_component,
    read_pending,
    read_value,
    replied,
)
from agent.core.notices.whence import caller
from agent.core.ports import Clock, SystemClock
from agent.core.said import ResourceValue, Revocation, Taken, said_of

log = structlog.get_logger()

MAX_NODES = 20_000
"""Machines that are remembered at most: a sender gone wild must not fill the memory."""
DELETE_TIMEOUT = 300.0
"""Seconds for the delete commands of one call, where the deadline leaves as much."""

T = TypeVar("T")


class DeleteHelper(Protocol):
    """What the endpoint asks of a helper (an ``ElasticSliceHelper`` or a manager)."""

    def get_delete_commands(self, nodelist: Any) -> Sequence[str] | None:
        """Return the shell commands that clean these machines up."""

    def handle_deleted_node(self, node: Any) -> object:
        """Take note that a machine is gone."""


class SimpleElasticSliceClientEndpoint(ElasticSliceClientEndpoint):
    """Remembers what Cloudlab says, and cleans machines up that it is about to take.

    Each item of a call is checked by itself: a bad one is logged, counted in ``rejected`` and skipped.
    A method may be called from any thread; none does I/O under ``rlock``.

    Args:
        helper: whose ``get_delete_commands`` clean machines up; None for no commands.
        delete_in_group: hand all new machines of a notice to one ``start_delete``, else one call a machine.
        rlock: a lock to share with the owner of other state; None for an own one.

    Attributes:
        resource_values: (CM, node_id) -> the newest value; CM "" here and below where it cannot be told.
        revocations: (CM, node_id) -> revocation, until it is complete or withdrawn.
        taken: (CM, node_id) -> Cloudlab's word that it took the machine, until the manifest confirms it.
        rejected: method -> how many items were bad.
        delete_timeout: seconds for the delete commands of one call.
    """

    def __init__(
        self,
        helper: DeleteHelper | None = None,
        delete_in_group: bool = True,
        rlock: Any = None,
    ) -> None:
        super().__init__()
        self.delete_helper = helper
        self.delete_in_group = delete_in_group
        self.rlock: Lock = rlock if rlock is not None else threading.RLock()
        self.clock: Clock = SystemClock()
        self.delete_timeout = DELETE_TIMEOUT
        self.resource_values: dict[Place, ResourceValue] = {}
        self.revocations: dict[Place, Revocation] = {}
        self.taken: dict[Place, Taken] = {}
        self.rejected: Counter[str] = Counter()
        self._started: set[Place] = set()
        self._countdowns = Countdowns(self.revocations, lambda: self.clock)

    # --- what Cloudlab calls

    def SetResourceValues(self, params: Any) -> Envelope:  # noqa: N802
        """Remember how much Cloudlab wants each machine."""
        now = self.clock.steady()
        read = self._read("SetResourceValues", params, lambda item: read_value(item, now))
        if isinstance(read, dict):
            return read
        with self.rlock:
            for item, received in read:
                value = replace(received, cm=self._cm_of(item, received.node_id, received.client_id))
                # Taken out first, so that the oldest stand in front.
                for place in (value.place, ("", value.node_id)):
                    self.resource_values.pop(place, None)
                self.resource_values[value.place] = value
            for place in list(self.resource_values)[: max(0, len(self.resource_values) - MAX_NODES)]:
                del self.resource_values[place]
        self.notified("SetResourceValues")
        return reply()

    def NotifyDeletePending(self, params: Any) -> Envelope:  # noqa: N802
        """Remember revocations, start to clean new ones up, and tell which machines may be taken now.

        Returns:
            ``value`` 0 while none of them may be taken; else the received list, with ``max_wait_time`` 0 for
            those that may.
        """
        said = self._read("NotifyDeletePending", params, read_pending)
        if isinstance(said, dict):
            return said
        with self.rlock:
            read = self._with_cms(said)
            noticed = self._note(notice for _, notice in read)
            fresh = [
                plain(item, notice)
                for item, notice in once(read)
                if notice.place in noticed
                and notice.place not in self._started
                and self.whose(self.revocations[notice.place]) is Whose.OURS
            ]
            self._started.update(map(_place, fresh))
        self._start(fresh)
        self.notified("NotifyDeletePending")
        with self.rlock:
            known = {place: self.revocations[place] for place in noticed if place in self.revocations}
            free = {p for p, r in known.items() if r.releasable and self.whose(r) is not Whose.FOREIGN}
            self.revocations.update({p: replace(self.revocations[p], offered=True) for p in free})
        return reply(replied(params["nodelist"], read, free) if free else 0)

    def NotifyDeleteComplete(self, params: Any) -> Envelope:  # noqa: N802
        """Drop the revocations of machines that Cloudlab has taken."""
        now = self.clock.steady()
        said = self._read("NotifyDeleteComplete", params, read_complete)
        if isinstance(said, dict):
            return said
        first: list[Item] = []
        with self.rlock:
            for item, notice in once(self._with_cms(said)):
                place = notice.place
                said_before = said_of(self.revocations, notice)
                known = [r for r in said_before if not differ(r.client_id, notice.client_id)]
                for revocation in known:
                    self.drop_revocation(revocation.place)
                self.resource_values.pop(place, None)
                if known or place not in self.taken:
                    first.append(plain(item, notice))
                self.taken[place] = Taken(notice.node_id, notice.client_id, now, notice.cm)
            for place in list(self.taken)[: max(0, len(self.taken) - MAX_NODES)]:
                del self.taken[place]
        if first:
            self.nodes_taken(first)
        self.notified("NotifyDeleteComplete")
        return reply()

    # --- what the owner calls or overrides

    def start_delete(self, nodelist: Sequence[Item]) -> None:
        """Clean machines up that Cloudlab is about to take; called once a machine and revocation.

        Runs the helper's ``get_delete_commands`` in a child, in a thread of its own, then ``end_delete``. An
        override must return at once and see to it that ``end_delete`` is called when nothing is left.

        Args:
            nodelist: the items as received, with ``node_id`` and ``client_id`` as text, and ``cm``: the URN
                of the machine's CM, "" where it cannot be told.
        """
        with self.rlock:
            self._started.update(place for item in nodelist for place in self._places(item))
        name = f"delete-{_node_id(nodelist[0])}" if nodelist else "delete"
        threads.errand(name, lambda: self._delete(list(nodelist)))

    def end_delete(self, nodelist: Sequence[Item | str]) -> None:
        """Mark machines as releasable: the next reply tells Cloudlab that it may take them.

        Args:
            nodelist: items, or node_ids; one that is not being revoked is passed over, and so is a node_id
                without a CM that several CMs take a machine of.
        """
        with self.rlock:
            for place in {place for item in nodelist for place in self._places(item)}:
                self.revocations[place] = replace(self.revocations[place], releasable=True)
        self.notified("end_delete")

    def has_pending_deletes(self) -> bool:
        """Tell whether a machine that was handed to ``start_delete`` is not releasable yet."""
        with self.rlock:
            return any(not r.releasable for p, r in self.revocations.items() if p in self._started)

    def nodes_taken(self, nodelist: Sequence[Item]) -> None:
        """Take note, once a machine, that Cloudlab took it: tells the helper, in a thread of its own."""
        threads.errand("taken", lambda: self._tell_taken(list(nodelist)))

    def whose(self, revocation: Revocation) -> Whose:  # noqa: ARG002
        """Tell whose machine a revocation is about; override it where others' machines may be named."""
        return Whose.OURS

    def cm_of(self, node_id: str, client_id: str, source: str) -> str:  # noqa: ARG002
        """Tell at which CM a machine is that was named; override it where there are several.

        Args:
            node_id: its name.
            client_id: its name in the slice; "" where it was not told.
            source: URN of who named it, or of the machine; "" where it is not known.

        Returns:
            URN of the CM; "" where it cannot be told.
        """
        return ""

    def notified(self, what: str) -> None:
        """Take note that a call (its method name) or ``end_delete`` changed something; returns at once."""

    def resume_deletes(self) -> None:
        """Start what a restart interrupted: revocations that nobody works on and nobody may take yet."""
        with self.rlock:
            self.follow_clock()
            now = self.clock.now()
            left = [r for r in self.revocations.values() if r.place not in self._started]
            due = [r for r in left if self.whose(r) is Whose.OURS]
            fresh = [
                {
                    "node_id": r.node_id,
                    "client_id": r.client_id,
                    "cm": r.cm,
                    "max_wait_time": max((r.deadline - now).total_seconds(), 0.0),
                }
                for r in due
                if not r.releasable
            ]
            self._started.update(r.place for r in due)
        self._start(fresh)

    def adopt_revocation(self, revocation: Revocation) -> None:
        """Take up a revocation that an earlier run knew of, unless Cloudlab spoke of that machine since."""
        with self.rlock:
            if not any(said_of(self.revocations, revocation)):
                self.revocations[revocation.place] = revocation

    def drop_revocation(self, place: Place) -> Revocation | None:
        """Forget a revocation, by (CM, node_id), that is over; return what it was.

        A later notice begins a new one.
        """
        with self.rlock:
            self._started.discard(place)
            return self.revocations.pop(place, None)

    def follow_clock(self) -> None:
        """Move the deadlines of revocations with the wall clock, where that was set; under ``rlock``."""
        self._countdowns.follow()

    # --- inside

    def _read(
        self, method: str, params: Any, reader: Callable[[object], T]
    ) -> list[tuple[Item, T]] | Envelope:
        """Read each item by itself; return (item, what it says) of the good ones, or a reply of refusal."""
        trace(method, params)
        nodelist = params.get("nodelist") if isinstance(params, Mapping) else None
        if not isinstance(nodelist, list | tuple):
            return reply(code=BADARGS, output=f"{method}: a struct with a list named nodelist is expected")
        good: list[tuple[Item, T]] = []
        faults: list[str] = []
        for place, item in enumerate(nodelist):
            try:
                good.append((item, reader(item)))
            except BadItemError as error:
                faults.append(f"item {place}: {error}")
        if faults:
            with self.rlock:
                self.rejected[method] += len(faults)
            log.warning("items were skipped", method=method, count=len(faults), first=faults[:3])
        return good

    def _with_cms(self, read: list[tuple[Item, Notice]]) -> list[tuple[Item, Notice]]:
        return [(item, replace(n, cm=self._cm_of(item, n.node_id, n.client_id))) for item, n in read]

    def _cm_of(self, item: Item, node_id: str, client_id: str) -> str:
        return self.cm_of(node_id, client_id, read_component(item) or caller())

    def _places(self, item: Item | str) -> list[Place]:
        """Find the revocation that an item or a node_id is about (under rlock); none where several may be."""
        if not isinstance(item, str) and _place(item) in self.revocations:
            return [_place(item)]
        named = [r.place for r in self.revocations.values() if r.node_id == _node_id(item)]
        is_told = not isinstance(item, str) and item.get("cm")
        if is_told or len(named) != 1:
            if named:
                log.warning("which machine is meant cannot be told", node=_node_id(item), places=named)
            return []
        return named

    def _note(self, notices: Iterable[Notice]) -> set[Place]:
        """Write revocations down (under rlock); return the places that were taken up."""
        self.follow_clock()
        now, steady = self.clock.now(), self.clock.steady()
        seen: dict[Place, Revocation] = {}
        for notice in notices:
            place = notice.place
            old = self._older(notice)
            if old is None and len(self.revocations) >= MAX_NODES:
                self.rejected["NotifyDeletePending"] += 1
                continue
            deadline = now + timedelta(seconds=notice.wait)
            if place in seen:
                deadline = min(deadline, seen[place].deadline)
            seen[place] = self.revocations[place] = Revocation(
                node_id=notice.node_id,
                client_id=notice.client_id or (old.client_id if old else ""),
                deadline=deadline,
                noticed=old.noticed if old else steady,
                last_notice=now,
                releasable=old.releasable if old else False,
                offered=old.offered if old else False,
                cm=notice.cm,
            )
            self.taken.pop(place, None)
        return set(seen)

    def _older(self, notice: Notice) -> Revocation | None:
        """Return what was said of a machine before (under rlock), be it without its CM: that is known now."""
        for old in list(said_of(self.revocations, notice)):
            started = old.place in self._started
            if old.place != notice.place or differ(old.client_id, notice.client_id):
                self.drop_revocation(old.place)
            if not differ(old.client_id, notice.client_id):
                if started:
                    self._started.add(notice.place)
                return old
            # Else the machine was given back and came again: what was done for the older one says nothing.
        return None

    def _start(self, fresh: list[dict[str, Any]]) -> None:
        for group in [fresh] if self.delete_in_group and fresh else [[item] for item in fresh]:
            try:
                self.start_delete(group)
            except Exception:  # an override's fault must not cost Cloudlab its reply
                log.exception("start_delete failed; the next notice starts it again", nodes=_names(group))
                with self.rlock:
                    self._started.difference_update(map(_place, group))

    def _delete(self, nodelist: list[Item]) -> None:
        names = _names(nodelist)
        try:
            commands = self.delete_helper.get_delete_commands(nodelist) if self.delete_helper else None
            if commands:
                run_commands(commands, timeout=self._time_for(nodelist), subject=names)
        except NotImplementedError:
            log.debug("the helper has no delete commands", nodes=names)
        except Exception:  # a helper's fault must not keep a machine that is taken anyway
            log.exception("the delete commands failed", nodes=names)
        self.end_delete(nodelist)

    def _time_for(self, nodelist: list[Item]) -> float:
        with self.rlock:
            self.follow_clock()
            now = self.clock.now()
            known = [self.revocations[place] for item in nodelist for place in self._places(item)]
        left = min(((r.deadline - now).total_seconds() for r in known), default=self.delete_timeout)
        return min(self.delete_timeout, max(left, 1.0))

    def _tell_taken(self, nodelist: list[Item]) -> None:
        for item in nodelist:
            try:
                if self.delete_helper:
                    self.delete_helper.handle_deleted_node(item)
            except Exception:  # a helper's fault over one machine must not cost the others
                log.exception("handle_deleted_node failed", node=item["node_id"])


def _node_id(item: Item | str) -> str:
    return item if isinstance(item, str) else str(item["node_id"])


def _place(item: Item) -> Place:
    return str(item.get("cm") or ""), str(item["node_id"])


def _names(nodelist: Sequence[Item]) -> str:
    return ", ".join(map(_node_id, nodelist))
