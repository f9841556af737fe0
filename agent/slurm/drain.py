"""Emptying nodes before a deadline: what to do now, as a pure decision.

The reason that stands in Slurm marks a drain as ours and carries its deadline, so that a restarted agent, or
one on the other head node, goes on where the last one stopped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pydantic import Field

from agent.core.model import AdminDrain
from agent.core.settings import Duration, Section
from agent.slurm.model import Job, Node, Snapshot

REASON_PREFIX = "esagent: "
_DUE = "%Y-%m-%dT%H:%M:%SZ"
_REVOKED = re.compile(r"revoked by Cloudlab, due (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_ADMIN = re.compile(
    r"drained by (?P<who>[^:,]+)(?:, due (?P<due>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ))?: (?P<why>.*)"
)
_SURPLUS = "surplus, to be given back"
_MOVED = timedelta(seconds=5)
"""A countdown comes in whole seconds and with some delay: a smaller move is the same deadline."""


class DrainSettings(Section):
    """How nodes are emptied before a deadline."""

    tick: Duration = Field(5, gt=0, description="how often draining nodes are looked at")
    checkpoint_signal: str = Field(
        "",
        pattern=r"^[A-Z0-9]*$",
        description="signal that tells a job to save its work, ahead of a requeue, such as USR1; empty: none",
    )
    checkpoint_lead: Duration = Field(600, ge=0, description="how long before the deadline it is sent")
    requeue_lead: Duration = Field(
        120, ge=0, description="how long before the deadline a job that will not end in time is requeued"
    )
    kill_lead: Duration = Field(
        60, ge=0, description="how long before the deadline a job that may not be requeued is cancelled"
    )
    cleanup_lead: Duration = Field(
        30, ge=0, description="what is kept free before the deadline for the delete commands"
    )
    cleanup_limit: Duration = Field(
        300, gt=0, description="time limit of the delete commands where no deadline is nearer"
    )


class DrainCause(StrEnum):
    """Why a node is emptied; the order is the order of precedence on one node."""

    REVOKED = "revoked"
    ADMIN = "admin"
    SURPLUS = "surplus"


@dataclass(frozen=True)
class Drain:
    """A wish that one node be emptied and stay empty."""

    node: str
    """Node name in Slurm."""
    cause: DrainCause
    deadline: datetime | None = None
    who: str = ""
    """The administrator's user name."""
    why: str = ""
    """The administrator's words."""

    @property
    def reason(self) -> str:
        """What stands as Reason= in Slurm."""
        due = f", due {self.deadline.strftime(_DUE)}" if self.deadline else ""
        match self.cause:
            case DrainCause.REVOKED:
                return f"{REASON_PREFIX}revoked by Cloudlab{due}"
            case DrainCause.ADMIN:
                return f"{REASON_PREFIX}drained by {self.who}{due}: {self.why}"
            case DrainCause.SURPLUS:
                return f"{REASON_PREFIX}{_SURPLUS}"


class DrainStore(Protocol):
    """Where administrators' drains survive a restart."""

    def drains(self) -> Sequence[AdminDrain]:
        """Return what is stored."""

    def put_drain(self, drain: AdminDrain) -> None:
        """Store one, in place of an older one of the same machine."""

    def remove_drain(self, node_id: str) -> None:
        """Forget one; no error where there is none."""


def is_ours(reason: str) -> bool:
    """Tell whether the agent wrote this Reason=."""
    return reason.startswith(REASON_PREFIX)


def parse_reason(node: str, reason: str) -> Drain | None:
    """Read back a reason that the agent wrote; None for anybody else's words."""
    if not is_ours(reason):
        return None
    text = reason.removeprefix(REASON_PREFIX)
    if match := _REVOKED.fullmatch(text):
        return Drain(node, DrainCause.REVOKED, _parse_due(match[1]))
    if match := _ADMIN.fullmatch(text):
        due = _parse_due(match["due"]) if match["due"] else None
        return Drain(node, DrainCause.ADMIN, due, match["who"], match["why"])
    if text == _SURPLUS:
        return Drain(node, DrainCause.SURPLUS)
    return None


def _parse_due(text: str) -> datetime:
    return datetime.strptime(text, _DUE).replace(tzinfo=UTC)


@dataclass(frozen=True)
class DrainNodes:
    """Let no new job start on these nodes."""

    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class UndrainNodes:
    """Give these nodes back to the scheduler."""

    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class SignalJob:
    """Tell a job to save its work."""

    job: Job
    signal: str
    reason: str


@dataclass(frozen=True)
class RequeueJob:
    """Put a job back into the queue, from the head node, while its machine still stands."""

    job: Job
    reason: str


@dataclass(frozen=True)
class CancelJob:
    """End a job that may not be requeued."""

    job: Job
    reason: str


@dataclass(frozen=True)
class LeaveNode:
    """Nothing runs there any more: run the delete commands and then release it."""

    node: str
    cause: DrainCause
    deadline: datetime | None
    reason: str


DrainAction = DrainNodes | UndrainNodes | SignalJob | RequeueJob | CancelJob | LeaveNode


