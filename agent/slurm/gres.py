"""Generic resources (``sbatch --gres``, Gres= of a node) as counts, and taking some of them: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_PLACES = re.compile(r"\([^()]*\)")
_NAME = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_TYPE = re.compile(r"[^\s:,=/()]+")
_COUNT = re.compile(r"(\d{1,18})([KMGTP]?)(I?B)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_NOT_TAKEN = "no_consume"
"""Jobs do not take it from each other (slurm.conf(5), ``Gres``)."""

Gres = Mapping[str, int]
"""``gpu`` or ``gpu:a100`` -> how many. A kind that ends with ``:no_consume`` is never used up."""


@lru_cache(maxsize=4096)
def parse_gres(text: str) -> Gres:
    """Read ``gpu:a100:2(S:0),shard:4``, or ``gres/gpu=2``; a name alone is one, and a lone number a count.

    So does slurmctld (``gres.c``): ``gpu:3090`` is 3,090 of them, ``gpu:3090:2`` two of a type.

    Raises:
        ValueError: a part that is none of these.

    >>> parse_gres("gpu:a100:2(S:0-1),shard")
    {'gpu:a100': 2, 'shard': 1}
    """
    found: dict[str, int] = {}
    for part in _parts(text):
        kind, count = _item(part)
        if count:
            found[kind] = found.get(kind, 0) + count
    return found


@lru_cache(maxsize=4096)
def offered_gres(text: str) -> Gres:
    """Read what a node offers. A name of which a part cannot be read is there with a count of 0.

    >>> offered_gres("gpu:a100:2,gpu:many:more:2,shard:4")
    {'shard': 4, 'gpu': 0}
    """
    readable, hidden = [], set()
    for part in _parts(text):
        try:
            _item(part)
            readable.append(part)
        except ValueError:
            hidden.add(_name(part))
    kept = parse_gres(",".join(part for part in readable if _name(part) not in hidden))
    return {**kept, **dict.fromkeys(sorted(hidden), 0)}


def _parts(text: str) -> list[str]:
    listed = (part.strip() for part in _PLACES.sub("", text).split(","))
    return [_bare(part) for part in listed if part not in {"", "null"}]


def _bare(part: str) -> str:
    return part[5:] if part.lower().startswith(("gres:", "gres/")) else part


def _name(part: str) -> str:
    return re.split("[:=]", part, maxsplit=1)[0]


def _item(part: str) -> tuple[str, int]:
    """Return the kind and how many."""
    head, equals, amount = part.partition("=")
    words = [*head.split(":"), amount] if equals else head.split(":")
    count = None if len(words) == 1 else _count(words[-1])
    names = words if count is None else words[:-1]
    is_taken = _NOT_TAKEN not in names[1:]
    types = [name for name in names[1:] if name != _NOT_TAKEN]
    is_named = _NAME.fullmatch(names[0]) and all(map(_TYPE.fullmatch, types)) and len(types) < 2
    if not is_named or (count is None and (equals or len(words) > 2)):
        raise ValueError(f"{part!r} is not a generic resource such as gpu:2 or gpu:a100:2")
    kind = ":".join([names[0], *types] if is_taken else [names[0], *types, _NOT_TAKEN])
    return kind, 1 if count is None else count


def _count(word: str) -> int | None:
    match = _COUNT.fullmatch(word)
    if match is None or (match[3] and not match[2]):
        return None
    base = 1000 if (match[3] or "").upper() == "B" else 1024
    return int(match[1]) * int(base ** _POWERS[match[2].upper()])


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
                if not each.endswith(f":{_NOT_TAKEN}"):
                    left[each] -= taken
                missing -= taken
        if missing > 0:
            return None
    return left
