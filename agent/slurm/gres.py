"""Generic resources (``sbatch --gres``, Gres= of a node) as counts, and taking some of them: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_SOCKETS = re.compile(r"\([^()]*\)")
_ITEM = re.compile(
    r"(?:gres[:/])?(?P<name>[A-Za-z][\w.-]*)(?::(?P<type>[A-Za-z_][\w.-]*))?"
    r"(?:[:=](?P<count>\d+)(?P<unit>[KMG]?))?",
    re.IGNORECASE,
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

Gres = Mapping[str, int]
"""``gpu`` or ``gpu:a100`` -> how many."""


@lru_cache(maxsize=4096)
def parse_gres(text: str) -> Gres:
    """Read ``gpu:a100:2(S:0),shard:4``, or ``gres/gpu=2``; a name alone is one.

    Raises:
        ValueError: a part that is none of these.

    >>> parse_gres("gpu:a100:2(S:0-1),shard")
    {'gpu:a100': 2, 'shard': 1}
    """
    found: dict[str, int] = {}
    for part in filter(None, _SOCKETS.sub("", text).split(",")):
        if part == "null":
            continue
        match = _ITEM.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part!r} is not a generic resource such as gpu:2 or gpu:a100:2")
        kind = f"{match['name']}:{match['type']}" if match["type"] else match["name"]
        count = int(match["count"]) * _UNITS[match["unit"].upper()] if match["count"] else 1
        found[kind] = found.get(kind, 0) + count
    return found


def take_gres(offered: Gres, wanted: Gres) -> Gres | None:
    """Return what is left of an offer; None where it does not suffice.

    A request without a type takes any of that name; one with a type takes only that one.

    >>> take_gres({"gpu:a100": 2}, {"gpu": 1})
    {'gpu:a100': 1}
    """
    left = dict(offered)
    # Those that are choosy first: a request without a type could take what they need.
    for kind, count in sorted(wanted.items(), key=lambda item: ":" not in item[0]):
        missing = count
        for each in sorted(left):
            if each == kind or each.startswith(f"{kind}:"):
                taken = min(left[each], missing)
                left[each] -= taken
                missing -= taken
        if missing > 0:
            return None
    return left
