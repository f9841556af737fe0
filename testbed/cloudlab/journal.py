"""What happened: every call, callback, machine state and the time each machine was held."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Any, ClassVar, TypeVar

from testbed.waiting import PATIENCE

NAME = "journal.jsonl"

NOT_CARRIED_OUT = -1

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that a client made."""

    kind: ClassVar[str] = "call"
    time: float
    """Unix time at the end of the call; the same in every entry."""
    seconds: float
    """How long it took."""
    caller: str
    """URN of the caller; "" when the certificate names none."""
    authority: str
    """URN of the SA or CM that was called."""
    method: str
    code: int
    """Response code, or the number of a fault; ``NOT_CARRIED_OUT`` where a fault kept it from its work."""
    args: Mapping[str, object]
    """The arguments, cut short and without credentials."""
    output: str


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A call that the simulator made to the agent."""

    kind: ClassVar[str] = "callback"
    time: float
    authority: str
    method: str
    nodelist: tuple[Mapping[str, object], ...]
    code: int | None
    """Code of the reply; None when there was no usable reply."""
    released: tuple[str, ...]
    """node_ids that the reply released with max_wait_time 0."""
    error: str = ""
    """Why there was no usable reply."""


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """A machine came into another state."""

    kind: ClassVar[str] = "machine"
    time: float
    authority: str
    """URN of its CM; the same in every entry."""
    node_id: str
    event: str
    slice_urn: str
    client_id: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A machine was held by a slice over some time."""

    kind: ClassVar[str] = "held"
    time: float
    authority: str
    node_id: str
    slice_urn: str
    client_id: str
    start: float
    end: float
    cause: str
    """Why it ended, such as ``DeleteNodes`` or ``revoked``."""


@dataclass(frozen=True, kw_only=True)
class FaultStruck:
    """A fault that was switched on struck; the entry of the call that it struck comes after it."""

    kind: ClassVar[str] = "fault"
    time: float
    authority: str
    """URN of the SA or CM where it struck."""
    place: str
    """The method or the node_id."""
    fault: str
    """Kind of the fault."""
    left: int
    """How often it will strike again."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something else worth knowing, such as a steering command."""

    kind: ClassVar[str] = "note"
    time: float
    text: str


Entry = Call | Callback | MachineState | Held | FaultStruck | Note


