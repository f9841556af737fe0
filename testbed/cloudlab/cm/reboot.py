"""A site's server boots: what is left of the work and the locks of its slices (protogeni-2021.md §1.8)."""

from __future__ import annotations

from testbed.cloudlab.cm.background import INTERRUPTED, Background
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.sites import Generation


def reboot(cm: ComponentManager, background: Background) -> None:
    """Stop all work of a CM where it is; machines that boot go on. The mutex is held."""
    for record in cm.slices.values():
        aggregate = record.aggregate
        if cm.site.generation >= 2021 and record.at_work and aggregate is not None:
            first = any(phase.is_first for phase in record.phases)
            aggregate.broken_state = "interrupted" if first else "mixed"
            aggregate.boot_failure = INTERRUPTED
        background.interrupt(record)
        for sliver in aggregate.nodes.values() if aggregate else ():
            sliver.awaited_by = None
        clear(record.lock, cm.site.generation)


def clear(lock: SliceLock, generation: Generation) -> None:
    """Free a lock as newer servers do when they boot; with older ones it stays as it was."""
    if not lock.held:
        return
    if generation >= 2021:
        lock.free()
    else:
        lock.leave()
