"""Machines that are in the way of their lease's renewal: emptied by a deadline, and given back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent.cluster.desk import Desk
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import Moment
from agent.core.events import EventKind
from agent.core.model import SliverNode
from agent.core.slice.sparer import Sparer


class Blocking:
    """What becomes of them.

    Args:
        desk: told of each.
        memory: remembers them.
        sparer: says which go, by what is lost with each, and when none has to any more.
    """

    def __init__(self, desk: Desk, memory: Memory, sparer: Sparer) -> None:
        self._desk = desk
        self._memory = memory
        sparer.in_order, sparer.keep = self.in_order, self.keep

    def give(self, machine: SliverNode, due: datetime | None) -> None:
        """Begin to empty a machine; it is given back when nothing is left on it."""
        if self._memory.chosen.choose_blocking(machine, due):
            when = f" by {due:%Y-%m-%dT%H:%M:%SZ}" if due else ""
            message = f"to be given back{when}: the lease is not renewed with it"
            self._desk.tell(EventKind.SURPLUS, machine.node_id, message)
        self._desk.look_at_drains()

    def keep(self, cm: str) -> None:
        """Leave it to the queue whether those of a CM stay that have not gone."""
        self._memory.chosen.unblock(cm)
        self._desk.look_at_drains()
        self._desk.wake("get_system_state")

    def in_order(self, machines: Sequence[SliverNode]) -> list[SliverNode]:
        """Order machines by what is lost with them, the least first."""
        moment = self._memory.now()
        return sorted(machines, key=lambda machine: loss_of(machine, moment))


def loss_of(machine: SliverNode, moment: Moment) -> tuple[int, int, str]:
    """Tell what would be lost with a machine, comparably: what goes anyhow, then what is idle, then jobs."""
    name = moment.name(machine)
    node = moment.nodes.get(name)
    if name in moment.chosen or machine.key in moment.slice.failed:
        stage = 0
    elif node is None or not node.usable:
        stage = 1
    else:
        stage = 2
    jobs = sum(name in job.nodes for job in moment.snapshot.jobs if job.holds_nodes) if moment.snapshot else 0
    return (3 if jobs else stage, jobs, machine.client_id)
