"""A reservation of Slurm: nodes that are kept for some, or for nobody, for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Reservation:
    """Nodes that Slurm keeps for some users, or for nobody, for a while (``scontrol show reservation``)."""

    name: str
    nodes: frozenset[str]
    starts: datetime
    ends: datetime
    flags: frozenset[str] = frozenset()
    partition: str = field(default="", compare=False)
    """The one that its nodes were chosen from; all of it, with the flag ``PART_NODES``."""
    users: frozenset[str] = field(default=frozenset(), compare=False)
    """Who may use it; a name after a minus sign may not. Accounts and groups are not among them."""
    cpus: int = field(default=0, compare=False)
    """All that it takes, on all nodes together; 0 where that is not told."""
