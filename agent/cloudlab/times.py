"""ProtoGENI's dates: whole seconds, always UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z| GMT)?", re.ASCII)


def format_time(time: datetime) -> str:
    """Write ``2031-05-04T18:00:00Z``: servers ignore a zone offset and are upset by a fraction of a second.

    Raises:
        ValueError: the time has no zone, so it may be anybody's.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> datetime:
    """Read a date as an SA or CM writes it: with ``Z``, with `` GMT`` (CM RenewSlice), or bare.

    Raises:
        ValueError: it is none of these.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2031-05-04T18:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
