"""How Cloudlab learns in time that a revoked machine is empty: a pure decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.model import Revocation
from agent.slurm.drain_settings import DrainSettings

LATE = 1.25
"""A notice counts as lost after so many of the intervals in which Cloudlab repeats it."""
CALL = 0.25
"""The share of that interval that our own DeleteNodes may take before the deadline."""


def gives_back_at(revocation: Revocation, settings: DrainSettings) -> datetime | None:
    """Tell from when on our own DeleteNodes gives an empty machine back.

    Cloudlab takes an empty machine at its next notice, whose reply offers it. The last notice may come a
    whole interval before the deadline, or may be lost: a machine that nobody asks about is given back.

    Returns:
        A time, which may be past; None while it is not empty, and where a reply has offered it.
    """
    if not revocation.releasable:
        return None
    if settings.release == "delete":
        return revocation.last_notice
    if revocation.offered:
        return None
    lost = revocation.last_notice + timedelta(seconds=LATE * settings.notice_interval)
    in_time = lost + timedelta(seconds=CALL * settings.notice_interval) <= revocation.deadline
    return lost if in_time else revocation.last_notice


@dataclass(frozen=True)
class Returns:
    """Which revoked machines we give back by ourselves."""

    now: dict[str, str]
    """node_id -> client_id, "" where that is not known."""
    wait: float | None
    """Seconds until there are more, as far as is known; None for no more."""


def plan_returns(revocations: Iterable[Revocation], settings: DrainSettings, now: datetime) -> Returns:
    """Decide which machines ``gives_back_at`` names by now, and when to ask again."""
    dated = [(r, at) for r in revocations if (at := gives_back_at(r, settings)) is not None]
    later = [(at - now).total_seconds() for _, at in dated if at > now]
    return Returns({r.node_id: r.client_id for r, at in dated if at <= now}, min(later, default=None))
