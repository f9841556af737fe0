"""When a lease is renewed, and until when. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from agent.core.settings import LeaseSettings


def is_renewed(lease: LeaseSettings, *, held: bool, urged: bool = False) -> bool:
    """Tell whether a lease is the agent's to renew, once it has too little left.

    Args:
        lease: the settings.
        held: we hold a machine in that sliver, or have asked for one there; of the slice: in any.
        urged: an administrator wants it.
    """
    return urged or lease.renew == "always" or (lease.renew == "while-we-hold" and held)


def renewal_target(
    expires: datetime, now: datetime, lease: LeaseSettings, *, urged: bool = False
) -> datetime | None:
    """Return until when to extend a lease now, in whole seconds; None while it has enough left.

    ``urged`` extends it whatever it has left; nothing shortens it.
    """
    if not urged and (expires - now).total_seconds() >= lease.lead:
        return None
    target = (now + timedelta(seconds=lease.duration)).replace(microsecond=0)
    # The SA refuses to shorten; the CM would do it.
    return target if target > expires else None


def sliver_target(
    expires: datetime | None,
    slice_expires: datetime,
    now: datetime,
    lease: LeaseSettings,
    *,
    urged: bool,
) -> datetime | None:
    """Return until when to ask a CM to extend a sliver now; None for not now.

    Args:
        expires: when it ends; None while unknown. Then it is asked to last as long as its slice, which no
            sliver outlives, so that this cannot be earlier (``GeniCMV2 RenewSlice``).
        slice_expires: when the slice ends: a CM refuses what is later.
        now: the time.
        lease: the settings.
        urged: extend it whatever it has left.
    """
    if expires is None:
        return slice_expires if slice_expires > now else None
    until = renewal_target(expires, now, lease, urged=urged)
    if until is None or slice_expires <= expires:
        return None
    return min(until, slice_expires)


def seconds_to_renewal(expiries: Iterable[datetime], now: datetime, lease: LeaseSettings) -> float:
    """Return the seconds until the first of these leases is to be renewed, infinite where there is none.

    One that is short although it was just renewed (a site may grant less than asked) waits for a quarter of
    what it has left.
    """
    waits = (_wait((e - now).total_seconds(), lease.lead) for e in expiries)
    return min(waits, default=math.inf)


def _wait(left: float, lead: float) -> float:
    return left - lead if left > lead else max(left / 4, 0.0)
