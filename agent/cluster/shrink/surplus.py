"""Which machines go back, and why each of the others stays: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.settings.demand import DemandSettings
from agent.core.settings import format_duration
from agent.slurm.model import Job, Node, Reservation, Snapshot


@dataclass(frozen=True)
class NodeVerdict:
    """What becomes of one node of ours."""

    name: str
    goes: bool
    why: str


@dataclass(frozen=True)
class History:
    """What Slurm does not tell: since when things are as they are."""

    idle_since: Mapping[str, datetime]
    """Node name -> since when it has been seen without a job; one that is missing is not idle."""
    joined_since: Mapping[str, datetime]
    """Node name -> since when it has been seen as a node of Slurm."""
    found: frozenset[str] = frozenset()
    """Names of the nodes that the first reading found."""


def look_back(snapshot: Snapshot, earlier: History | None, joined: Collection[str]) -> History:
    """Tell since when nodes are idle, and joined; a restart of the agent begins neither anew.

    For what the first reading finds there are better sources: Slurm's own time for a node that is idle, and
    the boot of its machine, which comes to us by one, for a node that has joined.

    Args:
        snapshot: what Slurm says.
        earlier: what this function returned for the snapshot before; None for the first.
        joined: names of our nodes that Slurm has.
    """
    now = snapshot.taken
    first = History({}, {}, frozenset(snapshot.nodes)) if earlier is None else earlier
    idle = {node.name: node for node in snapshot.nodes.values() if node.empty and node.usable}
    idle_before = {n: node.last_busy or now for n, node in idle.items()} if earlier is None else {}
    booted = {name: snapshot.nodes[name].booted or now for name in first.found.intersection(joined)}
    return History(
        {name: first.idle_since.get(name, min(idle_before.get(name, now), now)) for name in idle},
        {name: first.joined_since.get(name, min(booted.get(name, now), now)) for name in joined},
        first.found,
    )


def plan_surplus(
    snapshot: Snapshot,
    *,
    ours: Collection[str],
    history: History,
    values: Mapping[str, float],
    growth: GrowthPlan,
    settings: DemandSettings,
    now: datetime,
    reservations: Iterable[Reservation] = (),
) -> tuple[NodeVerdict, ...]:
    """Decide which machines of ours may go back.

    Args:
        snapshot: what Slurm says.
        ours: node names of the machines that we hold, that have joined, and that nobody empties.
        history: since when they are idle, and joined.
        values: node name -> how much Cloudlab wants it, 0 to 1; the most wanted go first.
        growth: what the queue wants at the same moment; nothing goes while it wants more machines.
        settings: [demand].
        now: the time of the decision.
        reservations: those of Slurm; may be left out to see whether anything might go at all.

    Returns:
        One verdict a node: first those that go, in the order in which they should go, at most
        ``len(ours) - min_nodes`` of them. Never one that is drained (who drained it decides), that pending
        jobs are expected to take, or that a job or a reservation names.
    """
    named = names_in_use(snapshot.jobs, reservations, now)
    verdicts: list[NodeVerdict] = []
    idle: list[str] = []
    for name in sorted(set(ours) & snapshot.nodes.keys()):
        why = _stays(snapshot.nodes[name], named.get(name, ""), history, growth, settings, now)
        if why:
            verdicts.append(NodeVerdict(name, False, why))
        else:
            idle.append(name)
    idle.sort(key=lambda name: (-values.get(name, 0.0), history.idle_since[name], name))
    spare = max(len(ours) - settings.min_nodes, 0)
    going = [NodeVerdict(n, True, f"{_idle(n, history, now)} and nothing waits for it") for n in idle[:spare]]
    kept = [NodeVerdict(n, False, f"min_nodes is {settings.min_nodes}") for n in idle[spare:]]
    return (*going, *kept, *verdicts)


def names_in_use(jobs: Iterable[Job], reservations: Iterable[Reservation], now: datetime) -> dict[str, str]:
    """Return node name -> who names it, in words: a job on it, a job that asks for it, a reservation.

    The fences that keep jobs off nodes that are taken away (flag ``MAINT``) are no wish to keep them.
    """
    named: dict[str, str] = {}
    for reservation in reservations:
        if reservation.ends > now and "MAINT" not in reservation.flags:
            named.update(dict.fromkeys(reservation.nodes, f"reservation {reservation.name} names it"))
    for job in jobs:
        if job.state == "PENDING":
            named.update(dict.fromkeys(job.requested_nodes, f"job {job.id} asks for it by name"))
    for job in jobs:
        if job.holds_nodes:
            named.update(dict.fromkeys(job.nodes, f"job {job.id} is on it"))
    return named


def _stays(
    node: Node, named: str, history: History, growth: GrowthPlan, settings: DemandSettings, now: datetime
) -> str:
    """Say why a node is not to go; "" where it may."""
    since, joined = history.idle_since.get(node.name), history.joined_since.get(node.name, now)
    if node.draining:
        return f"drained: {node.reason or 'without a reason'}"
    if named:
        return named
    if not node.usable or not node.empty or since is None:
        return f"Slurm says {node.words}"
    if node.name in growth.claimed:
        return "pending jobs are expected to take it"
    if growth.count > 0:
        return "the queue wants more machines"
    if now - since < timedelta(seconds=settings.idle_timeout):
        limit = format_duration(settings.idle_timeout)
        return f"{_idle(node.name, history, now)}, less than idle_timeout {limit}"
    if now - joined < timedelta(seconds=settings.min_hold):
        return f"joined {_since(joined, now)} ago, less than min_hold {format_duration(settings.min_hold)}"
    return ""


def _idle(name: str, history: History, now: datetime) -> str:
    return f"idle for {_since(history.idle_since[name], now)}"


def _since(then: datetime, now: datetime) -> str:
    return format_duration(round((now - then).total_seconds()))
