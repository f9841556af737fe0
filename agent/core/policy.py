"""What to do, decided from what was seen. Pure; every decision carries its reason in words."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field

from agent.core.model import (
    AdvertisedNode,
    Intent,
    IntentKind,
    NodeStatus,
    ResourceValue,
    Revocation,
    SliverNode,
)
from agent.core.settings import Duration, Section, format_duration


class LeaseSettings(Section):
    """How long machines are leased, and when the lease is renewed."""

    duration: Duration = Field(
        default=86400.0,
        ge=600,
        le=90 * 86400,
        description="how far ahead the lease is extended, and how long machines stay held if the agent dies",
    )
    renew_when_left: Duration = Field(
        default=18 * 3600.0,
        ge=300,
        description="renew once the lease has less than this left; the rest is time to mend what hinders it",
    )
    drop_blocking: bool = Field(
        default=False,
        description="empty and give back a machine that is promised to others, when it blocks the renewal",
    )

    @property
    def overdue_when_left(self) -> timedelta:
        """What is left of a lease whose renewal has failed for long: half of when it is first tried."""
        return timedelta(seconds=min(self.renew_when_left, self.duration) / 2)


@dataclass(frozen=True)
class Share:
    """How much of a CM is free: machines of the type that matters."""

    free: int
    total: int

    def spare(self, percent_available_minimum: float) -> int:
        """Count the machines to take while this fraction of all stays free; negative where it is short."""
        return math.floor(self.free - percent_available_minimum * self.total + 1e-9)


@dataclass(frozen=True)
class GrowthPlan:
    """How many machines to ask for now."""

    count: int
    reason: str


def plan_growth(
    *,
    in_use: int,
    minthreshold: int,
    maxthreshold: int,
    percent_available_minimum: float,
    share: Share | None,
    count: int = 0,
) -> GrowthPlan:
    """Decide how many machines to add at one CM.

    Never more than ``maxthreshold`` over all CMs. Up to ``minthreshold`` whatever is free may be taken: that
    many the user insists on. Beyond it, only while the fraction of free machines at the CM stays at or above
    ``percent_available_minimum``, and not at all while that fraction is unknown.

    Args:
        in_use: machines held or asked for, over all CMs in use.
        minthreshold: machines to hold at least.
        maxthreshold: machines to hold at most.
        percent_available_minimum: fraction from 0 to 1 of the CM's machines that stay free.
        share: what is free at this CM; None where unknown.
        count: add exactly so many or none; 0 to add as many as allowed.
    """
    room = maxthreshold - in_use
    if room <= 0:
        return GrowthPlan(0, f"{in_use} machines are in use, and {maxthreshold} is the most")
    need = max(minthreshold - in_use, 0)
    if share is None:
        allowed, why = need, "how many machines are free is not known"
    else:
        allowed = max(share.spare(percent_available_minimum), min(need, share.free), 0)
        why = f"{share.free} of {share.total} machines are free, and {percent_available_minimum:.0%} stay so"
    most = min(room, allowed)
    if count and most < count:
        return GrowthPlan(0, f"{count} machines do not fit: {most} may be added, since {why}")
    if most <= 0:
        return GrowthPlan(0, f"no machine may be added: {why}")
    return GrowthPlan(
        count or most, f"{in_use} of {minthreshold} to {maxthreshold} machines are in use; {why}"
    )


@dataclass(frozen=True)
class Surplus:
    """Machines to give back."""

    client_ids: tuple[str, ...]
    reason: str


def plan_surplus(
    nodes: Sequence[SliverNode],
    *,
    in_use: int,
    minthreshold: int,
    maxthreshold: int,
    percent_available_minimum: float,
    share: Share | None,
    values: Mapping[str, ResourceValue],
) -> Surplus:
    """Decide which machines of one CM to give back: beyond ``maxthreshold``, and what the CM runs short of.

    Never below ``minthreshold``. What Cloudlab wants most goes first.

    Args:
        nodes: the machines at this CM.
        in_use: machines held or asked for, over all CMs in use.
        minthreshold: machines to hold at least.
        maxthreshold: machines to hold at most.
        percent_available_minimum: fraction from 0 to 1 of the CM's machines that stay free.
        share: what is free at this CM; None where unknown, which gives nothing back for it.
        values: node_id -> resource value.
    """
    beyond = in_use - maxthreshold
    short = -share.spare(percent_available_minimum) if share is not None else 0
    count = min(max(beyond, short, 0), max(in_use - minthreshold, 0), len(nodes))
    if count == 0:
        return Surplus((), "no machine is to be given back")
    if beyond >= short:
        reason = f"{in_use} machines are in use, and {maxthreshold} is the most"
    else:
        assert share is not None
        reason = f"only {share.free} of {share.total} machines are free, not {percent_available_minimum:.0%}"

    chosen = sorted(nodes, key=lambda n: (-_wanted(n.node_id, values), n.client_id))[:count]
    return Surplus(tuple(n.client_id for n in chosen), reason)


def choose_machines(
    available: Iterable[AdvertisedNode],
    count: int,
    *,
    nodetype: str | None,
    avoid_types: Collection[str],
    values: Mapping[str, ResourceValue],
) -> tuple[str, ...]:
    """Pick up to ``count`` free physical machines of a type; those that Cloudlab wants least come first.

    ``GeniCMV2 AddNodes`` cannot name a type, only a machine.
    """
    fitting = [
        node
        for node in available
        if node.available
        and (nodetype is None or nodetype in node.hardware_types)
        and not any(t in avoid_types for t in node.hardware_types)
    ]
    fitting.sort(key=lambda n: (_wanted(n.node_id, values), n.node_id))
    return tuple(n.node_id for n in fitting[:count])


def _wanted(node_id: str, values: Mapping[str, ResourceValue]) -> float:
    """Tell how much Cloudlab wants a machine; what it says nothing of it does not want."""
    value = values.get(node_id)
    return value.value if value else 0.0


@dataclass(frozen=True)
class Backoff:
    """Leave something alone for a while."""

    until: datetime
    delay: float
    """Seconds of this pause; the next is longer."""
    reason: str


def lengthen(old: Backoff | None, now: datetime, reason: str, *, first: float, limit: float) -> Backoff:
    """Begin a pause, twice as long as the one before."""
    delay = min(limit, old.delay * 2 if old else first)
    return Backoff(now + timedelta(seconds=delay), delay, reason)


@dataclass(frozen=True)
class Verdict:
    """What became of a machine that was asked for."""

    status: str
    """``ready``, ``failed``, or "" while it is open."""
    reason: str = ""


def judge_boot(status: NodeStatus | None, asked: datetime, now: datetime, boot_timeout: float) -> Verdict:
    """Decide whether a machine has booted, from a status that was read now.

    A machine that a CM gave up on reads as starting at the next poll (``GeniSliver.pm ComputeStatus``), so
    the deadline is our own.

    Args:
        status: its entry in ``SliverStatus``; None where it has none.
        asked: when it was asked for, or first seen.
        now: when the status was read.
        boot_timeout: seconds.
    """
    if status is not None and status.ready:
        return Verdict("ready", "it is started and ready")
    if status is not None and status.failed:
        return Verdict("failed", f"its status is {status.status}: {status.error or 'no reason given'}")
    if (now - asked).total_seconds() > boot_timeout:
        seen = f"{status.state}, {status.status}, {status.rawstate}" if status else "no status"
        return Verdict("failed", f"it is not ready after {format_duration(boot_timeout)} ({seen})")
    return Verdict("")


@dataclass(frozen=True)
class Settlement:
    """What the manifest says about intents."""

    done: tuple[Intent, ...]
    """It happened."""
    void: tuple[Intent, ...]
    """It did not happen, and will not."""


def settle_intents(
    intents: Iterable[Intent], present: Collection[str], now: datetime, *, patience: float
) -> Settlement:
    """Compare the intents at one CM with its manifest; what is in neither part is still open.

    Args:
        intents: intents at this CM.
        present: client_ids in the manifest.
        now: when the manifest was read.
        patience: seconds that a call whose reply was lost may still take effect.
    """
    done: list[Intent] = []
    void: list[Intent] = []
    for intent in intents:
        if (intent.client_id in present) == (intent.kind is IntentKind.ADD):
            done.append(intent)
        elif (now - intent.asked).total_seconds() > patience:
            void.append(intent)
    return Settlement(tuple(done), tuple(void))


def withdrawn(
    revocations: Iterable[Revocation], present: Collection[str], read_at: datetime, grace: float
) -> tuple[Revocation, ...]:
    """Find revocations whose deadline is past while the machine is still ours and nobody said complete.

    Args:
        revocations: those in force.
        present: node_ids in a manifest; and those that no manifest has, which are nobody's to take from us.
        read_at: when that manifest was read.
        grace: seconds after the deadline, and after the last notice.
    """
    limit = read_at - timedelta(seconds=grace)
    return tuple(
        r for r in revocations if r.node_id in present and r.deadline < limit and r.last_notice < limit
    )


def renewal_target(
    expires: datetime | None, now: datetime, lease: LeaseSettings, *, urged: bool = False
) -> datetime | None:
    """Return until when to extend a lease now, in whole seconds; None while it has enough left.

    ``urged`` extends it whatever it has left.

    An unknown expiry is renewed: asking for what it already has is harmless (``GeniCM RenewSliverAux``).
    """
    if not urged and expires is not None and (expires - now).total_seconds() >= _lead(lease):
        return None
    target = (now + timedelta(seconds=lease.duration)).replace(microsecond=0)
    # The SA refuses to shorten; the CM would do it.
    return None if expires is not None and target <= expires else target


def seconds_to_renewal(expiries: Iterable[datetime], now: datetime, lease: LeaseSettings) -> float:
    """Return the seconds until the first of these leases is to be renewed, infinite where there is none.

    One that is short although it was just renewed (a site may grant less than asked) waits for a quarter of
    what it has left.
    """
    waits = (_wait((e - now).total_seconds(), _lead(lease)) for e in expiries)
    return min(waits, default=math.inf)


def _wait(left: float, lead: float) -> float:
    return left - lead if left > lead else max(left / 4, 0.0)


def _lead(lease: LeaseSettings) -> float:
    # A lease shorter than its own lead would be renewed for ever without a pause.
    return min(lease.renew_when_left, lease.duration * 0.9)
