"""The calls that Cloudlab makes to us, answered from memory.

Names, parameters and defaults are those of ``elasticslice.managers.core``; the replies are ProtoGENI
envelopes (``{code, value, output}``).
"""

from __future__ import annotations

import reprlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import structlog

from agent.core.desk import Lock
from agent.core.model import ResourceValue, Revocation, Taken
from agent.core.notices.commands import run_commands
from agent.core.notices.foreign import Whose
from agent.core.notices.items import (
    BadItemError,
    Item,
    Notice,
    once,
    plain,
    read_complete,
    read_pending,
    read_value,
    released,
)
from agent.core.ports import Clock, SystemClock

log = structlog.get_logger()

API_VERSION = 1
SUCCESS = 0
BADARGS = 1
MAX_NODES = 20_000
"""Machines that are remembered at most: a sender gone wild must not fill the memory."""
DELETE_TIMEOUT = 300.0
"""Seconds for the delete commands of one call, where the deadline leaves as much."""

Envelope = dict[str, object]
T = TypeVar("T")


def reply(value: object = 0, *, code: int = SUCCESS, output: str = "") -> Envelope:
    """Make the response struct; no part of it is ever nil, which Cloudlab's parser drops."""
    return {"code": code, "value": value, "output": output}


class ProtoGeniClientServerEndpoint:
    """An object whose public methods Cloudlab may call: each takes one struct and returns an envelope."""

    def GetVersion(self, params: Any = None) -> Envelope:  # noqa: ARG002, N802 - a name on the wire
        """Tell the version of the API; answered to any caller that may connect."""
        return reply(API_VERSION)


