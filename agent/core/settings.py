"""What every section of agent.conf is made of.

A section is a frozen pydantic model that lives beside the code which obeys it; ``agent.config`` puts them
together.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def parse_duration(value: object) -> object:
    """Turn ``"90s"``, ``"10m"``, ``"6h"`` or ``"5d"`` into seconds; leave numbers to pydantic.

    Raises:
        ValueError: a string that is none of these.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration such as 30s, 10m, 6h or 5d")
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Write seconds as agent.conf does: the largest unit that gives a whole number.

    >>> format_duration(5400), format_duration(7200), format_duration(0.5)
    ('90m', '2h', '0.5s')
    """
    for unit in ("d", "h", "m"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds; in agent.conf a number of seconds or a string with a unit."""


class Section(BaseModel):
    """A section of agent.conf: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


class LeaseSettings(Section):
    """How long machines are leased, and when the lease is renewed."""

    duration: Duration = Field(
        default=86400.0,
        ge=600,
        le=90 * 86400,
        description="how far ahead the lease is extended, and how long machines stay held if the agent dies",
    )
    renew_when_left: Duration = Field(
        default=18 * 3600.0,
        ge=300,
        description="renew once the lease has less than this left; the rest is time to mend what hinders it",
    )
    renew: Literal["always", "while-we-hold", "never"] = Field(
        default="always",
        description="what the agent renews by itself; always: the slice and every sliver, with all that is "
        "in them; while-we-hold: those where it holds or has asked for a machine; never: nothing. People are "
        "warned of what nobody renews",
    )
    empty_before: Duration = Field(
        default=3600.0,
        ge=60,
        description="empty the machines of a CM this long before their lease ends there, where it is not "
        "renewed: as on a notice from Cloudlab, and early enough for replacements elsewhere to boot; at most "
        "half of what is left when the lease is first to be renewed",
    )
    drop_blocking: bool = Field(
        default=True,
        description="empty and give back, by the end of the lease, a machine that is promised to others and "
        "blocks the renewal, or of a type that others have reserved, so that the rest is renewed",
    )

    @property
    def lead(self) -> float:
        """What is left of a lease when it is first renewed, in seconds."""
        # A lease shorter than its own lead would be renewed for ever without a pause.
        return min(self.renew_when_left, self.duration * 0.9)

    @property
    def emptied_when_left(self) -> float:
        """What is left of a lease that was not renewed when its machines are emptied, in seconds."""
        return min(self.empty_before, self.lead / 2)

    @property
    def overdue_when_left(self) -> timedelta:
        """What is left of a lease whose renewal has failed for long: half of when it is first tried."""
        return timedelta(seconds=min(self.renew_when_left, self.duration) / 2)
