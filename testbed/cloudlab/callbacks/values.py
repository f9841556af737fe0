"""Resource values, pushed to the agent: at once on a change, and now and then (protogeni.md §6)."""

from __future__ import annotations

import time

from testbed.cloudlab import urn
from testbed.cloudlab.callbacks.endpoint import TICK, Endpoint, NodeItem
from testbed.cloudlab.cm.manager import ComponentManager

PUSH_EVERY = 600.0
"""Simulated seconds between two pushes of unchanged values."""


class ValuePush:
    """Tells the agent the resource values of all machines of a CM: at once on a change, and now and then."""

    def __init__(self, cm: ComponentManager, endpoint: Endpoint) -> None:
        self._cm = cm
        self._endpoint = endpoint
        self._changed = True

    def changed(self) -> None:
        """Push soon; the caller holds the mutex."""
        self._changed = True
        self._cm.around.mutex.notify_all()

    def run(self) -> None:
        """Push until the simulator stops."""
        around = self._cm.around
        due = time.monotonic()
        while True:
            with around.mutex:
                if around.workers.stopping.is_set():
                    return
                left = due - time.monotonic()
                if not self._changed and left > 0:
                    around.mutex.wait(left)
                    continue
                self._changed = False
                nodelist = self._nodelist()
            heard = self._endpoint.call("SetResourceValues", nodelist) is not None
            due = time.monotonic() + around.pace.real(PUSH_EVERY if heard else TICK)

    def _nodelist(self) -> list[NodeItem]:
        items: list[NodeItem] = []
        for machine in self._cm.machines.values():
            item: dict[str, object] = {
                "node_id": machine.node_id,
                "value": machine.value,
                "component_urn": urn.make(self._cm.site.domain, "node", machine.node_id),
            }
            if machine.holder is not None:
                item["client_id"] = machine.holder.client_id
            items.append(item)
        return items