class ElasticSliceClientEndpoint(ProtoGeniClientServerEndpoint):
    """Answers every call with SUCCESS and logs its arguments at debug level."""

    def __init__(self) -> None:
        pass

    def GetVersion(self, params: Any = None) -> Envelope:  # noqa: N802
        """Return the version of this API as ``value``."""
        _trace("GetVersion", params)
        return super().GetVersion(params)

    def SetResourceValues(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: ``{node_id, value}`` with value from 0 to 1, per physical machine."""
        _trace("SetResourceValues", params)
        return reply()

    def NotifyDeletePending(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: ``{node_id, client_id, max_wait_time}``, machines to be revoked."""
        _trace("NotifyDeletePending", params)
        return reply()

    def NotifyDeleteComplete(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: machines that are no longer ours. Cloudlab ignores the reply."""
        _trace("NotifyDeleteComplete", params)
        return reply()


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
        resource_values: node_id -> the newest value.
        revocations: node_id -> revocation, until it is complete or withdrawn.
        taken: node_id -> Cloudlab's word that it took the machine, until the manifest confirms it.
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
        self.resource_values: dict[str, ResourceValue] = {}
        self.revocations: dict[str, Revocation] = {}
        self.taken: dict[str, Taken] = {}
        self.rejected: Counter[str] = Counter()
        self._started: set[str] = set()

    # --- what Cloudlab calls

    def SetResourceValues(self, params: Any) -> Envelope:  # noqa: N802
        """Remember how much Cloudlab wants each machine."""
        now = self.clock.now()
        read = self._read("SetResourceValues", params, lambda item: read_value(item, now))
        if isinstance(read, dict):
            return read
        with self.rlock:
            for _, value in read:
                # Taken out first, so that the oldest stand in front.
                self.resource_values.pop(value.node_id, None)
                self.resource_values[value.node_id] = value
            for node_id in list(self.resource_values)[: max(0, len(self.resource_values) - MAX_NODES)]:
                del self.resource_values[node_id]
        self.notified("SetResourceValues")
        return reply()

    def NotifyDeletePending(self, params: Any) -> Envelope:  # noqa: N802
        """Remember revocations, start to clean new ones up, and tell which machines may be taken now.

        Returns:
            ``value`` 0 while none of them may be taken; else the received list, with ``max_wait_time`` 0 for
            those that may.
        """
        read = self._read("NotifyDeletePending", params, read_pending)
        if isinstance(read, dict):
            return read
        with self.rlock:
            noticed = self._note(notice for _, notice in read)
            fresh = [
                plain(item, notice)
                for item, notice in once(read)
                if notice.node_id in noticed
                and notice.node_id not in self._started
                and self.whose(self.revocations[notice.node_id]) is Whose.OURS
            ]
            self._started.update(item["node_id"] for item in fresh)
        self._start(fresh)
        self.notified("NotifyDeletePending")
        with self.rlock:
            known = {n: self.revocations[n] for n in noticed if n in self.revocations}
            free = {n for n, r in known.items() if r.releasable and self.whose(r) is not Whose.FOREIGN}
            self.revocations.update({n: replace(self.revocations[n], offered=True) for n in free})
        return reply([released(item, free) for item in params["nodelist"]] if free else 0)

    def NotifyDeleteComplete(self, params: Any) -> Envelope:  # noqa: N802
        """Drop the revocations of machines that Cloudlab has taken."""
        now = self.clock.now()
        read = self._read("NotifyDeleteComplete", params, read_complete)
        if isinstance(read, dict):
            return read
        first: list[Item] = []
        with self.rlock:
            for item, notice in once(read):
                known = self.revocations.pop(notice.node_id, None) is not None
                self._started.discard(notice.node_id)
                self.resource_values.pop(notice.node_id, None)
                if known or notice.node_id not in self.taken:
                    first.append(plain(item, notice))
                self.taken[notice.node_id] = Taken(notice.node_id, notice.client_id, now)
            for node_id in list(self.taken)[: max(0, len(self.taken) - MAX_NODES)]:
                del self.taken[node_id]
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
            nodelist: the items as received, with ``node_id`` and ``client_id`` as text.
        """
        with self.rlock:
            self._started.update(
                node_id for node_id in map(_node_id, nodelist) if node_id in self.revocations
            )
        name = f"delete-{_node_id(nodelist[0])}" if nodelist else "delete"
        threading.Thread(target=self._delete, args=(list(nodelist),), name=name, daemon=True).start()

    def end_delete(self, nodelist: Sequence[Item | str]) -> None:
        """Mark machines as releasable: the next reply tells Cloudlab that it may take them.

        Args:
            nodelist: items, or node_ids; one that is not being revoked is passed over.
        """
        with self.rlock:
            for node_id in map(_node_id, nodelist):
                revocation = self.revocations.get(node_id)
                if revocation is not None:
                    self.revocations[node_id] = replace(revocation, releasable=True)
        self.notified("end_delete")

    def has_pending_deletes(self) -> bool:
        """Tell whether a machine that was handed to ``start_delete`` is not releasable yet."""
        with self.rlock:
            return any(not r.releasable for n, r in self.revocations.items() if n in self._started)

    def nodes_taken(self, nodelist: Sequence[Item]) -> None:
        """Take note, once a machine, that Cloudlab took it: tells the helper, in a thread of its own."""
        threading.Thread(target=self._tell_taken, args=(list(nodelist),), name="taken", daemon=True).start()

    def whose(self, revocation: Revocation) -> Whose:  # noqa: ARG002
        """Tell whose machine a revocation is about; override it where others' machines may be named."""
        return Whose.OURS

    def notified(self, what: str) -> None:
        """Take note that a call (its method name) or ``end_delete`` changed something; returns at once."""

    def resume_deletes(self) -> None:
        """Start what a restart interrupted: revocations that nobody works on and nobody may take yet."""
        now = self.clock.now()
        with self.rlock:
            left = [r for r in self.revocations.values() if r.node_id not in self._started]
            due = [r for r in left if self.whose(r) is Whose.OURS]
            fresh = [
                {
                    "node_id": r.node_id,
                    "client_id": r.client_id,
                    "max_wait_time": max((r.deadline - now).total_seconds(), 0.0),
                }
                for r in due
                if not r.releasable
            ]
            self._started.update(r.node_id for r in due)
        self._start(fresh)

    def adopt_revocation(self, revocation: Revocation) -> None:
        """Take up a revocation that an earlier run knew of, unless Cloudlab spoke of that machine since."""
        with self.rlock:
            self.revocations.setdefault(revocation.node_id, revocation)

    def drop_revocation(self, node_id: str) -> Revocation | None:
        """Forget a revocation that is over; return what it was. A later notice begins a new one."""
        with self.rlock:
            self._started.discard(node_id)
            return self.revocations.pop(node_id, None)

    # --- inside

    def _read(
        self, method: str, params: Any, reader: Callable[[object], T]
    ) -> list[tuple[Item, T]] | Envelope:
        """Read each item by itself; return (item, what it says) of the good ones, or a reply of refusal."""
        _trace(method, params)
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

    def _note(self, notices: Iterable[Notice]) -> set[str]:
        """Write revocations down (under rlock); return the node_ids that were taken up."""
        now = self.clock.now()
        seen: dict[str, Revocation] = {}
        for notice in notices:
            node_id = notice.node_id
            old = self.revocations.get(node_id)
            if old is not None and _is_of_another(old, notice):
                # The machine was given back and came again: what was done for the older one says nothing.
                self.drop_revocation(node_id)
                old = None
            if old is None and len(self.revocations) >= MAX_NODES:
                self.rejected["NotifyDeletePending"] += 1
                continue
            deadline = now + timedelta(seconds=notice.wait)
            if node_id in seen:
                deadline = min(deadline, seen[node_id].deadline)
            seen[node_id] = self.revocations[node_id] = Revocation(
                node_id=node_id,
                client_id=notice.client_id or (old.client_id if old else ""),
                deadline=deadline,
                noticed=old.noticed if old else now,
                last_notice=now,
                releasable=old.releasable if old else False,
                offered=old.offered if old else False,
            )
            self.taken.pop(node_id, None)
        return set(seen)

    def _start(self, fresh: list[dict[str, Any]]) -> None:
        for group in [fresh] if self.delete_in_group and fresh else [[item] for item in fresh]:
            try:
                self.start_delete(group)
            except Exception:  # an override's fault must not cost Cloudlab its reply
                log.exception("start_delete failed; the next notice starts it again", nodes=_names(group))
                with self.rlock:
                    self._started.difference_update(item["node_id"] for item in group)

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
        now = self.clock.now()
        with self.rlock:
            known = [self.revocations[n] for n in map(_node_id, nodelist) if n in self.revocations]
        left = min(((r.deadline - now).total_seconds() for r in known), default=self.delete_timeout)
        return min(self.delete_timeout, max(left, 1.0))

    def _tell_taken(self, nodelist: list[Item]) -> None:
        for item in nodelist:
            try:
                if self.delete_helper:
                    self.delete_helper.handle_deleted_node(item)
            except Exception:  # a helper's fault over one machine must not cost the others
                log.exception("handle_deleted_node failed", node=item["node_id"])


def _is_of_another(old: Revocation, notice: Notice) -> bool:
    """Tell whether a notice is about another machine of ours than an older one with the same node_id."""
    return bool(old.client_id and notice.client_id) and old.client_id != notice.client_id


def _trace(method: str, params: object) -> None:
    try:
        shown = reprlib.repr(params)
    except ValueError:
        # Python writes no integer of more than 4300 digits.
        shown = "numbers too long to show"
    log.debug("Cloudlab called", method=method, params=shown)


def _node_id(item: Item | str) -> str:
    return item if isinstance(item, str) else str(item["node_id"])


def _names(nodelist: Sequence[Item]) -> str:
    return ", ".join(map(_node_id, nodelist))
