"""What every room of the cluster is given: the time, the settings in force, and whom to tell."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.cluster.freed import Freed
from agent.cluster.losses import Losses
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.desk import Lock
from agent.core.events import Event, EventData, EventKind
from agent.core.ports import Clock, EventSink


def _nothing(*_: str) -> None:
    """Note or wake nothing: no cycle runs."""


class Desk:
    """Stands between the rooms and whoever runs them.

    Args:
        settings: those in force; replaced as a whole on a reload.
        clock: time.
        events: where events are recorded.
        lock: guards all that is remembered; one that its holder may take again.
        note: adds words to what the step under way decided.
        wake: makes steps of the cycle due now.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        clock: Clock,
        events: EventSink,
        *,
        lock: Lock | None = None,
        note: Callable[[str], None] = _nothing,
        wake: Callable[..., None] = _nothing,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.lock = lock or threading.RLock()
        self.note = note
        self.wake = wake
        self.losses = Losses()
        self.freed = Freed()
        self.bell = threading.Event()
        """Rings when the drains are to be looked at now."""
        self._events = events

    def record(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event of a thread beside the cycle."""
        self._events.record(Event(self.clock.now(), kind, subject, message, data))

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event, and add it to what the step under way decided."""
        self.record(kind, subject, message, data)
        self.note(message)

    def look_at_drains(self) -> None:
        """Have the drains looked at now: a notice came, a job ended, an administrator asked."""
        self.bell.set()
