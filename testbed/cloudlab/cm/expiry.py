"""How far an expiry may be moved at a CM. Pure (GeniCM.pm SetSliceExpiration)."""

from __future__ import annotations

from datetime import datetime, timedelta

from testbed.cloudlab import dates
from testbed.cloudlab.answer import Code, RefusalError
from testbed.cloudlab.state import CmSlice

SHORTEST = timedelta(minutes=5)
NO_TIME = "such a short life for a sliver?"


def check_expiry(
    wanted: datetime,
    limit: datetime,
    now: datetime,
    longest: timedelta,
    *,
    alap: bool,
    record: CmSlice | None = None,
) -> datetime:
    """Check a new expiry: the floor, the credential's expiry, the slice's limits, the site's maximum.

    With ``alap`` it is cut to the site's maximum, and to no other limit.

    Raises:
        RefusalError: code 7.
    """
    if wanted < now + SHORTEST:
        raise RefusalError(Code.REFUSED, NO_TIME)
    if wanted > limit:
        raise RefusalError(Code.REFUSED, "expiration is greater then slice expiration")
    ahead = wanted - now
    if record is not None and record.renew_limit is not None and ahead > record.renew_limit:
        if not record.renew_limit:
            raise RefusalError(Code.REFUSED, "you are not allowed to renew cause it was idle for too long")
        hours, rest = divmod(int(record.renew_limit.total_seconds()), 3600)
        words = f"expiration increment is greater then local slice setting: {hours:02}:{rest // 60:02}:00"
        raise RefusalError(Code.REFUSED, words)
    if record is not None and record.expiration_max is not None:
        if wanted > record.expiration_max:
            until = dates.zulu(record.expiration_max)
            raise RefusalError(Code.REFUSED, f"expiration is greater then local slice setting: {until}")
        return wanted
    if ahead > longest:
        if alap:
            return (now + longest).replace(microsecond=0)
        minutes = int(longest.total_seconds() // 60)
        raise RefusalError(
            Code.REFUSED,
            f"expiration increment is greater then the maximum number ({minutes}) of minutes",
        )
    return wanted
