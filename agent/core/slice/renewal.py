"""When a lease is renewed, and until when. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from agent.core.settings import LeaseSettings


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
