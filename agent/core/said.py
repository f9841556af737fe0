"""What Cloudlab said of machines, of ours or of others: how much it wants them, and which it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from agent.core.model import Place, SliverNode, differ

S = TypeVar("S")

OVERDUE = 1.5
"""So many intervals after a notice the next one is missing: a call may take its time."""


class Placed(Protocol):
    """What stands at a place."""

    @property
    def place(self) -> Place:
        """Which physical machine it is."""


class Saying:
    """What Cloudlab said of a machine. Its names are "" where nobody told them."""

    cm: str
    node_id: str
    client_id: str

    @property
    def place(self) -> Place:
        """Which physical machine it is about."""
        return self.cm, self.node_id

    def is_at(self, machine: SliverNode) -> bool:
        """Tell whether it is about this physical machine, be it in an earlier stay."""
        return self.node_id == machine.node_id and not differ(self.cm, machine.cm)

    def means(self, machine: SliverNode) -> bool:
        """Tell whether it is about this machine, and not an earlier stay of it under another client_id."""
        return self.is_at(machine) and not differ(self.client_id, machine.client_id)


@dataclass(frozen=True)
class ResourceValue(Saying):
    """How much Cloudlab wants a machine: 0 (not) to 1 (it wants it back soon)."""

    node_id: str
    value: float
    received: datetime
    """By the steady clock."""
    client_id: str = ""
    cm: str = ""
    """URN of the CM that has it; "" where nobody told it."""


@dataclass(frozen=True)
class Revocation(Saying):
    """Cloudlab's announced taking-back of a machine."""

    node_id: str
    client_id: str
    deadline: datetime
    noticed: datetime
    """When the first notice came, by the steady clock."""
    last_notice: datetime
    """When the last one came; like the deadline it moves with the wall clock where that is set."""
    releasable: bool = False
    """Nothing is left on the machine: the next reply tells Cloudlab that it may take it."""
    offered: bool = False
    """A reply told Cloudlab so. A restart forgets it."""
    cm: str = ""
    """URN of the CM that has it; "" where nobody told it."""

    def is_silent(self, now: datetime, interval: float) -> bool:
        """Tell whether a notice is missing that should have come by now: it may have been withdrawn.

        Args:
            now: by the wall clock.
            interval: seconds between two notices.
        """
        return now - self.last_notice > timedelta(seconds=OVERDUE * interval)


@dataclass(frozen=True)
class Taken(Saying):
    """Cloudlab's word that it took a machine (``NotifyDeleteComplete``)."""

    node_id: str
    client_id: str
    """"" where Cloudlab did not say it."""
    told: datetime
    """By the steady clock."""
    cm: str = ""
    """URN of the CM that has it; "" where nobody told it."""


def said_of(said: Mapping[Place, S], placed: Placed) -> Iterator[S]:
    """Yield what was said of a physical machine; last what was said without telling at which CM."""
    cm, node_id = placed.place
    for place in dict.fromkeys(((cm, node_id), ("", node_id))):
        if place in said:
            yield said[place]
