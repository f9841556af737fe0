"""Which machines an administrator means: names and node sets, with the nearest names where one is unknown."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from agent.core.errors import AgentError
from agent.core.model import SliverNode

MOST_NAMES = 10_000
"""Names that one node set may stand for."""
_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d+)-(\d+)")


def resolve(
    words: Iterable[str], machines: Mapping[str, SliverNode], foreign: Mapping[str, SliverNode]
) -> dict[str, SliverNode]:
    """Turn node_ids, client_ids, node names and node sets of them into node name -> machine.

    Args:
        words: what was typed.
        machines: node name -> machine, all that are ours.
        foreign: node name -> machine, the others in the slice.

    Raises:
        AgentError: one of them is not a machine of ours, or no node set.
    """
    known, others = aliases(machines), aliases(foreign)
    found = {}
    for word in words:
        for alias in _expand(word):
            if alias not in known and alias in others:
                raise AgentError(f"{alias} is a machine of the slice that is not ours: it is left alone")
            if alias not in known:
                raise AgentError(
                    f"{alias} is not one of our machines: {_list(machines)}{_near(alias, known)}"
                )
            found[known[alias]] = machines[known[alias]]
    return found


def aliases(machines: Mapping[str, SliverNode]) -> dict[str, str]:
    """Return each name that a machine goes by -> its node name."""
    return {alias: name for name, m in machines.items() for alias in (m.client_id, m.node_id, name)}


def _expand(word: str) -> Iterable[str]:
    if (size := _size(word)) > MOST_NAMES:
        raise AgentError(f"{word!r} stands for {size} names; at most {MOST_NAMES} are expected")
    try:
        expanded: Iterable[str] = NodeSet(word, resolver=RESOLVER_NOGROUP)
    except NodeSetException as error:
        raise AgentError(f"{word!r} is neither a name nor a node set: {error}") from None
    return expanded


def _size(word: str) -> int:
    """Count the names of a node set without making them: a short word may stand for millions."""
    return sum(math.prod(map(_length, _BRACKET.findall(part))) for part in _PART.findall(word))


def _length(ranges: str) -> int:
    total = 0
    for part in ranges.split(","):
        match = _RANGE.match(part)
        total += int(match[2]) - int(match[1]) + 1 if match else 1
    return max(total, 1)


def _near(alias: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(alias, sorted(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _list(machines: Mapping[str, SliverNode]) -> str:
    if not machines:
        return "there are none"
    return f"they are {NodeSet.fromlist(list(machines), resolver=RESOLVER_NOGROUP)}"
