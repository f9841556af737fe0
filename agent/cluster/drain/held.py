"""Nodes that take no job before their fence stands: the job that a machine was borrowed for is there at once.

A node can be fenced only once Slurm has it, and from then on jobs start there. So slurmd registers it
drained (``slurmd -Z --conf "... State=DRAIN"``, create_dynamic_reg_node in Slurm's node_mgr.c), and the
drain is lifted when the fence stands. Such a drain has no reason, and ``scontrol`` drains nothing without
one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.cluster.moment import Moment
from agent.slurm.model import Node

_STATE = "State=DRAIN"
_REGISTERS = re.compile(r"\bslurmd\b.*?\s-Z(?=\s|$)", re.DOTALL)
_CONF = re.compile(
    r"""--conf(?:=|\s+)(?:(?P<quote>\\?["'])(?P<quoted>.*?)(?<!\\)(?P=quote)|(?P<bare>[^\s"';|&\\]+))""",
    re.DOTALL,
)
_HAS_STATE = re.compile(r"(?:^|[\s\"'])State=", re.IGNORECASE)


def held(commands: Sequence[str]) -> tuple[str, ...]:
    """Return join commands by which slurmd registers the node drained.

    Those of a site that gives the node a state itself, or where no ``slurmd -Z`` is found, stay as they are.
    """
    return tuple(map(_held, commands))


def can_hold(commands: Sequence[str]) -> bool:
    """Tell whether ``held`` changes them."""
    return held(commands) != tuple(commands)


def _held(command: str) -> str:
    if (registers := _REGISTERS.search(command)) is None:
        return command
    conf = _CONF.search(command)
    if conf is None:
        return f"{command[: registers.end()]} --conf {_STATE}{command[registers.end() :]}"
    said = conf["quoted"] if conf["bare"] is None else conf["bare"]
    if _HAS_STATE.search(said):
        return command
    quote = conf["quote"] or '"'
    return f"{command[: conf.start()]}--conf {quote}{said} {_STATE}{quote}{command[conf.end() :]}"


def holds(moment: Moment, name: str) -> bool:
    """Tell whether a machine that joins under this name is to register drained: it may get a fence."""
    return moment.settings.drain.fence and bool(moment.limited) and name not in moment.nodes


def is_held(node: Node) -> bool:
    """Tell whether a node looks like one that registered drained, and on which nothing runs."""
    return node.draining and not node.reason and node.empty


def held_nodes(moment: Moment) -> frozenset[str]:
    """Return the nodes of ours that registered drained, and that nobody else drained since.

    What a restart finds so is left to an administrator where nodes are not fenced.
    """
    return frozenset(
        name
        for name in moment.joined
        for machine, node in ((moment.machines[name], moment.nodes[name]),)
        if is_held(node)
        if moment.settings.drain.fence or machine.key in moment.joins
        if can_hold(moment.join_of(machine).commands)
    )
