"""Tells when a teardown is complete, of the whole slice or of one CM."""

from __future__ import annotations

from collections.abc import Container

from agent.cluster.desk import Desk
from agent.cluster.memory.memory import Memory
from agent.core.events import EventKind
from agent.core.slice.facts import SliceFacts


class Completion:
    """Looks whether anything is left of what is given back.

    Args:
        desk: told of each teardown that is complete.
        memory: the wishes.
        retired: the CMs that left agent.conf: nobody has to allow that they are asked again.
    """

    def __init__(self, desk: Desk, memory: Memory, retired: Container[str]) -> None:
        self._desk = desk
        self._memory = memory
        self._retired = retired

    def look(self, facts: SliceFacts) -> None:
        """Tell once of each teardown that is complete.

        Raises:
            LedgerError: a wish that has served cannot be struck.
        """
        memory, busy = self._memory, busy_cms(facts)
        if memory.hold.tearing_down and memory.hold.is_news(facts.all_read and not busy):
            self._desk.tell(EventKind.ADMIN, "", "the teardown is complete: nothing is held")
        # All that is held is known by then, and a CM that was not asked is none of those in use.
        heard = facts.read.union(memory.teardowns.wishes) if facts.all_read else facts.read
        for cm in memory.teardowns.fresh(heard - busy):
            self._desk.tell(EventKind.ADMIN, cm, f"the teardown of {cm} is complete: nothing is held there")
        for cm in memory.teardowns.wishes.keys() & heard - busy:
            if cm in self._retired or cm not in facts.read:
                memory.teardowns.lift(cm)


def busy_cms(facts: SliceFacts) -> frozenset[str]:
    """Return the CMs at which a machine is held, or may be: it was asked for, or is in doubt."""
    held = {machine.cm for machine in facts.machines} - facts.over.keys() | {cm for cm, _ in facts.unseen}
    return frozenset(held | {intent.cm for intent in facts.requested})
