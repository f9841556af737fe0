"""Until when each sliver lasts, what is in the way of more, and what is done about it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from agent.core.obstacles import RenewalObstacle
from agent.core.settings import LeaseSettings, format_duration
from agent.core.slice.hindrance import Hindrance
from agent.core.slice.sparing import Sparing
from agent.core.views import Lapse


def what_is_done(hindrance: Hindrance, plan: Sparing | None, ahead: timedelta) -> str:
    """Say when a renewal is tried again, and which machines go before.

    Args:
        hindrance: what is in the way.
        plan: which machines are given back so that the others are renewed; None for none.
        ahead: how far the wall clock is ahead of the steady one.
    """
    parts = []
    if hindrance.again is not None:
        parts.append(f"it is tried again at {_when(hindrance.again + ahead)}")
    if plan is not None:
        kind = plan.hardware_type or "unknown"
        parts.append(
            f"{plan.count} of type {kind} {'is' if plan.count == 1 else 'are'} emptied from"
            f" {_when(plan.begins)} to {_when(plan.due)} and given back, so that the others are renewed"
        )
    return ", and ".join(parts)


def refused_lapse(
    cm: str, expires: datetime, hindrance: Hindrance, plan: Sparing | None, ahead: timedelta
) -> Lapse:
    """Return the lease that ends since its CM refuses more, with all that is known of it."""
    follows = what_is_done(hindrance, plan, ahead)
    return Lapse(cm, expires, hindrance.words, obstacle=hindrance.kind, mend=hindrance.mend, follows=follows)


def outlook(
    expires: Mapping[str, datetime], lapses: Iterable[Lapse], lease: LeaseSettings
) -> tuple[str, ...]:
    """Say it of each sliver.

    Args:
        expires: CM -> until when its sliver lasts; those that are silent are told if nobody renews them.
        lapses: the leases that nobody renews or that are refused.
        lease: the settings.
    """
    unrenewed = {lapse.cm: lapse for lapse in lapses if lapse.cm}
    ends = {**{cm: lapse.expires for cm, lapse in unrenewed.items()}, **expires}
    return tuple(_of(cm, end, unrenewed.get(cm), lease) for cm, end in ends.items())


def _of(cm: str, end: datetime, lapse: Lapse | None, lease: LeaseSettings) -> str:
    lasts = f"the sliver at {cm} lasts until {_when(end)}"
    if lapse is None:
        return lasts
    begins = _when(end - timedelta(seconds=lease.emptied_when_left))
    emptied = f"unless it is renewed before, our machines there are emptied from {begins} on"
    if not lapse.obstacle:
        return f"{lasts}, and nobody renews it: {lapse.why}; {emptied}"
    parts = [f"{lasts} and no longer ({lapse.obstacle}): {lapse.why}", lapse.mend, lapse.follows, emptied]
    if lapse.obstacle == RenewalObstacle.RESERVED:
        length = format_duration(lease.duration)
        parts.append(f"machines are admitted there until a lease ends: one shorter than {length} admits more")
    return "; ".join(filter(None, parts))


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
