"""Takes over what an earlier run of the agent wrote into Slurm, where nothing else remembers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import structlog

from agent.cluster.desk import Desk
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import Moment
from agent.cluster.reasons import CM_TEARDOWN, TEARDOWN, Drain, DrainCause, parse_reason
from agent.cluster.wishes.orders import Orders
from agent.core.errors import LedgerError
from agent.core.events import EventKind
from agent.core.model import AdminDrain, SliverNode
from agent.core.said import Revocation

log = structlog.get_logger()


class Adoption:
    """Reads the reasons of draining nodes, once a CM: when its manifest and Slurm were first read.

    Args:
        desk: told what is taken over.
        memory: the wishes, and which CMs were looked at.
        orders: what administrators ask for.
        adopt_revocation: takes up a revocation, unless Cloudlab spoke of that machine since.
    """

    def __init__(
        self, desk: Desk, memory: Memory, orders: Orders, adopt_revocation: Callable[[Revocation], None]
    ) -> None:
        self._desk = desk
        self._memory = memory
        self._orders = orders
        self._adopt_revocation = adopt_revocation

    def look(self, moment: Moment) -> bool:
        """Take over what is found; tell whether there was a CM whose machines were not looked at yet.

        Where a wish cannot be written down it is tried again; until then no drain of that CM's is lifted.
        """
        new = moment.slice.read - moment.read_back
        if not new:
            return False
        try:
            self._take_over_all(moment, new)
        except LedgerError as error:
            log.warning("what an earlier run left cannot be written down; tried again", error=str(error))
            return False
        self._memory.known.read_back |= new
        return True

    def _take_over_all(self, moment: Moment, new: frozenset[str]) -> None:
        for machine, drain in left_by_an_earlier_run(moment, new):
            if self._take_over(machine, drain, moment):
                message = f"found as an earlier run left it: {drain.reason}"
                self._desk.tell(EventKind.ADOPT, machine.node_id, message)

    def _take_over(self, machine: SliverNode, drain: Drain, moment: Moment) -> bool:
        node_id, now, memory = machine.node_id, moment.now, self._memory
        noticed = moment.steady
        match drain:
            case Drain(cause=DrainCause.REVOKED, deadline=datetime() as deadline):
                self._adopt_revocation(
                    Revocation(node_id, machine.client_id, deadline, noticed, now, cm=machine.cm)
                )
            case Drain(cause=DrainCause.ADMIN, why=why) if why == TEARDOWN:
                self._orders.adopt_teardown(drain.who, drain.deadline)
                return memory.hold.tearing_down
            case Drain(cause=DrainCause.ADMIN, why=why) if why == CM_TEARDOWN:
                self._orders.adopt_cm_teardown(machine.cm, drain.who, drain.deadline)
                return machine.cm in memory.teardowns.wishes
            case Drain(cause=DrainCause.ADMIN):
                said = (drain.why, drain.who, now, drain.deadline, drain.give_back)
                meant = (machine.sliver_id, machine.cm, machine.client_id)
                return memory.drains.adopt(AdminDrain(node_id, *said, *meant), machine)
            case Drain(cause=DrainCause.SURPLUS):
                memory.chosen.choose(machine)
            case _:
                return False
        return True


def left_by_an_earlier_run(moment: Moment, cms: frozenset[str]) -> Iterator[tuple[SliverNode, Drain]]:
    """Read back the drains of these CMs' machines whose reasons an earlier run wrote into Slurm.

    What it wrote for an earlier machine of the same node name does not decide over the one that is there now.
    """
    for name in sorted(moment.joined - moment.inherited):
        node, machine = moment.nodes[name], moment.machines[name]
        drain = parse_reason(name, node.reason) if node.draining and machine.cm in cms else None
        if drain is not None:
            yield machine, drain
