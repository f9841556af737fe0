"""What goes on after a reply: work under the slice lock, and the monitor of boots (protogeni.md §1.7)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.state import Aggregate, CmSlice, NodeSliver
from testbed.cloudlab.status import FAILED_EVENTS

MONITOR_LIMIT = 1600.0
"""Simulated seconds that the monitor waits for a machine with an image load (WaitForNodes)."""
_SHORTEST_LIMIT = 20.0
"""In real seconds: a computer that is slow for a while is no machine that hangs."""
_LOOK_EVERY = 5.0
_LOOK_AT_MOST_EVERY = 0.01
"""In real seconds, however fast simulated time runs."""


class Background:
    """Runs one CM's work after replies."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._pace = cm.around.pace
        self._workers = cm.around.workers

    def start(self, record: CmSlice, aggregate: Aggregate, seconds: float) -> None:
        """Begin the start phase: ``seconds`` of work, then boot all that is not started, then the monitor.

        The caller holds the slice lock; the phase frees it.
        """
        aggregate.error = ""
        aggregate.boot_failed = False
        self._workers.start(f"start {record.urn}", self._start, record, aggregate, seconds)

    def reboot(
        self, record: CmSlice, aggregate: Aggregate, slivers: Sequence[NodeSliver], *, reload: bool
    ) -> None:
        """Begin a restart or reload of a whole slice. The caller holds the slice lock; this frees it."""
        aggregate.error = ""
        aggregate.boot_failed = False
        self._boot(record, aggregate, slivers, reload=reload)
        record.lock.free()

    def tear_down(self, record: CmSlice) -> None:
        """Begin the end of a slice. The caller holds the slice lock; it goes with the slice."""
        self._workers.start(f"tear down {record.urn}", self._tear_down, record)

    def _start(self, record: CmSlice, aggregate: Aggregate, seconds: float) -> None:
        if self._pace.sleep(seconds, self._workers.stopping):
            return
        with self._cm.around.mutex:
            waiting = [s for s in aggregate.nodes.values() if s.reserved and s.state in {"new", "stopped"}]
            self._boot(record, aggregate, waiting, reload=True)
            record.lock.free()

    def _boot(
        self, record: CmSlice, aggregate: Aggregate, slivers: Sequence[NodeSliver], *, reload: bool
    ) -> None:
        for sliver in slivers:
            fresh = reload or sliver.state == "new"
            sliver.state = "started"
            self._cm.lives.boot(sliver, aggregate.accounts, reload=fresh)
        if slivers:
            record.monitor = True
            self._workers.start(f"monitor {record.urn}", self._monitor, record, aggregate, tuple(slivers))

    def _monitor(self, record: CmSlice, aggregate: Aggregate, slivers: Sequence[NodeSliver]) -> None:
        deadline = time.monotonic() + max(self._pace.real(MONITOR_LIMIT), _SHORTEST_LIMIT)
        interval = max(self._pace.real(_LOOK_EVERY), _LOOK_AT_MOST_EVERY)
        while not self._workers.stopping.wait(interval):
            with self._cm.around.mutex:
                held = [s for s in slivers if s.reserved]
                failed = [s for s in held if s.machine.event in FAILED_EVENTS]
                booting = [s for s in held if s.machine.event != "ISUP" and s not in failed]
                late = time.monotonic() > deadline
                if booting and not late:
                    continue
                if failed or booting:
                    aggregate.boot_failed = True
                # There is one slot for the monitor of a slice: the first to finish clears it for all.
                record.monitor = False
                return

    def _tear_down(self, record: CmSlice) -> None:
        if self._pace.sleep(self._cm.site.timing.teardown, self._workers.stopping):
            return
        with self._cm.around.mutex:
            self._cm.drop_slice(record, "DeleteSlice")
