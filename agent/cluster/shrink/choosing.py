"""Begins to give back what a plan finds surplus, and lets go what it keeps after all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.cluster.desk import Desk
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import Moment
from agent.cluster.shrink.surplus import NodeVerdict
from agent.core.events import EventKind


class Chooser:
    """Obeys the part of a plan that is about surplus machines.

    Args:
        desk: told what becomes of machines.
        memory: knows which of them are being emptied to be given back.
    """

    def __init__(self, desk: Desk, memory: Memory) -> None:
        self._desk = desk
        self._chosen = memory.chosen

    def obey(self, moment: Moment, keeps: Mapping[str, str], verdicts: Iterable[NodeVerdict]) -> bool:
        """Choose what goes, let go what does not; tell whether there was any.

        Args:
            moment: what is known.
            keeps: name of a draining node that returns to service -> why.
            verdicts: which nodes go, of those in service.
        """
        # Its delete commands may have run since the moment.
        kept = self._chosen.keep(moment.machines[name] for name in sorted(keeps))
        for name in map(moment.name, kept):
            self._desk.tell(EventKind.KEEP, name, keeps[name])
        going = [verdict for verdict in verdicts if verdict.goes]
        for verdict in going:
            self._chosen.choose(machine := moment.machines[verdict.name])
            self._desk.tell(EventKind.SURPLUS, machine.node_id, f"to be given back: {verdict.why}")
        return bool(going or kept)
