"""What becomes of the nodes that are emptied: a pure decision."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.cluster.reasons import TAKEN_BACK, Drain, DrainCause, is_ours, is_same_time, parse_reason
from agent.cluster.settings.drain import DrainSettings
from agent.slurm.model import Job, Node, Snapshot

_NO_WORD = re.compile(r"\W+")
_KEPT = 200
"""Characters of an administrator's words, letters and digits, by which they are told from others."""
_LAST_MOMENT = 0.5
"""Of ``cleanup_lead``, how long before the deadline a node is given up whose jobs still clean up."""
_TOGETHER = 10
"""Machines that one reason names at most, so that people can read it."""


@dataclass(frozen=True)
class DrainNodes:
    """Let no new job start on these nodes."""

    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class UndrainNodes:
    """Give these nodes back to the scheduler: nobody wants them emptied any more."""

    nodes: tuple[str, ...]
    down: bool
    """They are DOWN, as we told Slurm."""
    why: str = "nobody wants it emptied any more"


@dataclass(frozen=True)
class DownNodes:
    """Tell Slurm that machines are gone, or as good as gone: their jobs are free at once rather than hang."""

    nodes: tuple[str, ...]
    reason: str
    lost: tuple[Job, ...] = ()
    """The jobs that ran on them."""
    why: str = "gone with jobs on it"


@dataclass(frozen=True)
class LeaveNode:
    """Nothing runs there any more: run the delete commands and then release it."""

    node: str
    cause: DrainCause
    deadline: datetime | None
    reason: str
    begun: datetime | None = None
    """Of its drain: another one of the same node is left anew."""
    slivers: frozenset[str] = frozenset()
    """``marks`` of the machine that is left; none where that is not known."""


NodeAction = DrainNodes | UndrainNodes | DownNodes | LeaveNode


def plan_nodes(
    snapshot: Snapshot,
    wanted: Mapping[str, Drain],
    *,
    ours: Collection[str],
    unread: Collection[str] = (),
    settings: DrainSettings,
    now: datetime,
) -> list[NodeAction]:
    """Decide what to do to nodes now.

    Args:
        snapshot: what Slurm says.
        wanted: node name -> its drain.
        ours: names of all nodes that are Cloudlab machines of ours; no other node is ever touched.
        unread: names of those of ours whose drain is not lifted: what it is for is not known yet.
        settings: the leads.
        now: the time of the decision.

    Returns:
        Actions in the order in which they are to be done: drains first, so that nothing new lands on a node
        that was just found empty.
    """
    mine = {name: drain for name, drain in wanted.items() if name in ours}
    return [
        *_drains(snapshot, {name: drain for name, drain in mine.items() if not drain.is_later_than(now)}),
        *_undrains(snapshot, mine, frozenset(ours).difference(unread), now),
        *_downs(snapshot, mine),
        *_silent(snapshot, mine, settings, now),
        *_leaves(snapshot, {name: drain for name, drain in mine.items() if _may_leave(drain, settings, now)}),
    ]


def _may_leave(drain: Drain, settings: DrainSettings, now: datetime) -> bool:
    return not drain.unconfirmed or _left(drain, now) <= settings.kill_lead


def _left(drain: Drain, now: datetime) -> float:
    """Return the seconds until its deadline."""
    return math.inf if drain.deadline is None else (drain.deadline - now).total_seconds()


def job_deadlines(wanted: Mapping[str, Drain], ours: Collection[str]) -> dict[str, datetime | None]:
    """Return the deadline of each node whose jobs are to be seen to; a machine that is gone has none left."""
    return {
        name: drain.deadline
        for name, drain in wanted.items()
        if name in ours and drain.cause is not DrainCause.TAKEN
    }


def _drains(snapshot: Snapshot, wanted: Mapping[str, Drain]) -> list[NodeAction]:
    due = [d for n, d in wanted.items() if (node := snapshot.nodes.get(n)) and not _stands(node, d)]
    return [DrainNodes(names, reason) for names, reason in _in_batches(due)]


