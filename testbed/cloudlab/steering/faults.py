"""Faults that are switched on by hand: what goes wrong, where, and how often.

The rest of the simulator asks ``Faults.strike`` at the places where something can go wrong; each strike is
journalled. What a fault looks like to the client is told in protogeni.md §1.4 to §1.6, §3.5 and §3.7;
``wire/faulty.py`` writes it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from threading import Event, Lock

from testbed.cloudlab.journal import FaultStruck, Journal
from testbed.cloudlab.steering.control import SteeringError

ANYWHERE = "*"
"""As a place: every method, or every machine."""
MOST_TIMES = 1_000_000
LONGEST = 3600.0
"""Real seconds that a slow reply, or silence, may take."""
_BRIEFLY = 0.1
"""Real seconds until it is seen that a simulator stops."""


class Kind(StrEnum):
    """What goes wrong."""

    BUSY = "busy"
    """Code 14, nothing done (§1.6)."""
    FAULT_503 = "fault503"
    """XML-RPC fault 503, nothing done; the two texts take turns (§1.5)."""
    HTTP_503 = "http503"
    """HTTP status 503, nothing done (§1.5)."""
    UNREACHABLE = "unreachable"
    """The connection is closed before a byte of the call is sent: it strikes all methods or none."""
    DROP_BEFORE = "drop-before"
    """The connection is closed without a reply, nothing done."""
    DROP_AFTER = "drop-after"
    """The connection is closed without a reply, after the work was done (§3.13)."""
    CUT_OFF = "cut-off"
    """As ``drop-after``; from then on that authority is unreachable, until the faults are cleared."""
    SILENT = "silent"
    """Nothing done; the connection is closed without a reply, some real seconds later."""
    SLOW = "slow"
    """The work is done; the reply comes some real seconds later."""
    GARBAGE = "garbage"
    """The work is done; the reply is not XML."""
    HTML = "html"
    """HTTP status 200 with a page, nothing done."""
    EXPIRED_CREDENTIAL = "expired-credential"
    """Code 1, «expired at», nothing done (§2)."""
    SERVER_ERROR_LOCKED = "server-error-locked"
    """A method's death, nothing done, and the slice lock is left held until ``unlock`` (§1.5).

    Strikes calls for a slice that is there and whose lock is free.
    """
    INTERNAL_ERROR = "internal-error"
    """A method's death, nothing done (§1.5): fault -32600, or -32400 with Perl's message."""
    DIES_AFTER = "dies-after"
    """Fault -32400 «XMLRPC Server Error», after the work was done (§1.5)."""
    NO_SUCH_METHOD = "no-such-method"
    """The fault of an unknown method, nothing done (§1.5): -32497, or -32601."""
    INSUFFICIENT = "insufficient"
    """Code 26 with the mapper's words in value, nothing done (§3.3)."""
    SERVER_ERROR_5 = "code5"
    """Code 5, nothing done: the method caught its own death (protogeni-2021.md §2)."""
    DATABASE_ERROR = "code9"
    """Code 9, nothing done: passed on from another server, as are 10 and 35 (protogeni-2021.md §3.6)."""
    RPC_ERROR = "code10"
    """Code 10, nothing done."""
    NO_SPACE = "code23"
    """Code 23 «Over disk quota, please clean up», nothing done (protogeni-2021.md §3.8)."""
    NO_VLAN = "code24"
    """Code 24, nothing done."""
    NO_BANDWIDTH = "code25"
    """Code 25 of the mapper, once all checks have passed."""
    NO_MEMORY = "code27"
    """Code 27 of the mapper."""
    NO_CONNECT = "code29"
    """Code 29 of the mapper, or 25 at a server of 2016: links cannot be wired (protogeni-2021.md §3.8)."""
    THIRD_SERVER = "code35"
    """Code 35, nothing done: another server was late, or not there (protogeni-2021.md §1.9)."""
    ERROR_ALTHOUGH_ADDED = "addnodes-error-although-added"
    """Code 2 although the machines are in the manifest; they are not started (§3.7, check 13)."""
    NO_INTERFACES = "no-fast-interfaces"
    """Code 26 of the mapper: links are faster than any free machine (protogeni-2021.md §3.8)."""
    NO_FIT = "no-mapping"
    """Code 28 of the mapper: no machine fits a node."""
    ADMISSION = "admission-control"
    """Code 28 of the mapper: failed admission control checks."""
    NO_ADDRESSES = "no-addresses"
    """Code 28: no routable addresses are left."""
    GONE_IN_PHASE_TWO = "gone-in-phase-two"
    """Code 2: a machine of the slice went while that was changed, once it was mapped (§3.11 there)."""
    RENEWED_MEANWHILE = "renewed-meanwhile"
    """Code 7: the slice was renewed while it was changed (§3.6 there)."""
    OTHER_ADVERTISEMENT = "other-advertisement"
    """The document of a call with the other version and the other filter (§3.2)."""
    BOOT_NEVER_ENDS = "boot-never-ends"
    """A machine hangs in BOOTING: it reads changing for ever (§3.5)."""
    RELOAD_NEVER_ENDS = "reload-never-ends"
    """A machine hangs in RELOADING: it is waited for as long as any (protogeni-2021.md §3.9)."""
    BOOT_FAILS = "boot-fails"
    """A machine ends in TBFAILED, with a boot log (§3.5)."""
    RELOAD_FAILS = "reload-fails"
    """A machine ends in RELOADFAILED, with a boot log (§3.5). Strikes boots that load an image."""
    VANISHES = "vanishes"
    """A held machine leaves the manifest without a word to the agent (§6.4)."""
    UNRESERVED = "unreserved"
    """A held machine loses its reservation and stays in the manifest.

    SliverStatus answers with code 2 until it is deleted (§3.5), AddNodes with 28 (protogeni-2021.md §3.11).
    """
    NOT_LISTED = "not-listed"
    """A manifest lacks a held machine, which stays held.

    Strikes each document by itself, as the three below.
    """
    NO_SLIVER_ID = "no-sliver-id"
    """A manifest has a held machine without its sliver_id."""
    EMPTY_SLIVER_ID = "empty-sliver-id"
    """A manifest has a held machine whose sliver_id is empty."""
    EQUAL_SLIVER_ID = "equal-sliver-id"
    """A manifest has a held machine under the sliver_id of the whole: all that it strikes have the same."""


