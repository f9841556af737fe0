"""How a method ends: with a value, a refusal in the envelope, or a fault (protogeni.md §1.4, §1.5)."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Response codes of GeniResponse.pm (protogeni-2021.md §2)."""

    SUCCESS = 0
    BADARGS = 1
    ERROR = 2
    FORBIDDEN = 3
    SERVER_ERROR = 5
    REFUSED = 7
    DATABASE_ERROR = 9
    RPC_ERROR = 10
    UNAVAILABLE = 11
    SEARCHFAILED = 12
    UNSUPPORTED = 13
    BUSY = 14
    IN_PROGRESS = 16
    NO_SPACE = 23
    VLAN_UNAVAILABLE = 24
    INSUFFICIENT_BANDWIDTH = 25
    INSUFFICIENT_NODES = 26
    INSUFFICIENT_MEMORY = 27
    NO_MAPPING = 28
    NO_CONNECT = 29
    TIMED_OUT = 35


DEFAULT_TEXT = {
    Code.SUCCESS: "",
    Code.BADARGS: "Bad Arguments",
    Code.ERROR: "Error",
    Code.FORBIDDEN: "Operation Forbidden",
    Code.SERVER_ERROR: "Server Error",
    Code.REFUSED: "Operation Refused",
    Code.DATABASE_ERROR: "Database Error",
    Code.RPC_ERROR: "RPC Error",
    Code.UNAVAILABLE: "Unavailable",
    Code.SEARCHFAILED: "Search Failed",
    Code.UNSUPPORTED: "Operation Unsupported",
    Code.BUSY: "Busy",
    Code.IN_PROGRESS: "Operation In Progress",
    Code.NO_SPACE: "Not Enough Space",
    Code.VLAN_UNAVAILABLE: "Vlan Unavailable",
    Code.INSUFFICIENT_BANDWIDTH: "Insufficient Bandwidth",
    Code.INSUFFICIENT_NODES: "Insufficient Nodes",
    Code.INSUFFICIENT_MEMORY: "Insufficient Memory",
    Code.NO_MAPPING: "No Mapping Possible",
    Code.NO_CONNECT: "Error 29",
    Code.TIMED_OUT: "Server timed out or could not be reached",
}


class RefusalError(Exception):
    """A method's answer other than success: code, output, and a value where the mapper has one."""

    def __init__(self, code: Code, output: str = "", value: object = 0) -> None:
        super().__init__(output or DEFAULT_TEXT[code])
        self.code = code
        self.output = output or DEFAULT_TEXT[code]
        self.value = value


UNDECODABLE = -32700
APPLICATION = -32500
OVERLOADED = 503


class FaultError(Exception):
    """An XML-RPC fault."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        self.text = text


class RaisedError(Exception):
    """The real method would have died here, with these words; the dispatcher answers with a fault."""


def malformed(detail: str = "") -> RefusalError:
    """Malformed arguments, code 1."""
    return RefusalError(Code.BADARGS, f"Malformed arguments: {detail}" if detail else "Malformed arguments")


def forbidden(text: str) -> RefusalError:
    """Code 3."""
    return RefusalError(Code.FORBIDDEN, text)


def busy(what: str) -> RefusalError:
    """Say that the lock is held: «X is busy; try again later», code 14."""
    return RefusalError(Code.BUSY, f"{what} is busy; try again later")


def starting() -> RefusalError:
    """Say that the monitor runs, code 14 too."""
    return RefusalError(Code.BUSY, "start/restart in progress; try again later")
