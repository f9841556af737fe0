"""Which machine for which node: the simulator's «assign». Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from testbed.cloudlab.answer import Code, RefusalError
from testbed.cloudlab.documents.request import RequestNode
from testbed.cloudlab.state import Machine


def place(requests: Sequence[RequestNode], machines: Collection[Machine]) -> dict[str, Machine]:
    """Give each request a free machine: client_id -> machine, bound requests first.

    Raises:
        RefusalError: code 26 when too few machines of a type are free, 28 when a bound machine is not;
            the value tells the reason, the output is the long log.
    """
    free = {machine.node_id: machine for machine in machines if machine.available}
    placed: dict[str, Machine] = {}
    for request in requests:
        if request.node_id:
            machine = free.pop(request.node_id, None)
            if machine is None:
                raise _unmapped(Code.NO_MAPPING, f"Fixed node {request.node_id} is not available")
            placed[request.client_id] = machine
    for request in requests:
        if request.node_id:
            continue
        kind = request.hardware_type
        fitting = [m for m in free.values() if kind in {m.hardware_type, m.node_class}]
        if not fitting:
            wanted = sum(1 for other in requests if not other.node_id and other.hardware_type == kind)
            had = sum(1 for m in machines if m.available and kind in {m.hardware_type, m.node_class})
            found = f"only {had} available nodes of type {kind} found"
            reason = f"{wanted} nodes of type {kind} requested, but {found}"
            raise _unmapped(Code.INSUFFICIENT_NODES, reason)
        placed[request.client_id] = free.pop(fitting[0].node_id)
    return placed


def _unmapped(code: Code, reason: str) -> RefusalError:
    log = (
        f"mapper: starting\n*** {reason}\nmapper: Not enough nodes or no mapping; giving up\nmapper: exit 2\n"
    )
    return RefusalError(code, log, f"Could not map to resources: {reason}")