FAILED_EVENTS = {Kind.BOOT_FAILS: "TBFAILED", Kind.RELOAD_FAILS: "RELOADFAILED"}
STRIKES_AT = {
    Kind.BOOT_NEVER_ENDS: "BOOTING",
    Kind.BOOT_FAILS: "BOOTING",
    Kind.RELOAD_NEVER_ENDS: "RELOADING",
    Kind.RELOAD_FAILS: "RELOADING",
}
"""Faults of a boot, and the event at which they come out."""
VANISHING = frozenset({Kind.VANISHES, Kind.UNRESERVED})
MISPRINTS = frozenset({Kind.NOT_LISTED, Kind.NO_SLIVER_ID, Kind.EMPTY_SLIVER_ID, Kind.EQUAL_SLIVER_ID})
"""Faults of a machine in a manifest."""
MACHINE_KINDS = VANISHING | MISPRINTS | STRIKES_AT.keys()
MAPPER_KINDS = frozenset(
    {
        Kind.NO_BANDWIDTH,
        Kind.NO_INTERFACES,
        Kind.NO_MEMORY,
        Kind.NO_FIT,
        Kind.NO_CONNECT,
        Kind.ADMISSION,
        Kind.NO_ADDRESSES,
    }
)
"""What keeps the mapper from finding machines, besides that there are none."""
_CHANGING = MAPPER_KINDS | {Kind.GONE_IN_PHASE_TWO, Kind.RENEWED_MEANWHILE}
INSIDE_METHODS = _CHANGING | {Kind.ERROR_ALTHOUGH_ADDED, Kind.OTHER_ADVERTISEMENT}
"""Those for which the method itself asks."""
CALL_KINDS = frozenset(Kind) - MACHINE_KINDS - INSIDE_METHODS - {Kind.UNREACHABLE}
"""Those for which the dispatcher asks, whatever the method."""
_CREATES = frozenset({"CreateSliver", "AddNodes", "GetTicket", "UpdateTicket", "UpdateSliver"})
_MAPS = _CREATES | {"DeleteNodes"}
_ONLY = {
    Kind.SERVER_ERROR_5: frozenset({"CreateSliver"}),
    Kind.NO_SPACE: _CREATES,
    **dict.fromkeys((Kind.DATABASE_ERROR, Kind.RPC_ERROR, Kind.THIRD_SERVER, Kind.NO_VLAN), _MAPS),
    Kind.INSUFFICIENT: frozenset({"CreateSliver", "AddNodes"}),
    Kind.ERROR_ALTHOUGH_ADDED: frozenset({"AddNodes"}),
    Kind.OTHER_ADVERTISEMENT: frozenset({"DiscoverResources"}),
    Kind.UNREACHABLE: frozenset({ANYWHERE}),
    **dict.fromkeys(MAPPER_KINDS, frozenset({"CreateSliver", "AddNodes", "DeleteNodes"})),
    **dict.fromkeys(_CHANGING - MAPPER_KINDS, frozenset({"AddNodes", "DeleteNodes"})),
}
_WITHOUT_LOCK = frozenset({"GetVersion", "DiscoverResources", "GetKeys", "Register"})