def _in_batches(drains: Iterable[Drain]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the names of nodes that one request and one reason do for, and that reason."""
    alike: dict[str, list[Drain]] = {}
    for drain in sorted(drains, key=lambda d: d.node):
        alike.setdefault(drain.words, []).append(drain)
    for words, each in alike.items():
        if unmarked := tuple(drain.node for drain in each if not drain.slivers):
            yield unmarked, words
        marked = [drain for drain in each if drain.slivers]
        for start in range(0, len(marked), _TOGETHER):
            some = marked[start : start + _TOGETHER]
            slivers = frozenset[str]().union(*(drain.slivers for drain in some))
            yield tuple(drain.node for drain in some), replace(some[0], slivers=slivers).reason


def _stands(node: Node, drain: Drain) -> bool:
    if not node.draining:
        return False
    said = parse_reason(node.name, node.reason)
    if said is None:  # another administrator's words stay: the drain is there, which is what counts
        return not is_ours(node.reason) and not drain.takes_over
    if said.cause is not drain.cause or not drain.slivers <= said.slivers:
        return False
    is_told = said.give_back is drain.give_back and _bare(said.why) == _bare(drain.why)
    if drain.cause is DrainCause.ADMIN and not is_told:
        return False
    if said.deadline is None or drain.deadline is None:
        return said.deadline is drain.deadline
    return is_same_time(said.deadline, drain.deadline)


def _bare(words: str) -> str:
    """Return what of words comes back from Slurm for certain: it takes quotes off and cuts long text."""
    return _NO_WORD.sub("", words)[:_KEPT]


def _undrains(
    snapshot: Snapshot, wanted: Mapping[str, Drain], ours: Collection[str], now: datetime
) -> list[NodeAction]:
    """Give back what nobody wants emptied (any more, or yet).

    A node that is down until its machine has joined is left to the join: up before that, Slurm would send it
    jobs that hang there. So it would one that reboots.
    """
    lifted = [
        node
        for node in snapshot.nodes.values()
        if node.name in ours
        and not node.rebooting
        and (is_ours(node.reason) if node.state != "DOWN" else parse_reason(node.name, node.reason))
        and (node.draining or node.state == "DOWN")
        and (node.name not in wanted or wanted[node.name].is_later_than(now))
    ]
    return [
        UndrainNodes(tuple(sorted(n.name for n in lifted if (n.state == "DOWN") is down)), down)
        for down in (False, True)
        if any((n.state == "DOWN") is down for n in lifted)
    ]


def _downs(snapshot: Snapshot, wanted: Mapping[str, Drain]) -> list[NodeAction]:
    held = {name for job in snapshot.jobs if job.holds_nodes for name in job.nodes}
    gone = [
        drain
        for name, drain in wanted.items()
        if drain.cause is DrainCause.TAKEN
        and (node := snapshot.nodes.get(name))
        and node.state != "DOWN"
        and (name in held or "COMPLETING" in node.flags)
    ]
    actions: list[NodeAction] = []
    told: set[str] = set()
    for names, reason in _in_batches(gone):
        lost = [j for j in snapshot.jobs_on(names) if j.state != "COMPLETING" and j.id not in told]
        told.update(job.id for job in lost)
        actions.append(DownNodes(names, reason, tuple(lost)))
    return actions


def _silent(
    snapshot: Snapshot, wanted: Mapping[str, Drain], settings: DrainSettings, now: datetime
) -> Iterator[NodeAction]:
    """Give nodes up on which jobs that are over clean up for ever, before their machines are taken.

    Slurm waits for SlurmdTimeout (slurm.conf(5)) until it believes that a slurmd is gone, and so long a
    requeued job waits. One that answers may be in its epilog, which is given all the time that there is.
    """
    held = [job for job in snapshot.jobs if job.holds_nodes]
    busy = {name for job in held if job.state != "COMPLETING" for name in job.nodes}
    over = {name for job in held for name in job.nodes}
    # Slurm 24.11 may tell no nodes of a requeued job that completes.
    over = (over | {node.name for node in snapshot.nodes.values() if "COMPLETING" in node.flags}) - busy
    given_up = []
    for name in sorted(over & wanted.keys() & snapshot.nodes.keys()):
        node, drain = snapshot.nodes[name], wanted[name]
        goes = drain.cause in TAKEN_BACK or (drain.leaves and drain.cause is not DrainCause.TAKEN)
        lead = settings.kill_lead if "NOT_RESPONDING" in node.flags else settings.cleanup_lead * _LAST_MOMENT
        if goes and node.state != "DOWN" and _left(drain, now) <= lead:
            given_up.append(drain)
    for names, reason in _in_batches(given_up):
        yield DownNodes(names, reason, why="its jobs are over, and its slurmd does not say so")


def _leaves(snapshot: Snapshot, wanted: Mapping[str, Drain]) -> list[NodeAction]:
    busy = {name for job in snapshot.jobs if job.holds_nodes for name in job.nodes}
    actions: list[NodeAction] = []
    for name, drain in sorted(wanted.items()):
        node = snapshot.nodes.get(name)
        empty = name not in busy and (node is None or node.drained)
        if empty and drain.leaves:
            why = "no job is left on it" if node else "Slurm does not know it"
            actions.append(LeaveNode(name, drain.cause, drain.deadline, why, drain.begun, drain.slivers))
    return actions
