"""Early warning of what ends: once a day, and not at each look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from agent.core.slice.lapse import NOTICE, near, unrenewed_words
from agent.core.views import Lapse

WARN_BEFORE = timedelta(days=14)
"""For the user's certificate: only a person can get a new one."""
AGAIN_AFTER = timedelta(days=1)


MOVED = timedelta(minutes=10)
"""A renewal that is refused its full length may bring some minutes: that is the same end."""
LAST_CALL = timedelta(hours=6)
"""Left when it is said once more, however short ago it was said."""


class ExpiryWarning:
    """Says that something is near its end: once a day until it is renewed, and with ``LAST_CALL`` left.

    Args:
        what: such as "the user's certificate".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._expires: datetime | None = None
        self._said: datetime | None = None

    def look(self, expires: datetime, then: str, now: datetime, before: timedelta = WARN_BEFORE) -> str:
        """Return the warning that is due now; "" where none is.

        Args:
            expires: when it ends; where that has ``MOVED``, it begins anew.
            then: what follows once it has ended, or why it ends.
            now: the time.
            before: it is early enough while more than this is left.
        """
        if self._expires is None or abs(expires - self._expires) >= MOVED:
            self._expires, self._said = expires, None
        left = expires - now
        if left >= before:
            return ""
        last_call = expires - LAST_CALL
        if self._said is not None and now - self._said < AGAIN_AFTER and not self._said < last_call <= now:
            return ""
        self._said = now
        when = f"{expires:%Y-%m-%dT%H:%M:%SZ}"
        if left <= timedelta(0):
            return f"{self._what} ended at {when}: {then}"
        return f"{self._what} ends at {when}, in {_span(left)}; {then}"


class LeaseWarnings:
    """Says that leases end which are not renewed, each as an ``ExpiryWarning`` does, ``NOTICE`` before."""

    def __init__(self) -> None:
        self._tellers: dict[str, ExpiryWarning] = {}
        """CM, or "" for the slice -> who says it."""

    def look(self, lapses: Iterable[Lapse], now: datetime) -> Iterator[tuple[Lapse, str]]:
        """Return the warnings that are due now, the first lease to end first.

        Args:
            lapses: the leases that nobody renews, or that are refused.
            now: the time.
        """
        for lapse in near(lapses, now):
            teller = self._tellers.setdefault(lapse.cm, ExpiryWarning(lapse.what))
            why = unrenewed_words(lapse)
            then = f"every machine in it is lost then. {why[0].upper()}{why[1:]}"
            if lapse.answered and not lapse.obstacle:
                then += ". `esagent renew` does now"
            if warning := teller.look(lapse.expires, then, now, NOTICE):
                yield lapse, warning


def _span(left: timedelta) -> str:
    if left < timedelta(hours=1):
        return f"{left.seconds // 60} minutes"
    return f"{left.days} days and {left.seconds // 3600} hours"
