"""How a call ends that a fault strikes: what its method raises, what is sent (protogeni.md §1.4 to §1.6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from testbed.cloudlab import dates
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, busy, malformed
from testbed.cloudlab.steering.faults import Fault, Kind
from testbed.cloudlab.wire.https import Reply
from testbed.cloudlab.wire.wording import BROKE_OUTSIDE, TOO_BUSY, Wording
from testbed.cloudlab.wire.xmlrpc import encode_fault

UNDONE = frozenset({Kind.HTTP_503, Kind.HTML, Kind.DROP_BEFORE, Kind.SILENT})
"""Those that end a call before it comes to the method."""
_SAY_SLICE = frozenset({"CreateSliver", "AddNodes", "DeleteNodes", "RenewSlice"})
"""Methods whose refusal for a lock names the slice."""
_CODED = {
    Kind.SERVER_ERROR_5: (Code.SERVER_ERROR, "Internal Error: Can't call method on an undefined value"),
    Kind.DATABASE_ERROR: (Code.DATABASE_ERROR, ""),
    Kind.RPC_ERROR: (Code.RPC_ERROR, ""),
    Kind.NO_SPACE: (Code.NO_SPACE, "Over disk quota, please clean up"),
    Kind.NO_VLAN: (Code.VLAN_UNAVAILABLE, ""),
    Kind.THIRD_SERVER: (Code.TIMED_OUT, ""),
}
"""Faults that are a code and its text, and nothing else."""
_UNAVAILABLE_PAGE = b"<html><head><title>503 Service Unavailable</title></head><body></body></html>\n"
_PAGE = b"<html><body><h1>Down for maintenance</h1></body></html>\n"
_GARBAGE = b"Can't locate object method \xff\x00 via package GeniSlice at GeniCM.pm line 1.\n"


def error_of(fault: Fault, module: str, method: str, now: datetime, words: Wording) -> Exception | None:
    """Return what a method of ``sa`` or ``cm`` raises in place of its work; None where it does its work."""
    if fault.kind in _CODED:
        code, text = _CODED[fault.kind]
        # 35 tells in its value whether the third server was late (1) or not there (2).
        return RefusalError(code, text, 1 + fault.left % 2 if code is Code.TIMED_OUT else 0)
    match fault.kind:
        case Kind.BUSY:
            return busy("slice" if module == "sa" or method in _SAY_SLICE else "resource")
        case Kind.FAULT_503:
            return (words.offline if fault.left % 2 else TOO_BUSY).fault()
        case Kind.EXPIRED_CREDENTIAL:
            return malformed(f"invalid credential (expired at {dates.zulu(now - timedelta(minutes=1))})")
        case Kind.SERVER_ERROR_LOCKED:
            return RaisedError('Can\'t call method "UnLock" on an undefined value')
        case Kind.INTERNAL_ERROR:
            return RaisedError("Use of uninitialized value in concatenation (.) or string")
        case Kind.NO_SUCH_METHOD:
            return words.no_such_method(method)
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
        case Kind.DIES_AFTER:
            return Reply(encode_fault(BROKE_OUTSIDE.fault()))
        case Kind.DROP_AFTER | Kind.CUT_OFF:
            return None
        case _:
            return reply
