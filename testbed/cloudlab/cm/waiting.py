"""The wait for machines that boot: until each is up, failed, or past its limit (WaitForNodes)."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from testbed.cloudlab.clock import Pace
from testbed.cloudlab.sites import Site
from testbed.cloudlab.state import NodeSliver
from testbed.cloudlab.status import FAILED_EVENTS

BOOT_LIMIT = 1000.0
"""Simulated seconds that a machine is waited for (protogeni.md §3.5, protogeni-2021.md §3.9)."""
LOAD_LIMIT = 600.0
"""How much longer when it loads an image."""
STUCK_LIMIT = 400.0
"""Simulated seconds after which one that stays in BOOTING is given up."""
LOOK_EVERY = 5.0
LOOK_AT_MOST_EVERY = 0.01
"""In real seconds, however fast simulated time runs."""


class Wait:
    """One wait for the machines of a slice. Not safe by itself: the mutex is held at each look."""

    def __init__(
        self,
        site: Site,
        pace: Pace,
        slivers: Sequence[NodeSliver],
        *,
        loading: Collection[NodeSliver],
        running: Collection[NodeSliver],
    ) -> None:
        """Begin to wait for ``slivers``, of which those in ``loading`` load an image.

        Those that are ``running`` read changing until all are done.
        """
        self.slivers = tuple(slivers)
        self._running = running
        self.failed: list[NodeSliver] = []
        """Those that failed or were given up, in the order in which that was seen."""
        patience = site.timing.patience
        now = time.monotonic()
        longer = LOAD_LIMIT if site.new_osload or site.generation < 2021 else 0.0
        self._limits = {
            sliver: now + max(pace.real(BOOT_LIMIT + (longer if sliver in loading else 0.0)), patience)
            for sliver in slivers
        }
        self._stuck_limit = max(pace.real(STUCK_LIMIT), patience)
        self._booting_since: dict[NodeSliver, float] = {}

    def look(self) -> bool:
        """Look at all that is waited for still; tell whether the wait is over."""
        now = time.monotonic()
        for sliver in list(self._limits):
            event = sliver.machine.event
            if not sliver.reserved:
                del self._limits[sliver]
                continue
            if event == "ISUP":
                del self._limits[sliver]
                if sliver.state == "restarting":
                    sliver.state = "started"
                if sliver not in self._running:
                    sliver.store("ready")
                continue
            if event == "BOOTING":
                stuck = now - self._booting_since.setdefault(sliver, now) > self._stuck_limit
            else:
                self._booting_since.pop(sliver, None)
                stuck = False
            if event in FAILED_EVENTS or stuck or now > self._limits[sliver]:
                del self._limits[sliver]
                self.failed.append(sliver)
                sliver.store("failed")
        return not self._limits
