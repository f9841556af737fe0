"""Whether a slice takes a change now: its lock, boots that are watched, work, and termination.

protogeni.md §1.6 for a server of 2016; protogeni-2021.md §3.2, §3.9, §5 for one of 2021.
"""

from __future__ import annotations

import time

from testbed.cloudlab.answer import Code, RefusalError, busy, starting
from testbed.cloudlab.cm.manager import TERMINATING, ComponentManager
from testbed.cloudlab.state import CmSlice

_LOOK_EVERY = 0.02
"""Real seconds between two looks at a lock that is waited for."""


def require_kept(record: CmSlice) -> None:
    """Refuse a change of a slice that is marked for termination.

    Raises:
        RefusalError: code 16.
    """
    if record.terminating:
        raise RefusalError(Code.IN_PROGRESS, TERMINATING)


def require_idle(cm: ComponentManager, record: CmSlice) -> None:
    """Refuse a change of a slice that goes, or that is at work; a server of 2016 has neither.

    Raises:
        RefusalError: code 16, or 14 «resource is busy».
    """
    require_kept(record)
    if cm.site.generation >= 2021 and record.at_work:
        raise busy("resource")


def take_idle(cm: ComponentManager, record: CmSlice, what: str) -> None:
    """Take the lock for a change that waits for no boot; the caller frees it.

    Raises:
        RefusalError: code 14 while the lock is held or machines boot; code 16.
    """
    require_idle(cm, record)
    record.lock.take(what)
    if cm.site.generation < 2021 and record.monitor:
        record.lock.free()
        raise starting()


def take_patiently(cm: ComponentManager, record: CmSlice, seconds: float, refusal: RefusalError) -> None:
    """Take the lock of a slice, waiting so many simulated seconds for it; the caller holds the mutex.

    In a server of 2016 nobody waits.

    Raises:
        RefusalError: ``refusal`` when it stays held; code 12 when the slice goes meanwhile.
    """
    wait = cm.around.pace.real(seconds) if cm.site.generation >= 2021 else 0.0
    end = time.monotonic() + wait
    while record.lock.held and (left := end - time.monotonic()) > 0:
        if cm.around.workers.stopping.is_set():
            break
        cm.around.mutex.wait(min(left, _LOOK_EVERY))
    if wait and record.urn in cm.slices and cm.slices[record.urn] is not record:
        raise RefusalError(Code.SEARCHFAILED, "No such slice here")
    if record.lock.held:
        raise refusal
    record.lock.held = True