@dataclass(frozen=True)
class Fault:
    """One fault that is switched on."""

    place: str
    """What it strikes: a method, or a node_id, or all machines of the CM of this URN; ``*`` for all."""
    kind: Kind
    left: int
    """How often it will still strike."""
    at: str = ""
    """URN of the only SA or CM where it strikes; "" for everywhere."""
    seconds: float = 5.0
    """Real seconds that a slow reply, or silence, takes."""


@dataclass(frozen=True)
class Known:
    """What faults can be switched on for."""

    methods: Collection[str]
    machines: Mapping[str, tuple[str, str]]
    """Name on this computer -> node_id, and URN of the CM."""
    authorities: Mapping[str, str]
    """``sa``, domains of CMs and URNs -> URN."""


def checked(place: str, kind: str, times: int, *, at: str, seconds: float, known: Known) -> Fault:
    """Check what somebody typed; return the fault.

    Raises:
        SteeringError: no such kind, place or authority, no kind for this place, or numbers out of range.
    """
    try:
        sort = Kind(kind)
    except ValueError as error:
        raise SteeringError(f"unknown fault {kind!r}; there are {', '.join(Kind)}") from error
    if isinstance(times, bool) or not 1 <= times <= MOST_TIMES:
        raise SteeringError(f"times must be from 1 to {MOST_TIMES}, not {times}")
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST):
        raise SteeringError(f"seconds must be a number from 0 to {LONGEST:g}, not {seconds}")
    if at and at not in known.authorities:
        raise SteeringError(f"there is no authority {at!r}; there are {', '.join(known.authorities)}")
    if sort in MACHINE_KINDS:
        place = known.authorities.get(place, place)
        if place not in {ANYWHERE, *known.machines, *known.authorities.values()}:
            raise SteeringError(f"{kind} strikes machines: {place!r} is neither a machine nor a CM")
        if place in known.machines:
            place, at = known.machines[place]
    else:
        _check_method(place, sort, known.methods)
    return Fault(place, sort, times, at=known.authorities[at] if at else "", seconds=seconds)


def _check_method(place: str, kind: Kind, methods: Collection[str]) -> None:
    if place != ANYWHERE and place not in methods:
        raise SteeringError(f"there is no method {place!r}; there are {', '.join(sorted(methods))}")
    if kind in _ONLY and place not in _ONLY[kind]:
        raise SteeringError(f"{kind} is a fault of {' and '.join(sorted(_ONLY[kind]))}, not of {place}")
    if kind is Kind.SERVER_ERROR_LOCKED and place in _WITHOUT_LOCK:
        raise SteeringError(f"{place} takes no lock that could be left held")


class Faults:
    """The faults that are switched on. Safe for many threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = Lock()
        self._on: list[Fault] = []
        self._cleared = Event()

    def add(self, fault: Fault) -> None:
        """Switch a fault on; those of the same place strike in the order they were added."""
        with self._lock:
            self._on.append(fault)

    def clear(self) -> int:
        """Switch all faults off, and end pauses; return how many faults there were."""
        with self._lock:
            count = len(self._on)
            self._on.clear()
            self._cleared.set()
            self._cleared = Event()
        return count

    def all(self) -> tuple[Fault, ...]:
        """Return the faults that will still strike, oldest first."""
        with self._lock:
            return tuple(self._on)

    def pause(self, seconds: float, stopping: Event) -> None:
        """Wait so many real seconds, or until the faults are cleared or the simulator stops."""
        cleared, end = self._cleared, time.monotonic() + seconds
        while not stopping.is_set() and (left := end - time.monotonic()) > 0:
            if cleared.wait(min(left, _BRIEFLY)):
                return

    def strike(self, authority: str, place: str, kinds: Collection[Kind]) -> Fault | None:
        """Return the oldest fault of these kinds for a place of an authority, and use up one of its times.

        ``left`` of what is returned is the number before this strike. None when nothing goes wrong.
        """
        with self._lock:
            index = next(
                (
                    number
                    for number, fault in enumerate(self._on)
                    if fault.kind in kinds
                    and fault.place in {place, authority, ANYWHERE}
                    and fault.at in {"", authority}
                ),
                None,
            )
            if index is None:
                return None
            fault = self._on[index]
            left = fault.left - 1
            if left:
                self._on[index] = dataclasses.replace(fault, left=left)
            else:
                del self._on[index]
            if fault.kind is Kind.CUT_OFF:
                self._on.append(Fault(ANYWHERE, Kind.UNREACHABLE, MOST_TIMES, at=authority))
        self._journal.add(
            FaultStruck(time=time.time(), authority=authority, place=place, fault=str(fault.kind), left=left)
        )
        return fault
