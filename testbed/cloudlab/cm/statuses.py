"""SliverStatus (protogeni.md §3.5, protogeni-2021.md §6)."""

from __future__ import annotations

from testbed.cloudlab.answer import Code, RefusalError
from testbed.cloudlab.cm.manager import READ, ComponentManager
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, CmSlice, NodeSliver


class StatusMethod:
    """The method that tells how the machines of a slice are."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._newer = cm.site.generation >= 2021
        cm.methods["SliverStatus"] = self._sliver_status

    def _sliver_status(self, request: Request) -> object:
        missing = RefusalError(Code.SEARCHFAILED, "No slice or aggregate here")
        record, _ = self._cm.find_slice(request, READ, missing)
        aggregate = record.aggregate
        if aggregate is None and not (self._newer and (record.async_code or record.lock.held)):
            raise missing
        with record.lock.during("resource"):
            if aggregate is None:
                return self._without_machines(record)
            return self._status(record, aggregate)

    def _status(self, record: CmSlice, aggregate: Aggregate) -> dict[str, object]:
        frozen = self._newer and record.at_work
        if not frozen:
            if not all(sliver.reserved for sliver in aggregate.nodes.values()):
                # The status of a machine that nobody has reserved cannot be computed.
                raise RefusalError(Code.ERROR)
            for sliver in aggregate.nodes.values():
                sliver.store(sliver.status)
        now = self._now()
        details: dict[str, object] = {
            sliver.urn: self._entry(sliver, now) for sliver in aggregate.nodes.values()
        }
        for name, sliver_urn in aggregate.links.items():
            details[sliver_urn] = {
                "component_urn": name,
                "client_id": name,
                "state": "started",
                "status": "ready",
                "error": "",
                "utc": now,
            }
        answer: dict[str, object] = {
            "state": aggregate.state,
            "status": "changing" if frozen else aggregate.status,
            "utc": now,
            "error": aggregate.error,
            "details": details,
        }
        return self._completed(answer, record, aggregate.boot_failure)

    def _without_machines(self, record: CmSlice) -> dict[str, object]:
        """Tell of a slice whose asynchronous creation failed."""
        answer: dict[str, object] = {
            "state": "stopped",
            "status": "failed",
            "utc": self._now(),
            "error": "",
            "details": {},
        }
        return self._completed(answer, record, 0)

    def _completed(self, answer: dict[str, object], record: CmSlice, boot_failure: int) -> dict[str, object]:
        if self._newer:
            answer["boot_failure"] = boot_failure
            answer["shutdown"] = int(record.shut_down)
            answer["paniced"] = int(record.paniced)
            if record.async_code:
                answer["async_code"] = record.async_code
                answer["async_output"] = record.async_output
        return answer

    def _entry(self, sliver: NodeSliver, now: int) -> dict[str, object]:
        status = sliver.stored_status or sliver.status
        machine = sliver.machine
        entry: dict[str, object] = {
            "component_urn": machine.node_id,
            "client_id": sliver.client_id,
            # Internally «new»; shown as stopped.
            "state": "stopped" if sliver.state == "new" else sliver.state,
            "status": status,
            "error": sliver.boot_log if status == "failed" else "",
            "rawstate": machine.event,
            "nodestatus": machine.event_time,
            "utc": now,
        }
        if self._newer:
            entry["nodestatus"] = "up" if machine.event in {"ISUP", "ALWAYSUP"} else "down"
            entry["utc"] = max(sliver.changed, machine.event_time)
            entry["recovery"] = int(sliver.recovery)
        if sliver.startup:
            entry["execute_state"] = sliver.execute_state
            entry["execute_status"] = sliver.execute_status
        return entry

    def _now(self) -> int:
        return int(self._cm.around.clock.now().timestamp())
