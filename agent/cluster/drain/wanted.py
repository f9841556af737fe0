"""Which of our nodes are to be emptied now, and on whose word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.cluster.drain.drainer import Wishes
from agent.cluster.drain.fence import can_be_fenced, with_fences
from agent.cluster.drain.nodes import DrainStore, most_urgent
from agent.cluster.reasons import TEARDOWN, Drain, DrainCause, parse_reason
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import AdminDrain, Revocation, SliverNode
from agent.slurm.model import Snapshot


@dataclass(frozen=True)
class Situation:
    """What is known at one moment of our machines and of those who want them emptied."""

    machines: Mapping[str, SliverNode]
    """Node name -> machine."""
    all_read: bool
    """Whether every CM's manifest was read: else other nodes may be machines of ours too."""
    snapshot: Snapshot | None
    """What Slurm last said; None before it was read once."""
    revocations: Mapping[str, Revocation]
    """node_id -> revocation."""
    taken: Collection[str]
    """node_ids of which Cloudlab said that they are taken."""
    useless: Collection[str]
    """Names of nodes whose machine failed or is surplus."""
    hold: AdminDrain | None
    """The administrator's wish for the whole slice."""
    leases: Mapping[str, datetime]
    """CM -> until when its sliver lasts."""


class Emptying:
    """Remembers what administrators and Cloudlab said, and joins it with the rest. Thread-safe.

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
        """node_ids of machines whose drain by somebody else an administrator wants replaced."""
        self._taken_as: dict[str, str] = {}
        """node_id -> client_id under which Cloudlab said that it took the machine."""
        self._read_limited = limited
        self._limited: frozenset[str] = frozenset()

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

    def drains(self, now: Situation) -> dict[str, Drain]:
        """Return node name -> the most urgent reason to empty it."""
        return most_urgent(self._all(now))

    def wishes(self, now: Situation, settings: DrainSettings) -> Wishes:
        """Tell what is to be emptied, what is to be fenced, and what is ours to touch."""
        drains, machines = self.drains(now), now.machines
        if not settings.fence:
            return Wishes(drains, frozenset(machines), {})
        if now.snapshot is None or not now.all_read:
            return Wishes(drains, frozenset(machines), None)
        known = [now.snapshot.nodes[name] for name in machines if name in now.snapshot.nodes]
        fenced = {node.name for node in known if can_be_fenced(node, self._limited)}
        leases = {n: now.leases[m.cm] for n, m in machines.items() if n in fenced and m.cm in now.leases}
        drains, fences = with_fences(drains, fenced, leases, settings)
        return Wishes(drains, frozenset(machines), fences)

    def _all(self, now: Situation) -> Iterator[Drain]:
        with self._lock:
            admin, take_over, taken_as = dict(self._admin), set(self._take_over), dict(self._taken_as)
        taken = {node_id: taken_as.get(node_id, "") for node_id in now.taken}
        for name, machine in now.machines.items():
            if taken.get(machine.node_id) in {"", machine.client_id}:
                yield Drain(name, DrainCause.TAKEN)
            revocation = now.revocations.get(machine.node_id)
            if revocation is not None and revocation.client_id in {"", machine.client_id}:
                yield Drain(name, DrainCause.REVOKED, revocation.deadline, begun=revocation.noticed)
            if now.hold is not None and now.hold.reason == TEARDOWN:
                yield _teardown(name, now.hold, now.snapshot)
                continue
            wish = admin.get(machine.node_id)
            if wish is not None:
                yield Drain(
                    *(name, DrainCause.ADMIN, wish.deadline, wish.who, wish.reason, wish.give_back),
                    takes_over=machine.node_id in take_over,
                )
            if name in now.useless:
                yield Drain(name, DrainCause.SURPLUS)


def _teardown(name: str, hold: AdminDrain, snapshot: Snapshot | None) -> Drain:
    """Empty a node as an administrator would, with the deadline; once it is empty it is surplus."""
    node = snapshot.nodes.get(name) if snapshot else None
    if snapshot is None or snapshot.jobs_on([name]) or (node is not None and not node.drained):
        return Drain(name, DrainCause.ADMIN, hold.deadline, hold.who, TEARDOWN)
    return Drain(name, DrainCause.SURPLUS)


def left_by_an_earlier_run(
    machines: Mapping[str, SliverNode], snapshot: Snapshot
) -> Iterator[tuple[SliverNode, Drain]]:
    """Read back the drains whose reasons an earlier run of the agent wrote into Slurm."""
    for name, machine in machines.items():
        node = snapshot.nodes.get(name)
        drain = parse_reason(name, node.reason) if node and node.draining else None
        if drain is not None:
            yield machine, drain
