"""The life of machines in scaled time (protogeni.md §3.5): boot, reboot, stop, release."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Condition, Event

from testbed.cloudlab.clock import Pace
from testbed.cloudlab.journal import Journal, MachineState
from testbed.cloudlab.room import Boot, MachineRoom, RoomError
from testbed.cloudlab.sites import RELOAD_EVENTS, Timing
from testbed.cloudlab.state import Account, Machine, NodeSliver
from testbed.cloudlab.steering.faults import FAILED_EVENTS, STRIKES_AT, Faults, Kind
from testbed.cloudlab.workers import Workers

STARTUP_LIMIT = 600.0
"""Real seconds that a startup command may take."""
TAKER = "another project"


class Lives:
    """Moves the machines of one CM from event to event, each in a thread of its own.

    A machine has one part of life at a time: beginning another ends the one before.
    """

    def __init__(
        self,
        authority: str,
        timing: Timing,
        pace: Pace,
        room: MachineRoom,
        journal: Journal,
        faults: Faults,
        workers: Workers,
        mutex: Condition,
    ) -> None:
        self._authority = authority
        self._timing = timing
        self._pace = pace
        self._room = room
        self._journal = journal
        self._faults = faults
        self._workers = workers
        self._mutex = mutex

    def boot(self, sliver: NodeSliver, accounts: Sequence[Account], *, reload: bool) -> None:
        """Boot the machine of a sliver, with a fresh disk if it is to be reloaded."""
        boot = Boot(
            client_id=sliver.client_id,
            host_name=sliver.host_name,
            users=tuple(account.login for account in accounts),
            authorized_keys=tuple(dict.fromkeys(key for account in accounts for key in account.keys)),
            fresh=reload,
            cards=sliver.cards,
        )
        sliver.boot_log = ""
        sliver.canceled = False
        sliver.execute_state = sliver.execute_status = "n/a"
        ended = self._begin(sliver.machine)
        # At once: what the machine was before its reboot must not be taken for the end of it.
        self._enter(sliver.machine, "SHUTDOWN", ended)
        events = {event for event, _ in self._events(boot)}
        kinds = {kind for kind, event in STRIKES_AT.items() if event in events}
        fault = self._faults.strike(self._authority, sliver.machine.node_id, kinds)
        kind = fault.kind if fault else None
        self._workers.start(f"boot {sliver.machine.name}", self._boot, sliver, boot, kind, ended)

    def stop(self, sliver: NodeSliver) -> None:
        """Switch the machine of a sliver off."""
        ended = self._begin(sliver.machine)
        self._enter(sliver.machine, "SHUTDOWN", ended)
        self._workers.start(f"stop {sliver.machine.name}", self._stop, sliver.machine, ended)

    def release(self, machine: Machine, cause: str, *, taken: bool) -> None:
        """Take the machine out of its slice: off, reload, then free or in another project's use."""
        machine.holder = None
        machine.reloading = True
        machine.promised_to = machine.next_for = ""
        machine.promised_from = None
        machine.used_by = TAKER if taken else ""
        self._journal.unhold(self._authority, machine.node_id, cause)
        ended = self._begin(machine)
        self._enter(machine, "SHUTDOWN", ended, note=f"released: {cause}")
        self._workers.start(f"release {machine.name}", self._release, machine, ended, taken=taken)

    def halt(self, machine: Machine) -> None:
        """Stop what is under way with a machine where it is; the caller holds the mutex."""
        machine.ended.set()

    def end_all(self, machines: Sequence[Machine]) -> None:
        """End what is under way, when the simulator stops."""
        for machine in machines:
            self.halt(machine)

    def _begin(self, machine: Machine) -> Event:
        machine.ended.set()
        machine.ended = Event()
        return machine.ended

    def _enter(self, machine: Machine, event: str, ended: Event, note: str = "") -> bool:
        """Put the machine into another state; False when this part of its life is over."""
        with self._mutex:
            if ended.is_set():
                return False
            machine.event = event
            machine.event_time = int(time.time())
            holder = machine.holder
            if holder is not None:
                # As the site's event daemon does, whatever else is at work on the slice.
                holder.store(holder.status)
            self._journal.add(
                MachineState(
                    time=time.time(),
                    authority=self._authority,
                    node_id=machine.node_id,
                    event=event,
                    slice_urn=holder.slice_urn if holder else "",
                    client_id=holder.client_id if holder else "",
                    note=note,
                )
            )
        return True

    def _events(self, boot: Boot) -> tuple[tuple[str, float], ...]:
        return self._timing.boot if boot.fresh else self._timing.reboot

    def _boot(self, sliver: NodeSliver, boot: Boot, fault: Kind | None, ended: Event) -> None:
        machine = sliver.machine
        if not self._switch_off(machine, ended):
            return
        for step, (event, seconds) in enumerate(self._events(boot)):
            if step > 0 and not self._enter(machine, event, ended):
                return
            if fault is not None and event == STRIKES_AT[fault]:
                self._fail(sliver, fault, ended)
                return
            began = time.monotonic()
            if event == "BOOTING" and not self._switch_on(sliver, boot, ended):
                return
            if ended.wait(max(0.0, self._pace.real(seconds) - (time.monotonic() - began))):
                return
        if self._enter(machine, "ISUP", ended) and sliver.startup:
            self._run_startup(sliver, ended)

    def _fail(self, sliver: NodeSliver, fault: Kind, ended: Event) -> None:
        """End a boot as the fault wants it; one that never ends stays where it is."""
        if fault in FAILED_EVENTS:
            sliver.boot_log = (
                f"{sliver.machine.node_id}: {FAILED_EVENTS[fault]} by a fault that is switched on"
            )
            self._enter(sliver.machine, FAILED_EVENTS[fault], ended, note=sliver.boot_log)

    def _switch_on(self, sliver: NodeSliver, boot: Boot, ended: Event) -> bool:
        machine = sliver.machine
        with machine.switch:
            if ended.is_set():
                return False
            try:
                self._room.power_on(machine.name, boot)
            except RoomError as error:
                sliver.boot_log = str(error)
                self._enter(machine, "TBFAILED", ended, note=str(error))
                return False
        return True

    def _switch_off(self, machine: Machine, ended: Event) -> bool:
        with machine.switch:
            if ended.is_set():
                return False
            try:
                self._room.power_off(machine.name)
            except RoomError as error:
                self._journal.note(f"{machine.name} was not switched off: {error}")
        return True

    def _run_startup(self, sliver: NodeSliver, ended: Event) -> None:
        name = sliver.machine.name
        with self._mutex:
            sliver.execute_state, sliver.execute_status = "running", "unknown"
        try:
            exit_status = self._room.run(name, sliver.startup, STARTUP_LIMIT)
        except RoomError as error:
            self._journal.note(f"the startup command on {name} was not run to its end: {error}")
            exit_status = 255
        with self._mutex:
            if not ended.is_set():
                sliver.execute_state, sliver.execute_status = "exited", exit_status
                self._journal.note(f"the startup command on {name} ended with status {exit_status}")

    def _stop(self, machine: Machine, ended: Event) -> None:
        if self._switch_off(machine, ended):
            self._enter(machine, "POWEROFF", ended)

    def _release(self, machine: Machine, ended: Event, *, taken: bool) -> None:
        if not self._switch_off(machine, ended):
            return
        loading = [event for event, _ in self._timing.boot if event in RELOAD_EVENTS] or ["RELOADDONE"]
        for event in loading:
            if not self._enter(machine, event, ended):
                return
            if self._pace.sleep(self._timing.reload / len(loading), ended):
                return
        with self._mutex:
            if ended.is_set():
                return
            machine.reloading = False
            if taken:
                self._enter(machine, "ISUP", ended, note=f"in use by {TAKER}")
            else:
                self._enter(machine, "PXEWAIT", ended, note="free")
        if taken:
            if self._pace.sleep(self._timing.taken, ended):
                return
            with self._mutex:
                machine.used_by = ""
                self._enter(machine, "PXEWAIT", ended, note="free")