class Journal:
    """Append-only JSON lines in a file, and the same entries in memory. Safe for many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            path.replace(path.with_name(f"{path.name}.1"))
        self._file = path.open("w", encoding="utf-8")
        self._changed = Condition()
        self._entries: list[Entry] = []
        self._open: dict[tuple[str, str], Held] = {}
        """CM and node_id -> what lasts."""

    def add(self, entry: Entry) -> None:
        """Append an entry and wake those who wait. Entries after ``close`` are kept in memory only."""
        line = json.dumps(as_json(entry), default=str)
        with self._changed:
            self._entries.append(entry)
            if not self._file.closed:
                self._file.write(f"{line}\n")
                self._file.flush()
            self._changed.notify_all()

    def note(self, text: str) -> None:
        """Append a note."""
        self.add(Note(time=time.time(), text=text))

    def hold(self, authority: str, node_id: str, slice_urn: str, client_id: str) -> None:
        """Begin the time that a slice holds a machine of a CM."""
        now = time.time()
        begun = Held(
            time=now,
            authority=authority,
            node_id=node_id,
            slice_urn=slice_urn,
            client_id=client_id,
            start=now,
            end=now,
            cause="",
        )
        with self._changed:
            self._open[authority, node_id] = begun

    def unhold(self, authority: str, node_id: str, cause: str) -> None:
        """End that time."""
        now = time.time()
        with self._changed:
            begun = self._open.pop((authority, node_id), None)
        if begun is not None:
            self.add(dataclasses.replace(begun, time=now, end=now, cause=cause))

    def close(self) -> None:
        """End all open times and close the file."""
        with self._changed:
            held = list(self._open)
        for authority, node_id in held:
            self.unhold(authority, node_id, "the test bed stopped")
        with self._changed:
            self._file.close()

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries so far."""
        with self._changed:
            return tuple(self._entries)

    def calls(
        self, method: str | None = None, *, authority: str | None = None, code: int | None = None
    ) -> list[Call]:
        """Return the calls, oldest first, that match all that is given."""
        return [
            entry
            for entry in self.entries()
            if isinstance(entry, Call)
            and method in (None, entry.method)
            and authority in (None, entry.authority)
            and code in (None, entry.code)
        ]

    def callbacks(self, method: str | None = None, *, code: int | None = None) -> list[Callback]:
        """Return the callbacks, oldest first, that match all that is given."""
        return [
            entry
            for entry in self.entries()
            if isinstance(entry, Callback) and method in (None, entry.method) and code in (None, entry.code)
        ]

    def faults(self, place: str | None = None, *, fault: str | None = None) -> list[FaultStruck]:
        """Return the strikes of faults, oldest first, that match all that is given."""
        return [
            entry
            for entry in self.entries()
            if isinstance(entry, FaultStruck)
            and place in (None, entry.place)
            and fault in (None, entry.fault)
        ]

    def states(self, node_id: str) -> list[MachineState]:
        """Return the states that a machine came into, oldest first."""
        return [e for e in self.entries() if isinstance(e, MachineState) and e.node_id == node_id]

    def held(self, node_id: str | None = None, *, authority: str | None = None) -> list[Held]:
        """Return the times machines were held, those that match all that is given.

        One that still lasts ends now, with cause "".
        """
        now = time.time()
        with self._changed:
            closed = [entry for entry in self._entries if isinstance(entry, Held)]
            lasting = [dataclasses.replace(begun, end=now) for begun in self._open.values()]
        return [
            entry
            for entry in [*closed, *lasting]
            if node_id in (None, entry.node_id) and authority in (None, entry.authority)
        ]

    def held_seconds(self, node_id: str | None = None) -> float:
        """Return for how many real seconds a machine (or all together) was held."""
        return sum(entry.end - entry.start for entry in self.held(node_id))

    def wait_for(self, predicate: Callable[[], _T], timeout: float = PATIENCE) -> _T:
        """Wait until ``predicate`` is true, looking after every entry; return what it returned.

        Raises:
            TimeoutError: it was not within ``timeout`` real seconds; the last entries are named.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen = len(self._entries)
            result = predicate()
            if result:
                return result
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    tail = "\n".join(describe(as_json(entry)) for entry in self._entries[-8:])
                    raise TimeoutError(f"not within {timeout:g} s; the last entries are:\n{tail}")
                # A predicate may look at what is not journalled: look again now and then.
                if len(self._entries) == seen:
                    self._changed.wait(min(left, 0.2))


def as_json(entry: Entry) -> dict[str, Any]:
    """Return what is written into the file for an entry."""
    return {"kind": entry.kind, **dataclasses.asdict(entry)}


def describe(entry: Mapping[str, Any]) -> str:
    """Tell an entry of the file in one line."""
    stamp = float(entry["time"])
    clock = time.strftime("%H:%M:%S", time.localtime(stamp)) + f".{int(stamp % 1 * 1000):03d}"
    return f"{clock} {entry['kind']:<8} {_words(entry)}"


def _words(entry: Mapping[str, Any]) -> str:
    match entry["kind"]:
        case "call":
            caller = str(entry["caller"]).rpartition("+")[2]
            where = _authority(entry["authority"])
            return f"{caller} -> {where} {entry['method']} code {entry['code']} {entry['output']}".rstrip()
        case "callback":
            nodes = ", ".join(_node(item) for item in entry["nodelist"])
            reply = entry["error"] or f"code {entry['code']}" + _released(entry["released"])
            return f"{_authority(entry['authority'])} {entry['method']} [{nodes}]: {reply}"
        case "machine":
            holder = f" {entry['client_id']} of {entry['slice_urn']}" if entry["slice_urn"] else " free"
            return f"{entry['node_id']} {entry['event']}{holder} {entry['note']}".rstrip()
        case "fault":
            where = _authority(entry["authority"])
            return f"{entry['fault']} strikes {entry['place']} at {where}, {entry['left']} to come"
        case "held":
            return (
                f"{entry['node_id']} held by {entry['slice_urn']} for {entry['end'] - entry['start']:.1f} s, "
                f"until {entry['cause']}"
            )
        case _:
            return str(entry.get("text", ""))


def _authority(urn: str) -> str:
    parts = urn.split("+")
    return f"{parts[-1]} of {parts[1]}" if len(parts) == 4 else urn


def _node(item: Mapping[str, Any]) -> str:
    told = item.get("max_wait_time", item.get("value"))
    return f"{item['node_id']}={told}"


def _released(node_ids: Iterable[str]) -> str:
    names = " ".join(node_ids)
    return f", releases {names}" if names else ""
