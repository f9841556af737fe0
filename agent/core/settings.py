"""What every section of agent.conf is made of.

A section is a frozen pydantic model that lives beside the code which obeys it; ``agent.config`` puts them
together.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

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
