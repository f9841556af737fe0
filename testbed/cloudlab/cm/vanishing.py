"""Machines that go away without a word to the agent (protogeni.md §3.5, §3.7, §6.4)."""

from __future__ import annotations

from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.nodes import NodeMethods
from testbed.cloudlab.steering.faults import VANISHING, Kind


def vanish(cm: ComponentManager, nodes: NodeMethods) -> None:
    """Let those machines of a CM go that a fault is switched on for; the caller holds the mutex.

    One whose slice is locked, was shut down or has expired goes at a later look; so does one that only a
    ticket holds.
    """
    now = cm.around.clock.now()
    for machine in cm.machines.values():
        sliver = machine.holder
        if sliver is None:
            continue
        record = cm.slices[sliver.slice_urn]
        if record.lock.held or record.shut_down or record.expires <= now:
            continue
        if record.aggregate is None or sliver not in record.aggregate.nodes.values():
            continue
        fault = cm.around.faults.strike(cm.urn, machine.node_id, VANISHING)
        if fault is None:
            continue
        if fault.kind is Kind.VANISHES:
            nodes.delete_nodes(record, [sliver.client_id], str(fault.kind), taken=True)
        else:
            cm.lives.release(machine, str(fault.kind), taken=True)
