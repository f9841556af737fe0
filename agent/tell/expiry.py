"""Early warning of what ends: once a day, and not at each look."""

from __future__ import annotations

from datetime import datetime, timedelta

WARN_BEFORE = timedelta(days=14)
"""For the user's certificate: only a person can get a new one."""
AGAIN_AFTER = timedelta(days=1)


class ExpiryWarning:
    """Says that something is near its end: once a day until it is renewed.

    Args:
        what: such as "the user's certificate".
        then: what follows once it has ended.
    """

    def __init__(self, what: str, then: str) -> None:
        self._what = what
        self._then = then
        self._expires: datetime | None = None
        self._said: datetime | None = None

    def look(self, expires: datetime, now: datetime, before: timedelta = WARN_BEFORE) -> str:
        """Return the warning that is due now; "" where none is.

        Args:
            expires: when it ends; another time than at the last look begins anew.
            now: the time.
            before: it is early enough while more than this is left.
        """
        if expires != self._expires:
            self._expires, self._said = expires, None
        left = expires - now
        if left >= before or (self._said is not None and now - self._said < AGAIN_AFTER):
            return ""
        self._said = now
        when = f"{expires:%Y-%m-%dT%H:%M:%SZ}"
        if left <= timedelta(0):
            return f"{self._what} ended at {when}: {self._then}"
        return (
            f"{self._what} ends at {when}, in {left.days} days and {left.seconds // 3600} hours; {self._then}"
        )
