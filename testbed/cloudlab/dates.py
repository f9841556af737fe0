"""Dates as the servers read and write them (protogeni.md §5). All are UTC, in whole seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_LENIENT = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):(\d\d):(\d\d)(?P<fraction>[.,]\d+)?\s*(Z|GMT|UTC|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_STRICT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


class DateError(ValueError):
    """The text is not a date of a form that the servers read."""


def read_date(text: str) -> datetime:
    """Read a date of Register or RenewSlice. A zone offset is ignored, as the servers do.

    A fraction of a second survives until ``stored``.

    Raises:
        DateError: another form, or not a date.
    """
    match = _LENIENT.fullmatch(text.strip())
    if match is None:
        raise DateError(f"{text!r} is not a date such as 2031-05-04T18:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        # Less than a microsecond is a fraction all the same.
        fraction = max(1, int(f"{match['fraction'][1:]:0<6}"[:6])) if match["fraction"] else 0
        return datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)
    except ValueError as error:
        raise DateError(f"{text!r}: {error}") from error


def stored(when: datetime) -> datetime:
    """Return what the database makes of a new expiry.

    A time with a fraction of a second does not look like a number of seconds, is stored as if it were a date
    in words, and reads as no date at all: the expiry is long past then.
    """
    return _NO_DATE if when.microsecond else when


def read_strict_date(text: str) -> datetime:
    """Read the ``expires`` attribute of a request RSpec: the Z is required.

    Raises:
        DateError: another form.
    """
    if not _STRICT.fullmatch(text):
        raise DateError(f"{text}: Invalid Datetime Format")
    return read_date(text)


def zulu(when: datetime) -> str:
    """Write the form of credentials, manifests and advertisements."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def gmt(when: datetime) -> str:
    """Write the form that the CM's RenewSlice returns."""
    return when.strftime("%Y-%m-%dT%H:%M:%S GMT")
