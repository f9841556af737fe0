"""Cloudlab taking machines back: the countdown, releases, the taking by force (protogeni.md §6.3, §6.4)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from testbed.cloudlab.answer import Code, RaisedError, RefusalError
from testbed.cloudlab.callbacks.endpoint import TICK, Endpoint, NodeItem
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.nodes import NodeMethods
from testbed.cloudlab.state import NodeSliver

_AGAIN = 5.0
"""Simulated seconds until a machine is tried again whose slice is locked."""


@dataclass(eq=False)
class Revocation:
    """One machine that is to be taken."""

    sliver: NodeSliver
    due: float
    """Monotonic time at which it is taken."""
    deadline: datetime
    """The same as was announced, by the clock on the wall."""
    cause: str = "revoked"

    @property
    def node_id(self) -> str:
        """The machine."""
        return self.sliver.machine.node_id

    def item(self, now: float) -> NodeItem:
        """Return the item of a nodelist: real seconds left, as a whole number."""
        left = max(0, int(self.due - now + 0.5))
        return {"node_id": self.node_id, "client_id": self.sliver.client_id, "max_wait_time": left}


class Revocations:
    """The revocations of one CM: one thread takes, another one tells the agent."""

    def __init__(self, cm: ComponentManager, nodes: NodeMethods, endpoint: Endpoint | None) -> None:
        self._cm = cm
        self._nodes = nodes
        self._endpoint = endpoint
        self._mutex = cm.around.mutex
        self._pending: dict[str, Revocation] = {}
        self._next_notice: dict[str, float] = {}
        self._messages: list[tuple[str, Sequence[NodeItem]]] = []

    def start(self) -> None:
        """Begin the two threads."""
        workers = self._cm.around.workers
        workers.start(f"take {self._cm.urn}", self._take_until_stopped)
        if self._endpoint is not None:
            workers.start(f"notify {self._cm.urn}", self._notify_until_stopped)

    def revoke(self, node_ids: Iterable[str], seconds: float) -> None:
        """Announce that machines are taken in so many real seconds; the caller holds the mutex.

        For a machine with a countdown the new one replaces it. All must be held by a slice.
        """
        now = time.monotonic()
        slices = set()
        for node_id in node_ids:
            sliver = self._cm.machines[node_id].holder
            assert sliver is not None
            deadline = self._cm.around.clock.now() + timedelta(seconds=seconds)
            self._pending[node_id] = Revocation(sliver, now + seconds, deadline)
            slices.add(sliver.slice_urn)
        for slice_urn in sorted(slices):
            # Told even when the machine is taken before the agent hears of it.
            self._give_notice(slice_urn, now)
        self._mutex.notify_all()

    def withdraw(self, node_id: str) -> bool:
        """Stop a countdown; False when there is none. The caller holds the mutex."""
        self._drop_settled()
        return self._pending.pop(node_id, None) is not None

    def deadline(self, node_id: str) -> datetime | None:
        """Return when a machine will be taken; None when it will not. The caller holds the mutex."""
        self._drop_settled()
        revocation = self._pending.get(node_id)
        return revocation.deadline if revocation else None

    # --- taking

    def _take_until_stopped(self) -> None:
        while True:
            with self._mutex:
                if self._cm.around.workers.stopping.is_set():
                    return
                self._mutex.wait(self._take_due())

    def _take_due(self) -> float:
        """Take what is due; return the real seconds until there is more to do."""
        self._drop_settled()
        now = time.monotonic()
        groups: dict[str, list[Revocation]] = {}
        for revocation in self._pending.values():
            if revocation.due <= now:
                groups.setdefault(revocation.sliver.slice_urn, []).append(revocation)
        for slice_urn, revocations in groups.items():
            self._take(slice_urn, revocations)
        again = now + self._cm.around.pace.real(_AGAIN)
        due = [
            max(revocation.due, again) if revocation.due <= now else revocation.due
            for revocation in self._pending.values()
        ]
        return max(0.0, min(due, default=now + TICK) - time.monotonic())

    def _take(self, slice_urn: str, revocations: list[Revocation]) -> None:
        record = self._cm.slices[slice_urn]
        causes = sorted({revocation.cause for revocation in revocations})
        client_ids = [revocation.sliver.client_id for revocation in revocations]
        try:
            self._nodes.delete_nodes(record, client_ids, " and ".join(causes), taken=True)
        except RefusalError as refusal:
            if refusal.code is not Code.BUSY:
                self._forget(revocations)
            return
        except RaisedError:
            self._forget(revocations)
            return
        self._forget(revocations)
        now = time.monotonic()
        items = [{**revocation.item(now), "max_wait_time": 0} for revocation in revocations]
        self._say("NotifyDeleteComplete", items)

    def _forget(self, revocations: Iterable[Revocation]) -> None:
        for revocation in revocations:
            self._pending.pop(revocation.node_id, None)

    def _drop_settled(self) -> None:
        """Forget machines that the slice has given back by itself."""
        gone = [r for r in self._pending.values() if r.sliver.machine.holder is not r.sliver]
        self._forget(gone)

    # --- telling

    def _say(self, method: str, items: Sequence[NodeItem]) -> None:
        if self._endpoint is not None:
            self._messages.append((method, items))
            self._mutex.notify_all()

    def _give_notice(self, slice_urn: str, now: float) -> None:
        """Tell of all pending machines of a slice, and set the time of the next notice."""
        self._next_notice[slice_urn] = now + self._cm.around.pace.real(TICK)
        pending = [r for r in self._pending.values() if r.sliver.slice_urn == slice_urn]
        self._say("NotifyDeletePending", [revocation.item(now) for revocation in pending])

    def _notify_until_stopped(self) -> None:
        assert self._endpoint is not None
        while True:
            with self._mutex:
                if self._cm.around.workers.stopping.is_set():
                    return
                wait = self._notices_due()
                if not self._messages:
                    self._mutex.wait(wait)
                    continue
                method, items = self._messages.pop(0)
            released = self._endpoint.call(method, items) or ()
            if method == "NotifyDeletePending":
                self._release(released)

    def _notices_due(self) -> float:
        """Give the notices that are due; return the real seconds until the next one."""
        self._drop_settled()
        now = time.monotonic()
        slices = {revocation.sliver.slice_urn for revocation in self._pending.values()}
        self._next_notice = {name: due for name, due in self._next_notice.items() if name in slices}
        for name in [name for name, due in self._next_notice.items() if due <= now]:
            self._give_notice(name, now)
        return max(0.0, min(self._next_notice.values(), default=now + TICK) - now)

    def _release(self, node_ids: Iterable[str]) -> None:
        with self._mutex:
            for node_id in node_ids:
                revocation = self._pending.get(node_id)
                if revocation is not None:
                    revocation.due = time.monotonic()
                    revocation.cause = "released"
            self._mutex.notify_all()
