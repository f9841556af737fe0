"""What becomes of nodes that a way in changes: one request for all, and a look where Slurm refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from agent.core.errors import SlurmRefusedError
from agent.slurm.model import Node
from agent.slurm.names import fold
from agent.slurm.words import UNKNOWN_NODE

Act = Callable[[str], None]
"""Changes the nodes of a hostlist; raises ``SlurmRefusedError``."""
Read = Callable[[], Mapping[str, Node]]
"""Reads all nodes."""
Holds = Callable[[Node], bool]
"""Tells whether a node is as it was to become."""

_SLEEPING = frozenset({"POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"})


def change_nodes(nodes: Iterable[str], act: Act, read: Read, holds: Holds) -> None:
    """Change nodes; a name that Slurm does not know, or a node that it refuses, costs the others nothing.

    Of many nodes Slurm tells one refusal. It stops at a name that it does not know, goes on after a state
    that it does not take, and may refuse what it did (``update_node`` of slurmctld). So after a refusal the
    nodes are read, and what is not as wanted is tried once more, by itself.

    Raises:
        SlurmRefusedError: some nodes are not as wanted; it names them.
        SlurmError: from ``act`` or ``read``.
    """
    refusals = []
    for part, folded in fold(nodes):
        try:
            act(folded)
        except SlurmRefusedError as error:
            seen = read()
            unknown = part - seen.keys()
            left = frozenset(name for name in part & seen.keys() if not holds(seen[name]))
            why = error
            if left and left != part:
                left, why = _again(left, act, read, holds) or (frozenset(), error)
            if left:
                refusals.append(f"{_names(left)}: {why}")
            if unknown:
                # Alone they may have been refused for another reason: who may not change nodes is told that.
                said = UNKNOWN_NODE if part & seen.keys() else error
                refusals.append(f"{_names(unknown)}: {said}")
    if refusals:
        raise SlurmRefusedError("; ".join(refusals))


def _again(
    nodes: frozenset[str], act: Act, read: Read, holds: Holds
) -> tuple[frozenset[str], SlurmRefusedError] | None:
    """Try once more; return which nodes are not as wanted then, and why."""
    ((_, folded),) = fold(nodes)
    try:
        act(folded)
    except SlurmRefusedError as error:
        seen = read()
        return frozenset(name for name in nodes if name not in seen or not holds(seen[name])), error
    return None


def delete_nodes(nodes: Iterable[str], act: Act, read: Read) -> None:
    """Remove the records of nodes, many with one request.

    Slurm removes what it can of a list, and tells of several refusals a mixture: then each has its turn.

    Raises:
        SlurmRefusedError: some could not be removed; it names them.
        SlurmError: from ``act`` or ``read``.
    """
    again = set[str]()
    for part, folded in fold(nodes):
        try:
            act(folded)
        except SlurmRefusedError:
            again |= part
    delete_each(again, act, read)


def delete_each(nodes: Iterable[str], act: Act, read: Read) -> None:
    """Remove the records of nodes one by one; one that is not there is no error.

    Raises:
        SlurmRefusedError: some could not be removed; all had their turn.
        SlurmError: from ``act`` or ``read``.
    """
    refused: dict[str, SlurmRefusedError] = {}
    for name in sorted(name for part, _ in fold(nodes) for name in part):
        try:
            act(name)
        except SlurmRefusedError as error:
            refused[name] = error
    if any(UNKNOWN_NODE in str(error) for error in refused.values()):
        there = read().keys()
        refused = {n: e for n, e in refused.items() if n in there or UNKNOWN_NODE not in str(e)}
    if refused:
        raise SlurmRefusedError("; ".join(f"{name}: {error}" for name, error in refused.items()))


def _names(nodes: Iterable[str]) -> str:
    return ",".join(folded for _, folded in fold(nodes))


def is_drained_for(reason: str) -> Holds:
    """Tell of a node that it is drained, with this reason."""
    return lambda node: node.draining and node.reason == reason


def is_not_draining(node: Node) -> bool:
    """Tell of a node that no drain is on it."""
    return not node.draining


def is_down(node: Node) -> bool:
    """Tell of a node that it is down."""
    return node.state == "DOWN"


def is_in_service(node: Node) -> bool:
    """Tell of a node that it is neither down nor drained."""
    return node.state != "DOWN" and not node.draining


def has_weight(weight: int) -> Holds:
    """Tell of a node that it has this weight."""
    return lambda node: node.weight == weight


def is_at(address: str) -> Holds:
    """Tell of a node that its machine is there."""
    return lambda node: node.address == address


def is_awake(node: Node) -> bool:
    """Tell of a cloud node that it is up, or powering up."""
    return not node.flags & _SLEEPING


def is_asleep(node: Node) -> bool:
    """Tell of a cloud node that it is off, or going off."""
    return bool(node.flags & _SLEEPING)