def most_urgent(drains: Iterable[Drain]) -> dict[str, Drain]:
    """Choose one drain a node: a revocation before an administrator's wish before a surplus."""
    rank = {cause: number for number, cause in enumerate(DrainCause)}
    chosen: dict[str, Drain] = {}
    for drain in drains:
        other = chosen.get(drain.node)
        if other is None or rank[drain.cause] < rank[other.cause]:
            chosen[drain.node] = drain
    return chosen


def plan_drain(
    snapshot: Snapshot,
    wanted: Mapping[str, Drain],
    *,
    ours: Collection[str],
    signalled: Collection[str],
    requeueable: Mapping[str, bool],
    settings: DrainSettings,
    now: datetime,
) -> list[DrainAction]:
    """Decide what to do now so that every wanted node is empty before its deadline.

    Args:
        snapshot: what Slurm says.
        wanted: node name -> its drain.
        ours: names of all nodes that are Cloudlab machines of ours; no other node is ever touched.
        signalled: ids of the jobs that have had their checkpoint signal.
        requeueable: job id -> may be requeued; a job that is missing is not requeued or cancelled yet.
        settings: the leads.
        now: the time of the decision.

    Returns:
        Actions in the order in which they are to be done: drains first, so that nothing new lands on a node
        that was just found empty.
    """
    mine = {name: drain for name, drain in wanted.items() if name in ours}
    return [
        *_drains(snapshot, mine),
        *_undrains(snapshot, mine, ours),
        *_jobs(snapshot, mine, signalled, requeueable, settings, now),
        *_leaves(snapshot, mine),
    ]


def jobs_at_risk(
    snapshot: Snapshot, wanted: Mapping[str, Drain], settings: DrainSettings
) -> list[tuple[Job, datetime]]:
    """List the jobs that a deadline will overtake, each with the earliest deadline of its nodes."""
    found = []
    for job in snapshot.jobs_on(name for name, drain in wanted.items() if drain.deadline):
        if job.state == "COMPLETING":
            continue
        deadlines = (wanted[n].deadline for n in job.nodes if n in wanted)
        deadline = min(d for d in deadlines if d is not None)
        if not _ends_in_time(job, deadline, settings):
            found.append((job, deadline))
    return sorted(found, key=lambda item: (item[1], item[0].id))


def _ends_in_time(job: Job, deadline: datetime, settings: DrainSettings) -> bool:
    return job.ends is not None and job.ends + timedelta(seconds=settings.cleanup_lead) <= deadline


def _drains(snapshot: Snapshot, wanted: Mapping[str, Drain]) -> list[DrainAction]:
    by_reason: dict[str, list[str]] = {}
    for name, drain in wanted.items():
        node = snapshot.nodes.get(name)
        if node is not None and not _stands(node, drain):
            by_reason.setdefault(drain.reason, []).append(name)
    return [DrainNodes(tuple(sorted(names)), reason) for reason, names in by_reason.items()]


def _stands(node: Node, drain: Drain) -> bool:
    if not node.draining:
        return False
    said = parse_reason(node.name, node.reason)
    if said is None:  # another administrator's words stay: the drain is there, which is what counts
        return not is_ours(node.reason)
    if said.cause is not drain.cause or (said.deadline is None) != (drain.deadline is None):
        return False
    if said.deadline is not None and drain.deadline is not None:
        return abs(said.deadline - drain.deadline) <= _MOVED
    return True


def _undrains(snapshot: Snapshot, wanted: Mapping[str, Drain], ours: Collection[str]) -> list[DrainAction]:
    lifted = tuple(
        sorted(
            node.name
            for node in snapshot.nodes.values()
            if node.name in ours and node.name not in wanted and node.draining and is_ours(node.reason)
        )
    )
    return [UndrainNodes(lifted, "nobody wants it emptied any more")] if lifted else []


def _jobs(
    snapshot: Snapshot,
    wanted: Mapping[str, Drain],
    signalled: Collection[str],
    requeueable: Mapping[str, bool],
    settings: DrainSettings,
    now: datetime,
) -> list[DrainAction]:
    actions: list[DrainAction] = []
    for job, deadline in jobs_at_risk(snapshot, wanted, settings):
        left = (deadline - now).total_seconds()
        due = f"its machine goes back to Cloudlab at {deadline.strftime(_DUE)}"
        may_requeue = requeueable.get(job.id)
        if left <= settings.requeue_lead and may_requeue:
            actions.append(RequeueJob(job, f"{due} and it would not end before"))
        elif left <= settings.kill_lead and may_requeue is False:
            actions.append(CancelJob(job, f"{due}, it would not end before, and it may not be requeued"))
        elif left <= settings.checkpoint_lead and settings.checkpoint_signal and job.id not in signalled:
            actions.append(SignalJob(job, settings.checkpoint_signal, due))
    return actions


def _leaves(snapshot: Snapshot, wanted: Mapping[str, Drain]) -> list[DrainAction]:
    busy = {name for job in snapshot.jobs if job.holds_nodes for name in job.nodes}
    actions: list[DrainAction] = []
    for name, drain in sorted(wanted.items()):
        node = snapshot.nodes.get(name)
        empty = name not in busy and (node is None or node.drained)
        if empty and drain.cause is not DrainCause.ADMIN:
            why = "no job is left on it" if node else "Slurm does not know it"
            actions.append(LeaveNode(name, drain.cause, drain.deadline, why))
    return actions
