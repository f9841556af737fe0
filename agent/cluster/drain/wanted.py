"""Which of our nodes are to be emptied now, and on whose word: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.cluster.drain.fence import can_be_fenced, with_fences
from agent.cluster.reasons import TEARDOWN, Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import AdminDrain, Revocation, SliverNode
from agent.slurm.model import Snapshot


@dataclass(frozen=True)
class Said:
    """What administrators and Cloudlab said of single machines."""

    admin: Mapping[str, AdminDrain]
    """node_id -> the administrator's wish."""
    take_over: Collection[str]
    """node_ids of machines whose drain by somebody else an administrator wants replaced."""
    taken_as: Mapping[str, str]
    """node_id -> client_id under which Cloudlab said that it took the machine."""


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
    said: Said
    limited: Collection[str]
    """Names of the partitions that give every job a time limit, where nodes are fenced."""


@dataclass(frozen=True)
class Wishes:
    """What is to be emptied now, and what is ours to touch."""

    drains: Mapping[str, Drain]
    """Node name -> drain."""
    ours: Collection[str]
    """Names of the nodes that are Cloudlab machines of ours; empty before the first manifest is read."""
    fences: Mapping[str, datetime] | None
    """Node name -> from when on no job may run there; None while not all is known: they stay."""
    unread: Collection[str] = ()
    """Names of those of ours that an earlier run may have drained: for what is not known yet."""


def drains_of(now: Situation) -> dict[str, Drain]:
    """Return node name -> the most urgent reason to empty it."""
    return most_urgent(_all(now))


def wishes_of(now: Situation, settings: DrainSettings) -> Wishes:
    """Tell what is to be emptied, what is to be fenced, and what is ours to touch."""
    drains, machines = drains_of(now), now.machines
    if not settings.fence:
        return Wishes(drains, frozenset(machines), {})
    if now.snapshot is None or not now.all_read:
        return Wishes(drains, frozenset(machines), None)
    known = [now.snapshot.nodes[name] for name in machines if name in now.snapshot.nodes]
    fenced = {node.name for node in known if can_be_fenced(node, now.limited)}
    leases = {n: now.leases[m.cm] for n, m in machines.items() if n in fenced and m.cm in now.leases}
    drains, fences = with_fences(drains, fenced, leases, settings)
    return Wishes(drains, frozenset(machines), fences)


def most_urgent(drains: Iterable[Drain]) -> dict[str, Drain]:
    """Choose one drain a node: a machine that is gone comes first, a revocation next, a surplus last.

    A revocation takes over the deadline of an administrator, where that is the earlier one.
    """
    rank = {cause: number for number, cause in enumerate(DrainCause)}
    chosen: dict[str, Drain] = {}
    for drain in sorted(drains, key=lambda d: rank[d.cause]):
        first = chosen.setdefault(drain.node, drain)
        if first is not drain and first.cause is DrainCause.REVOKED:
            due = [d.deadline for d in (first, drain) if d.deadline is not None]
            chosen[drain.node] = replace(first, deadline=min(due, default=None), seconded=True)
    return chosen


def _all(now: Situation) -> Iterator[Drain]:
    taken = {node_id: now.said.taken_as.get(node_id, "") for node_id in now.taken}
    for name, machine in now.machines.items():
        if taken.get(machine.node_id) in {"", machine.client_id}:
            yield Drain(name, DrainCause.TAKEN)
        revocation = now.revocations.get(machine.node_id)
        if revocation is not None and revocation.client_id in {"", machine.client_id}:
            yield Drain(name, DrainCause.REVOKED, revocation.deadline, begun=revocation.noticed)
        if now.hold is not None and now.hold.reason == TEARDOWN:
            yield _teardown(name, now.hold, now.snapshot)
            continue
        wish = now.said.admin.get(machine.node_id)
        if wish is not None:
            yield Drain(
                *(name, DrainCause.ADMIN, wish.deadline, wish.who, wish.reason, wish.give_back),
                takes_over=machine.node_id in now.said.take_over,
            )
        if name in now.useless:
            yield Drain(name, DrainCause.SURPLUS)


def _teardown(name: str, hold: AdminDrain, snapshot: Snapshot | None) -> Drain:
    """Empty a node as an administrator would, with the deadline; once it is empty it is surplus."""
    node = snapshot.nodes.get(name) if snapshot else None
    if snapshot is None or snapshot.jobs_on([name]) or (node is not None and not node.drained):
        return Drain(name, DrainCause.ADMIN, hold.deadline, hold.who, TEARDOWN)
    return Drain(name, DrainCause.SURPLUS)
