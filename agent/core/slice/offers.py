"""What the CMs offer: their machines, free or not, as they were last read."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime

from agent.core.model import AdvertisedNode
from agent.core.ports import Clock, SliceServer

BELIEVED_FOR = 3
"""Free machines are believed to be free for so many intervals."""


class Offers:
    """The advertisements of the CMs.

    Args:
        server: the CMs.
        clock: time.
        interval: seconds from one reading of the free machines to the next.
        retired: URNs of those that nothing is borrowed from any more, and that are not asked.

    Attributes:
        available: CM -> free machines, as they were last read; no key while unknown.
        all_nodes: CM -> all machines; no key while unknown.
    """

    def __init__(
        self,
        server: SliceServer,
        clock: Clock,
        interval: float = math.inf,
        retired: Collection[str] = (),
    ) -> None:
        self._server = server
        self._retired = frozenset(retired)
        self._clock = clock
        self._believed = BELIEVED_FOR * interval
        self._read_available: dict[str, float] = {}
        self._read_all: dict[str, datetime] = {}
        self.available: dict[str, tuple[AdvertisedNode, ...]] = {}
        self.all_nodes: dict[str, tuple[AdvertisedNode, ...]] = {}

    def read_available(self, cm: str) -> None:
        """Read the free machines."""
        if cm in self._retired:
            return
        began = self._clock.monotonic()
        self.available[cm] = tuple(n for n in self._server.discover(cm, available=True) if n.available)
        self._read_available[cm] = began

    def free(self, cm: str) -> tuple[AdvertisedNode, ...] | None:
        """Return the free machines; None where they are not known, or were read too long ago."""
        read = self._read_available.get(cm)
        if read is None or self._clock.monotonic() - read > self._believed:
            return None
        return self.available.get(cm)

    def read_all(self, cm: str, *, force: bool, before: datetime | None) -> None:
        """Read all machines; without ``force`` only if they were last read before this time, or never."""
        if cm in self._retired:
            return
        last = self._read_all.get(cm)
        if not force and last is not None and before is not None and last >= before:
            return
        self.all_nodes[cm] = tuple(self._server.discover(cm, available=False))
        self._read_all[cm] = self._clock.now()
