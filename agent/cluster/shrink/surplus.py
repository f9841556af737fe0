"""Which machines go back, and why each of the others stays: a pure decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.drain.wanted import drains_of
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.horizon import horizon_of
from agent.cluster.moment import History, Moment
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shrink.idle_limit import too_idle
from agent.core.estimates import ForJobs
from agent.core.settings import format_duration
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation


@dataclass(frozen=True)
class NodeVerdict:
    """What becomes of one node of ours."""

    name: str
    goes: bool
    why: str


def plan_surplus(moment: Moment, growth: GrowthPlan) -> tuple[NodeVerdict, ...]:
    """Decide which machines of ours may go back.

    Args:
        moment: what is known; Slurm's reservations may be missing to see whether anything might go at all.
        growth: what the queue wants at the same moment; nothing goes while it wants more machines, within
            ``idle_limit``.

    Returns:
        One verdict for each node of ours that has joined and that nobody empties: first those that go, the
        ones that Cloudlab wants most in front, and at most as many as leaves ``min_nodes``, but for those
        that are idle beyond ``idle_limit``. Never one that is drained (who drained it decides), or that a
        job or a reservation names; nor one that pending jobs are expected to take, within that limit.
    """
    snapshot, settings, now = moment.snapshot, moment.settings.demand, moment.steady
    if snapshot is None:
        return ()
    ours = moment.joined - drains_of(moment).keys()
    history = moment.history or History()
    # A fence keeps some of those off for good that ask for a node by its name.
    keeps_off = horizon_of(moment, {}).keeps_off
    named = names_in_use(snapshot.jobs, moment.reservations or (), moment.now, keeps_off)
    verdicts: list[NodeVerdict] = []
    idle: list[str] = []
    for name in sorted(ours):
        why = _stays(snapshot.nodes[name], named.get(name, ""), history, growth, settings, now)
        if why:
            verdicts.append(NodeVerdict(name, False, why))
        else:
            idle.append(name)
    idle.sort(key=lambda name: (-_value(name, moment), history.idle_since[name], name))
    spare = max(len(ours) - settings.min_nodes, 0)
    going = [NodeVerdict(n, True, f"{_idle(n, history, now)} and nothing waits for it") for n in idle[:spare]]
    kept = [NodeVerdict(n, False, f"min_nodes is {settings.min_nodes}") for n in idle[spare:]]
    staying = (*kept, *verdicts)
    nodes = ((verdict.name, snapshot.nodes[verdict.name]) for verdict in staying)
    free = [n for n, node in nodes if n not in named and node.is_free]
    beyond = too_idle(moment, free)
    going += [NodeVerdict(name, True, why) for name, why in beyond.items()]
    return (*going, *(verdict for verdict in staying if verdict.name not in beyond))


def _value(name: str, moment: Moment) -> float:
    """Return how much Cloudlab wants a machine, 0 to 1."""
    value = moment.slice.value_of(moment.machines[name])
    return value.value if value else 0.0


def names_in_use(
    jobs: Iterable[Job],
    reservations: Iterable[Reservation],
    now: datetime,
    keeps_off: Callable[[Job, str], bool] = lambda *_: False,
) -> dict[str, str]:
    """Return node name -> who names it, in words: a job on it, a job that asks for it, a reservation.

    The fences that keep jobs off nodes that are taken away (flag ``MAINT``) are no wish to keep them.

    Args:
        jobs: all.
        reservations: all.
        now: the time.
        keeps_off: tells whether a job that asks for a node cannot start there.
    """
    named: dict[str, str] = {}
    for reservation in reservations:
        if reservation.ends > now and "MAINT" not in reservation.flags:
            named.update(dict.fromkeys(reservation.nodes, f"reservation {reservation.name} names it"))
    for job in jobs:
        if job.state == "PENDING":
            asked = [name for name in job.requested_nodes if not keeps_off(job, name)]
            named.update(dict.fromkeys(asked, f"job {job.id} asks for it by name"))
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
    if not node.is_free or since is None:
        return f"Slurm says {node.words}"
    if node.name in growth.claimed:
        jobs = ForJobs.of([job.job for job in growth.jobs if node.name in job.expects]).words
        return f"pending jobs are expected to take it{f': {jobs}' if jobs else ''}"
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
