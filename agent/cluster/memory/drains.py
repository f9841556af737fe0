"""What administrators and Cloudlab said of single machines, kept until a machine is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from agent.cluster.drain.wanted import Said
from agent.cluster.reasons import Drain, parse_reason
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import AdminDrain, SliverNode
from agent.slurm.model import Snapshot


class DrainStore(Protocol):
    """Where administrators' drains survive a restart."""

    def drains(self) -> Sequence[AdminDrain]:
        """Return what is stored."""

    def put_drain(self, drain: AdminDrain) -> None:
        """Store one, in place of an older one of the same machine."""

    def remove_drain(self, node_id: str) -> None:
        """Forget one; no error where there is none."""


class Drains:
    """Remembers what was said. Thread-safe.

    Args:
        store: where administrators' drains survive a restart.
        stored: those that it had there.
        limited: reads the names of the partitions that give every job a time limit, where nodes are fenced.
    """

    def __init__(
        self, store: DrainStore, stored: Iterable[AdminDrain], limited: Callable[[], frozenset[str]]
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._admin = {drain.node_id: drain for drain in stored}
        self._take_over: set[str] = set()
        self._taken_as: dict[str, str] = {}
        self._read_limited = limited
        self._limited: frozenset[str] = frozenset()

    @property
    def said(self) -> Said:
        """All of it, at this moment."""
        with self._lock:
            return Said(dict(self._admin), frozenset(self._take_over), dict(self._taken_as))

    @property
    def limited(self) -> frozenset[str]:
        """Names of the partitions that give every job a time limit; none where nodes are not fenced."""
        return self._limited

    def put(self, drain: AdminDrain, *, take_over: bool = False) -> None:
        """Take an administrator's wish, with ``take_over`` in place of a drain by somebody else.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._store.put_drain(drain)
        with self._lock:
            self._admin[drain.node_id] = drain
            if take_over:
                self._take_over.add(drain.node_id)

    def get(self, node_id: str) -> AdminDrain | None:
        """Return the administrator's wish for a machine."""
        with self._lock:
            return self._admin.get(node_id)

    def remove(self, node_id: str) -> None:
        """Strike an administrator's wish; none is no error.

        Raises:
            LedgerError: it cannot be struck.
        """
        self._store.remove_drain(node_id)
        with self._lock:
            self._admin.pop(node_id, None)
            self._take_over.discard(node_id)

    def note_taken(self, nodelist: Iterable[Mapping[str, Any]]) -> None:
        """Take note that Cloudlab took machines, before the manifest says so."""
        with self._lock:
            self._taken_as.update((item["node_id"], item["client_id"]) for item in nodelist)

    def forget(self, node_id: str) -> None:
        """Drop all that concerns a machine that is not ours any more.

        Raises:
            LedgerError: an administrator's wish cannot be struck.
        """
        with self._lock:
            self._taken_as.pop(node_id, None)
        self.remove(node_id)

    def observe(self, settings: DrainSettings) -> None:
        """Read from Slurm what fences need.

        Raises:
            SlurmError: it could not be read; what was known stays.
        """
        if settings.fence:
            self._limited = self._read_limited()


def left_by_an_earlier_run(
    machines: Mapping[str, SliverNode], snapshot: Snapshot
) -> Iterator[tuple[SliverNode, Drain]]:
    """Read back the drains whose reasons an earlier run of the agent wrote into Slurm."""
    for name, machine in machines.items():
        node = snapshot.nodes.get(name)
        drain = parse_reason(name, node.reason) if node and node.draining else None
        if drain is not None:
            yield machine, drain
