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
        AgentError: one of them is not a machine of ours, may be several, or is no node set.
    """
    known, others = _goes_by(machines), _goes_by(foreign)
    found = {}
    for word in words:
        for alias in _expand(word):
            if alias not in known and alias in others:
                raise AgentError(f"{alias} is a machine of the slice that is not ours: it is left alone")
            if alias not in known:
                raise AgentError(
                    f"{alias} is not one of our machines: {_list(machines)}{_near(alias, known)}"
                )
            if len(known[alias]) > 1:
                raise AgentError(f"{alias} may be {_choices(known[alias], machines)}")
            found.update({name: machines[name] for name in known[alias]})
    return found


def aliases(machines: Mapping[str, SliverNode]) -> dict[str, str]:
    """Return each name that one machine alone goes by -> its node name."""
    return {alias: name for alias, (name, *others) in _goes_by(machines).items() if not others}


def _goes_by(machines: Mapping[str, SliverNode]) -> dict[str, list[str]]:
    """Return each name that machines go by -> their node names: a node name is of one machine alone.

    Machines of several CMs may have the same node_id, and those of somebody else's documents a client_id.
    """
    known: dict[str, list[str]] = {}
    for name, machine in machines.items():
        for alias in {machine.client_id, machine.node_id} - {"", name}:
            known.setdefault(alias, []).append(name)
    return known | {name: [name] for name in machines}


def _choices(names: Iterable[str], machines: Mapping[str, SliverNode]) -> str:
    """Write which machines a name may stand for, each with another name that is its own."""
    known = _goes_by(machines)
    said = []
    for name in sorted(names):
        machine = machines[name]
        others = (word for word in (machine.client_id, machine.node_id) if known.get(word) == [name])
        also = f"{each}, " if (each := next(others, "")) not in {"", name} else ""
        said.append(f"{name} ({also}at {machine.cm})")
    return f"{' or '.join(said)}: which one is meant is said by another of its names"


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
