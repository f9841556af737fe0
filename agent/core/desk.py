"""What every room of the core is given: the time, the lock, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from agent.core.events import EventData, EventKind
from agent.core.ports import Clock

Lock = AbstractContextManager[object]
"""One that its holder may take again, such as a ``threading.RLock``."""


class Tell(Protocol):
    """Records an event, and adds it to what the step under way decided."""

    def __call__(self, kind: EventKind, subject: str, message: str, data: EventData | None = None, /) -> None:
        """Tell it."""


class Wake(Protocol):
    """Makes steps of the cycle due now; may be called from any thread, and returns at once."""

    def __call__(self, *steps: str) -> None:
        """Name the steps."""


@dataclass(frozen=True)
class Desk:
    """Stands between the rooms and the manager that they work for."""

    clock: Clock
    lock: Lock
    """Guards all that is remembered; none does I/O under it."""
    tell: Tell
    note: Callable[[str], None]
    """Adds to what the step under way decided, without an event."""
    wake: Wake
