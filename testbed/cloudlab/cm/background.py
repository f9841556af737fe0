"""What goes on after a reply: work under the slice lock, then the wait for boots.

protogeni.md §1.7; protogeni-2021.md §3.9 and protogeni-2025.md §3.9 for the two ways in which machines start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.waiting import LOOK_AT_MOST_EVERY, LOOK_EVERY, Wait
from testbed.cloudlab.state import Aggregate, CmSlice, NodeSliver, Phase

NODES_DID_NOT_BOOT = 151
INTERRUPTED = 155
_UNSTARTED = frozenset({"new", "stopped"})


class Background:
    """Runs one CM's work after replies."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._pace = cm.around.pace
        self._workers = cm.around.workers
        self._path = cm.site.start_path if cm.site.generation >= 2021 else "wait"

    def start(self, record: CmSlice, aggregate: Aggregate, seconds: float) -> None:
        """Begin the start phase: ``seconds`` of work, then boot all that is not started, then wait for it.

        The caller holds the slice lock; the phase frees it.
        """
        phase = self._begin(record, aggregate)
        self._workers.start(f"start {record.urn}", self._start, record, aggregate, seconds, phase)

    def reboot(
        self, record: CmSlice, aggregate: Aggregate, slivers: Sequence[NodeSliver], *, reload: bool
    ) -> None:
        """Begin a restart or reload. The caller holds the slice lock; this frees it."""
        phase = self._begin(record, aggregate)
        if self._cm.site.generation >= 2021:
            for sliver in slivers:
                if sliver.state == "started":
                    sliver.state = "restarting"
        self._boot(record, aggregate, slivers, phase, reload=reload)
        record.lock.free()

    def tear_down(self, record: CmSlice, cause: str = "DeleteSlice") -> None:
        """Begin the end of a slice. The caller holds the slice lock; it goes with the slice."""
        phase = Phase()
        record.phases.add(phase)
        self._workers.start(f"tear down {record.urn}", self._tear_down, record, cause, phase)

    def terminate(self, record: CmSlice, cause: str = "DeleteSlice") -> None:
        """Mark a slice for termination and stop its boots; it goes a while later. The mutex is held."""
        record.terminating = True
        self.interrupt(record)
        for sliver in record.aggregate.nodes.values() if record.aggregate else ():
            if sliver.reserved and sliver.machine.event != "ISUP":
                self._cm.lives.halt(sliver.machine)
                sliver.canceled = True
                sliver.store(sliver.status)
        self._workers.start(f"terminate {record.urn}", self._terminate, record, cause)

    def interrupt(self, record: CmSlice) -> None:
        """Stop all work on a slice where it is; machines go on booting. The mutex is held."""
        for phase in record.phases:
            phase.over.set()
        record.phases.clear()
        record.monitor = False

    def work(self, record: CmSlice, seconds: float, then: Callable[[], None]) -> None:
        """Do something after so many simulated seconds of work, with the mutex held."""
        phase = Phase(is_first=True)
        record.phases.add(phase)
        self._workers.start(f"work {record.urn}", self._work, record, seconds, then, phase)

    def _begin(self, record: CmSlice, aggregate: Aggregate) -> Phase:
        aggregate.error = ""
        aggregate.boot_failure = 0
        aggregate.broken_state = ""
        phase = Phase(is_first=all(sliver.state == "new" for sliver in aggregate.nodes.values()))
        record.phases.add(phase)
        return phase

    def _work(self, record: CmSlice, seconds: float, then: Callable[[], None], phase: Phase) -> None:
        if self._pace.sleep(seconds, self._workers.stopping):
            return
        with self._cm.around.mutex:
            if not phase.over.is_set():
                record.phases.discard(phase)
                then()

    def _start(self, record: CmSlice, aggregate: Aggregate, seconds: float, phase: Phase) -> None:
        if self._pace.sleep(seconds, self._workers.stopping):
            return
        with self._cm.around.mutex:
            if phase.over.is_set():
                return
            idle = [s for s in aggregate.nodes.values() if s.reserved and not self._boots(s)]
            if self._path == "reconfigure":
                # It leaves alone what was stopped on purpose, and sets up again what runs.
                waiting = [s for s in idle if s.state == "new"]
                for sliver in idle:
                    if waiting and sliver.state == "started":
                        sliver.awaited_by = phase
                        sliver.store("changing")
            else:
                again = {"failed"} if self._path == "os_setup" else set()
                waiting = [s for s in idle if s.state in _UNSTARTED | again]
            self._boot(record, aggregate, waiting, phase, reload=True)
            record.lock.free()

    def _boots(self, sliver: NodeSliver) -> bool:
        """Tell whether a phase boots a machine; one that was switched off meanwhile, it waits for in vain."""
        off = self._path == "wait" and sliver.state in _UNSTARTED
        return sliver.awaited_by is not None and not off

    def _boot(
        self,
        record: CmSlice,
        aggregate: Aggregate,
        slivers: Sequence[NodeSliver],
        phase: Phase,
        *,
        reload: bool,
    ) -> None:
        loading = set()
        for sliver in slivers:
            fresh = reload or sliver.state == "new"
            if fresh:
                loading.add(sliver)
            if self._path == "wait" and sliver.state != "restarting":
                sliver.state = "started"
            sliver.awaited_by = phase
            self._cm.lives.boot(sliver, aggregate.accounts, reload=fresh)
        awaited = [s for s in aggregate.nodes.values() if s.awaited_by is phase]
        if not awaited:
            record.phases.discard(phase)
            return
        record.monitor = True
        running = [sliver for sliver in awaited if sliver not in slivers]
        wait = Wait(self._cm.site, self._pace, awaited, loading=loading, running=running)
        self._workers.start(f"monitor {record.urn}", self._watch, record, aggregate, wait, phase)

    def _watch(self, record: CmSlice, aggregate: Aggregate, wait: Wait, phase: Phase) -> None:
        interval = max(self._pace.real(LOOK_EVERY), LOOK_AT_MOST_EVERY)
        while not self._workers.stopping.wait(interval):
            with self._cm.around.mutex:
                if phase.over.is_set():
                    self._leave(wait, phase)
                    return
                if wait.look():
                    self._end(record, aggregate, wait, phase)
                    return

    def _leave(self, wait: Wait, phase: Phase) -> None:
        for sliver in wait.slivers:
            if sliver.awaited_by is phase:
                sliver.awaited_by = None

    def _end(self, record: CmSlice, aggregate: Aggregate, wait: Wait, phase: Phase) -> None:
        failed = [sliver for sliver in wait.failed if sliver.reserved]
        if failed:
            aggregate.boot_failure = NODES_DID_NOT_BOOT
            if self._cm.site.generation >= 2021:
                names = " ".join(sliver.machine.node_id for sliver in failed)
                aggregate.error = f"The following nodes failed to setup: {names}"
        for sliver in wait.slivers:
            sliver.state = self._settled(sliver, failed=sliver in failed)
        self._leave(wait, phase)
        # There is one slot for the monitor of a slice: the first to finish clears it for all.
        record.monitor = False
        record.phases.discard(phase)

    def _settled(self, sliver: NodeSliver, *, failed: bool) -> str:
        """Return the state of a machine that was waited for; one that was stopped meanwhile stays so."""
        if self._path == "wait":
            return "started" if sliver.state == "restarting" else sliver.state
        if not failed:
            return "started"
        if self._path == "os_setup":
            return "failed"
        return "started" if sliver.machine.event == "TBFAILED" or sliver.state == "started" else "new"

    def _tear_down(self, record: CmSlice, cause: str, phase: Phase) -> None:
        if self._pace.sleep(self._cm.site.timing.teardown, self._workers.stopping):
            return
        with self._cm.around.mutex:
            if not phase.over.is_set():
                self._cm.drop_slice(record, cause)

    def _terminate(self, record: CmSlice, cause: str) -> None:
        interval = max(self._pace.real(LOOK_EVERY), LOOK_AT_MOST_EVERY)
        if self._pace.sleep(self._cm.site.timing.teardown, self._workers.stopping):
            return
        while True:
            with self._cm.around.mutex:
                if self._cm.slices.get(record.urn) is not record:
                    return
                if not record.lock.held:
                    self._cm.drop_slice(record, cause)
                    return
            if self._workers.stopping.wait(interval):
                return
