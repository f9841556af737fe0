"""What is done when nothing is left on a node: its delete commands, then Cloudlab or the cycle is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.cluster.desk import Desk
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.drain.wanted import drains_of
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import Moment
from agent.cluster.reach import Reach
from agent.cluster.reasons import DrainCause, marks
from agent.core.errors import AgentError
from agent.core.events import EventKind, Release
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult


class Leaving:
    """Takes leave of nodes that nothing is left on.

    Args:
        desk: told of each release.
        memory: says whose machine a node is, and remembers which are empty.
        reach: runs commands on machines.
        commands: returns the shell commands that are run on such a machine (``get_delete_commands``).
        end_delete: lets the next reply tell Cloudlab that it may take these machines.
    """

    def __init__(
        self,
        desk: Desk,
        memory: Memory,
        reach: Reach,
        commands: Callable[[Sequence[Mapping[str, Any]]], list[str]],
        end_delete: Callable[[Sequence[Mapping[str, Any]]], None],
    ) -> None:
        self._desk = desk
        self._memory = memory
        self._reach = reach
        self._commands = commands
        self._end_delete = end_delete

    def leave(self, action: LeaveNode, timeout: float) -> HostResult:
        """Run the delete commands on a node, within so many seconds, unless nobody wants it to go now."""
        with self._desk.lock:
            moment = self._memory.now()
            machine = _meant(action, moment)
            if machine is None:
                return HostResult(Host(action.node, "", ""), "", "it is not ours any more")
            drain = drains_of(moment).get(action.node)
            if drain is None or not drain.leaves:
                return HostResult(self._reach.host(machine), "", "nobody wants it to go any more")
            if drain.cause is not DrainCause.REVOKED:
                # In the same breath, so that whoever lifts its drain now is told that it goes all the same.
                self._memory.chosen.leave(machine)
        try:
            commands = self._commands([vars(machine)])
        except AgentError as error:
            return HostResult(self._reach.host(machine), "", str(error))
        return self._reach.run(machine, commands, timeout)

    def left(self, action: LeaveNode) -> None:
        """Take note that nothing is left on a node: a revoked machine is released, another given back."""
        moment = self._memory.now()
        machine = _meant(action, moment)
        if machine is None:
            return
        if action.cause is not DrainCause.REVOKED:
            if machine.key in self._memory.chosen.leaving:
                self._memory.chosen.empty(machine)
                self._desk.wake("delete_nodes")
                ending = moment.slice.ending_of(machine)
                if action.cause is DrainCause.LEASE and ending is not None:
                    self._released(action, moment, machine, ending.begun, "it is given back")
            return
        self._end_delete([vars(machine)])
        self._desk.wake("delete_nodes")
        revocation = moment.slice.revocation_of(machine)
        noticed = revocation.noticed if revocation else None
        self._released(action, moment, machine, noticed, "Cloudlab may take it")

    def _released(
        self, action: LeaveNode, moment: Moment, machine: SliverNode, since: datetime | None, what: str
    ) -> None:
        margin = (action.deadline - moment.now).total_seconds() if action.deadline else 0.0
        took = round((moment.steady - since).total_seconds(), 1) if since else None
        message = f"{what}, {margin:.0f} s before its deadline"
        self._desk.tell(EventKind.RELEASE, machine.node_id, message, Release(round(margin, 1), took))


def _meant(action: LeaveNode, moment: Moment) -> SliverNode | None:
    """Return the machine that is left; None where it is not ours any more, whatever has its name now."""
    machine = moment.machines.get(action.node)
    return machine if machine and action.slivers in {frozenset(), marks(machine)} else None
