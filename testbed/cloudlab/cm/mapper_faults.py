"""Why the mapper finds nothing although machines are free, as faults have it (protogeni-2021.md §3.8)."""

from __future__ import annotations

from testbed.cloudlab.answer import Code, RefusalError
from testbed.cloudlab.cm.mapper_log import PRECHECK, unmapped
from testbed.cloudlab.steering.faults import Kind

_REASONS = {
    Kind.NO_BANDWIDTH: (Code.INSUFFICIENT_BANDWIDTH, "Not enough bandwidth to connect some nodes"),
    Kind.NO_INTERFACES: (Code.INSUFFICIENT_NODES, "Not enough nodes with fast enough interfaces"),
    Kind.NO_MEMORY: (Code.INSUFFICIENT_MEMORY, "Not enough memory"),
    Kind.NO_CONNECT: (Code.NO_CONNECT, "Cannot map some links to physical devices"),
}


def refusal(kind: Kind, client_id: str, generation: int) -> RefusalError:
    """Return what a server of a generation answers; ``client_id`` is the node that stands in the way."""
    match kind:
        case Kind.ADMISSION:
            return unmapped(Code.NO_MAPPING, "*** Failed admission control checks!\n")
        case Kind.NO_ADDRESSES:
            return RefusalError(Code.NO_MAPPING, "Could not allocate public address pools")
        case Kind.NO_FIT:
            log = f"  *** No possible mapping for {client_id}\n      No suitable physical nodes\n"
            return unmapped(Code.NO_MAPPING, log, PRECHECK)
        case _:
            code, reason = _REASONS[kind]
            if generation < 2021 and code is Code.NO_CONNECT:
                code = Code.INSUFFICIENT_BANDWIDTH
            return unmapped(code, f"*** {reason}\n", reason)
