"""Early warning that the user's certificate ends: only a person can get a new one."""

from __future__ import annotations

from datetime import datetime, timedelta

WARN_BEFORE = timedelta(days=14)
AGAIN_AFTER = timedelta(days=1)


class ExpiryWarning:
    """Says once a day that a certificate is near its end.

    Args:
        expires: when it ends.
    """

    def __init__(self, expires: datetime) -> None:
        self._expires = expires
        self._said: datetime | None = None

    def look(self, now: datetime) -> str:
        """Return the warning that is due now; "" where none is."""
        left = self._expires - now
        if left >= WARN_BEFORE or (self._said is not None and now - self._said < AGAIN_AFTER):
            return ""
        self._said = now
        when = f"{self._expires:%Y-%m-%dT%H:%M:%SZ}"
        if left <= timedelta(0):
            return f"the user's certificate ended at {when}: Cloudlab will not answer without a new one"
        return f"the user's certificate ends at {when}, in {left.days} days and {left.seconds // 3600} hours"
