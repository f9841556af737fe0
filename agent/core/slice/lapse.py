"""Leases that end with nobody renewing them: which, why, and when a person is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from agent.core.errors import AgentError, LostReplyError, UnreachableError
from agent.core.settings import LeaseSettings
from agent.core.views import Lapse

NOTICE = timedelta(days=3)
"""What is left of a lease that nobody renews when people are told: a weekend, and a day to act."""


def why_unrenewed(
    expires: datetime,
    now: datetime,
    lease: LeaseSettings,
    *,
    held: bool | None,
    others: bool,
    failure: str,
) -> str:
    """Tell why nobody renews a lease; "" where the agent does, or where nothing is lost with it.

    Args:
        expires: when it ends.
        now: the time.
        lease: the settings.
        held: we hold a machine there, or have asked for one; None while that is not known.
        others: machines that are not ours are there.
        failure: why its last renewal failed; "" where it went well or none was tried yet.
    """
    if lease.renew == "never":
        return '[lease] renew is "never"'
    if lease.renew == "while-we-hold" and not held:
        known = held is not None
        return '[lease] renew is "while-we-hold", and we hold no machine there' if known and others else ""
    return failure if expires - now < lease.overdue_when_left else ""


def unrenewed_words(lapse: Lapse) -> str:
    """Say why a lease ends, and what a person can do where its CM refuses to renew it."""
    if not lapse.obstacle:
        return f"nobody renews it: {lapse.why}"
    return f"it is not renewed: {lapse.why}; {lapse.mend}"


def failure_words(error: AgentError) -> str:
    """Say why a renewal failed: that nobody answers is no refusal."""
    silent = isinstance(error, UnreachableError | LostReplyError)
    return f"nobody answers: {error}" if silent else str(error)


def why_untried(*, heard: bool, slice_known: bool) -> str:
    """Say why no renewal of a sliver was tried yet; "" where one can be.

    Args:
        heard: its CM answered since the start.
        slice_known: it is known until when the slice lasts, which no sliver outlasts.
    """
    if not heard:
        return "nobody answers there since the agent began"
    return "" if slice_known else "nobody answers at the SA since the agent began"


def near(lapses: Iterable[Lapse], now: datetime) -> tuple[Lapse, ...]:
    """Pick those that people are to be told of, the first to end first.

    A sliver that ends with its slice is told by the slice.
    """
    close = sorted((e for e in lapses if e.expires - now < NOTICE), key=lambda e: (e.expires, e.cm))
    slice_ends = next((e.expires for e in close if not e.cm), None)
    return tuple(e for e in close if not e.cm or slice_ends is None or e.expires < slice_ends)
