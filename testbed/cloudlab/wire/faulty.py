"""How a call ends that a fault strikes: what its method raises, what is sent (protogeni.md §1.4 to §1.6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from testbed.cloudlab import dates
from testbed.cloudlab.answer import (
    NO_SUCH_METHOD,
    Code,
    FaultError,
    RaisedError,
    RefusalError,
    busy,
    malformed,
)
from testbed.cloudlab.steering.faults import Fault, Kind
from testbed.cloudlab.wire.https import Reply

UNDONE = frozenset({Kind.HTTP_503, Kind.HTML, Kind.DROP_BEFORE, Kind.SILENT})
"""Those that end a call before it comes to the method."""
_SAY_SLICE = frozenset({"CreateSliver", "AddNodes", "DeleteNodes", "RenewSlice"})
"""Methods whose refusal for a lock names the slice."""
_OVERLOADED = 503
_OVERLOADED_TEXTS = (
    "Server is WAY too busy; please try again later",
    "CM temporarily offline; please try again later",
)
_UNAVAILABLE_PAGE = b"<html><head><title>503 Service Unavailable</title></head><body></body></html>\n"
_PAGE = b"<html><body><h1>Down for maintenance</h1></body></html>\n"
_GARBAGE = b"Can't locate object method \xff\x00 via package GeniSlice at GeniCM.pm line 1.\n"


def error_of(fault: Fault, module: str, method: str, now: datetime) -> Exception | None:
    """Return what a method of ``sa`` or ``cm`` raises in place of its work; None where it does its work."""
    match fault.kind:
        case Kind.BUSY:
            return busy("slice" if module == "sa" or method in _SAY_SLICE else "resource")
        case Kind.FAULT_503:
            return FaultError(_OVERLOADED, _OVERLOADED_TEXTS[fault.left % 2])
        case Kind.EXPIRED_CREDENTIAL:
            return malformed(f"invalid credential (expired at {dates.zulu(now - timedelta(minutes=1))})")
        case Kind.SERVER_ERROR_LOCKED:
            return RaisedError(f"{method} died with the slice lock held")
        case Kind.INTERNAL_ERROR:
            return RaisedError(f"{method} died")
        case Kind.NO_SUCH_METHOD:
            return FaultError(NO_SUCH_METHOD, f"no such method {method}")
        case Kind.INSUFFICIENT:
            reason = "1 nodes of type pc requested, but only 0 available nodes of type pc found"
            log = f"mapper: starting\n*** {reason}\nmapper: Not enough nodes\n"
            return RefusalError(Code.INSUFFICIENT_NODES, log, f"Could not map to resources: {reason}")
        case _:
            return None


def instead_of_work(kind: Kind) -> Reply | None:
    """Return the reply of a fault in ``UNDONE``; None to close the connection."""
    match kind:
        case Kind.HTTP_503:
            return Reply(_UNAVAILABLE_PAGE, status=503, content_type="text/html")
        case Kind.HTML:
            return Reply(_PAGE, content_type="text/html")
        case _:
            return None


def instead_of_reply(kind: Kind, reply: Reply | None) -> Reply | None:
    """Return what is sent in place of the reply to work that was done; None to close the connection."""
    match kind:
        case Kind.GARBAGE:
            return Reply(_GARBAGE)
        case Kind.DROP_AFTER | Kind.CUT_OFF:
            return None
        case _:
            return reply
