"""What scontrol and sinfo print, as values: pure, and exact or an error.

Text of ``scontrol -o show nodes`` and ``show reservations`` is read on every release from 22.05 to 26.05.
Free text (a reason, a comment, features, the operating system) may hold anything, also whole records like
Slurm's own. Times are seconds (``SLURM_TIME_FORMAT=%s``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from agent.core.errors import SlurmError
from agent.core.letters import read_json
from agent.slurm.layout import Layout, layout_of_json
from agent.slurm.model import Node
from agent.slurm.names import expand
from agent.slurm.reservation import Reservation

_WORD = r"[A-Z_]+"

_RECORD = re.compile(r"^NodeName=", re.MULTILINE)
_HEAD = re.compile(
    r"NodeName=(?P<name>\S+) (?:Arch=\S+ )?(?:CpuBind=\S+ )?CoresPerSocket=(?P<cores>\d+) +"
    r"CPUAlloc=(?P<allocated>\d+) (?:CPUEfctv=(?P<usable>\d+) )?CPUTot=(?P<cpus>\d+) "
    r"CPULoad=\S+ (?=AvailableFeatures=)",
    re.ASCII,
)
_CORE = re.compile(
    r" RealMemory=(?P<memory>\d+) AllocMem=(?P<used>\d+) FreeMem=\S+ Sockets=(?P<sockets>\d+) Boards=\d+ "
    r"(?:\w+=\S* +){0,3}?(?:MemSpecLimit=(?P<system>\d+) +)?(?:RestrictedCoresPerGPU=\S+ +)?"
    rf"State=(?P<state>{_WORD}(?:\+{_WORD})*) ThreadsPerCore=(?P<threads>\d+) TmpDisk=(?P<disk>\d+) "
    r"Weight=(?P<weight>\d+) Owner=\S+ MCS_label=\S+ +(?:NextState=\S+ +)?"
    r"(?:Partitions=(?P<partitions>\S*) +)?BootTime=",
    re.ASCII,
)
"""The part of a node's record that holds no free text."""
_BETWEEN = re.compile(
    r"AvailableFeatures=.* ActiveFeatures=(?P<features>.*) Gres=(?P<gres>.*) NodeAddr=(?P<address>\S*)"
    r" NodeHostName=.*",
    re.DOTALL,
)
_SET_BY = re.compile(r" \[[^\s\[\]]+@[^\s\[\]@]+\]")
_TAIL = re.compile(
    r"(?P<booted>\d+|None)(?: +SlurmdStartTime=\S*)?(?: +LastBusyTime=(?P<busy>\d+))?"
    r"(?: +(?!Reason=|Comment=|Extra=)\w+=\S*)*"
    r"(?: +Reason=(?P<reason>[^\n]*?) \[(?P<by>[^\s\[\]]+)@[^\s\[\]@]+\](?: \w+=.*)?"
    r"| +(?:Comment|Extra)=.*)?\s*",
    re.DOTALL | re.ASCII,
)


_SOCKETS = re.compile(r"\(S:[\d,-]*\)")


class InexactTextError(SlurmError):
    """Free text in ``scontrol -o show nodes`` looks like part of a record: read the same another way."""


def parse_nodes(text: str) -> dict[str, Node]:
    """Read ``scontrol -o show nodes``.

    Every line that Slurm itself began is found, and each part of a record once in it; so the result is exact
    **if every name in it exists in Slurm**, which the caller has to see to: a comment may end with a line
    that is a whole record of a node that does not exist.

    Raises:
        InexactTextError: a record is cut, or something in it is found twice.
    """
    starts = [m.start() for m in _RECORD.finditer(text)]
    nodes: dict[str, Node] = {}
    if text and (not starts or starts[0] != 0 or not text.endswith("\n")):
        raise InexactTextError(f"expected a list of nodes from scontrol, got {text[:80]!r}")
    for start, end in pairwise([*starts, len(text)]):
        node = _node(text[start:end])
        if node.name in nodes:
            raise InexactTextError(f"node {node.name} is listed twice")
        nodes[node.name] = node
    return nodes


def _node(record: str) -> Node:
    """Read one record; ``record`` begins with ``NodeName=`` and may span lines."""
    head = _HEAD.match(record)
    cores = list(_CORE.finditer(record))
    if head is None or len(cores) != 1:
        raise InexactTextError(f"cannot tell the fields of {record[:80]!r} apart")
    core = cores[0]
    middle, tail = record[head.end() : core.start()], record[core.end() :]
    between, end = _BETWEEN.fullmatch(middle), _TAIL.fullmatch(tail)
    keys = (" ActiveFeatures=", " Gres=", " NodeAddr=", " NodeHostName=")
    if between is None or end is None or any(middle.count(k) != 1 for k in keys):
        raise InexactTextError(f"cannot tell the fields of node {head['name']} apart")
    reason = end["reason"]
    if reason is not None and len(_SET_BY.findall(tail)) != 1:
        raise InexactTextError(f"cannot tell where the reason of node {head['name']} ends")
    state, *flags = core["state"].split("+")
    return Node(
        name=head["name"],
        state=state,
        flags=frozenset(flags),
        address=between["address"],
        weight=int(core["weight"]),
        features=_words(between["features"]),
        cpus=int(head["cpus"]),
        allocated_cpus=int(head["allocated"]),
        memory=int(core["memory"]),
        reason=reason or "",
        reason_user=end["by"] or "",
        partitions=tuple(filter(None, (core["partitions"] or "").split(","))),
        booted=None if end["booted"] == "None" else _timestamp(int(end["booted"])),
        allocated_memory=int(core["used"]),
        gres=_gres(between["gres"]),
        layout=Layout(
            sockets=int(core["sockets"]),
            cores=int(head["cores"]),
            threads=int(core["threads"]),
            usable_cpus=int(head["usable"] or 0),
            system_memory=int(core["system"] or 0),
            tmp_disk=int(core["disk"]),
        ),
        last_busy=_timestamp(int(end["busy"])) if end["busy"] else None,
    )


def _words(text: str) -> frozenset[str]:
    return frozenset() if text == "(null)" else frozenset(filter(None, text.split(",")))


def _gres(text: str) -> str:
    """Drop which sockets they sit at: ``gpu:2(S:0-1)``."""
    return "" if text == "(null)" else _SOCKETS.sub("", text)


def parse_nodes_json(text: str) -> dict[str, Node]:
    """Read the ``nodes`` of ``sinfo --json`` (22.05) or ``scontrol show nodes --json`` (24.11 and later).

    Raises:
        SlurmError: it is not that, or it carries errors.
    """
    try:
        document = read_json(text)
        if document.get("errors"):
            raise SlurmError(f"Slurm's list of nodes carries errors: {str(document['errors'])[:300]}")
        return {node.name: node for node in map(_node_from_json, document["nodes"])}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SlurmError(f"expected a list of nodes in JSON from Slurm: {error!r}") from error


def _node_from_json(record: dict[str, Any]) -> Node:
    """Read one node: 22.05 writes scalars and strings, later ones lists and ``{set, infinite, number}``."""
    stated = record["state"]
    words = [stated, *record["state_flags"]] if isinstance(stated, str) else stated
    state, *flags = (word.upper() for word in words)
    features = record["active_features"]
    booted, reason = _number(record["boot_time"]), record["reason"]
    busy = _number(record.get("last_busy", 0))
    return Node(
        name=record["name"],
        state=state,
        flags=frozenset(flags),
        address=record["address"],
        weight=_number(record["weight"]),
        features=_words(features) if isinstance(features, str) else frozenset(features),
        cpus=_number(record["cpus"]),
        allocated_cpus=_number(record["alloc_cpus"]),
        memory=_number(record["real_memory"]),
        reason=reason,
        reason_user=(record["reason_set_by_user"] or "") if reason else "",
        partitions=tuple(record["partitions"]),
        booted=_timestamp(booted) if booted else None,
        allocated_memory=_number(record["alloc_memory"]),
        gres=_gres(record["gres"]),
        layout=layout_of_json(record),
        last_busy=_timestamp(busy) if busy else None,
    )


def _number(value: Any) -> int:
    return int(value["number"] if isinstance(value, dict) else value)


_RESERVATION_HEAD = re.compile(
    r" StartTime=(?P<starts>\d+) EndTime=(?P<ends>\d+) Duration=\S+ +Nodes=(?P<nodes>\S+) NodeCnt=\d+(?= )",
    re.ASCII,
)
_RESERVATION_FLAGS = re.compile(
    r"(?: PartitionName=(?P<partition>\S+))? Flags=(?P<flags>[A-Z0-9_,:+=-]*) "
    r"(?: *NodeName=\S* CoreIDs=\S* )*TRES=(?:cpu=(?P<cpus>\d+))?\S*"
    r"(?: AllowedPartitions=\S+ QOS=\S+)?(?: Users=(?P<users>\S+))?",
    re.ASCII,
)
_NO_LIMIT = frozenset({"infinite", "UNLIMITED", "n/a", "NONE"})
_NO_RESERVATIONS = "No reservations in the system"


def parse_reservations(text: str) -> tuple[Reservation, ...]:
    """Read ``scontrol -o show reservations``, times in seconds (``SLURM_TIME_FORMAT=%s``).

    A name may hold anything that its maker liked, and Slurm prints it as it is.

    Raises:
        SlurmError: the list is cut, or the fields of a reservation cannot be told apart.
    """
    if not text.strip() or text.strip() == _NO_RESERVATIONS:
        return ()
    starts = [m.start() for m in re.finditer("^ReservationName=", text, re.MULTILINE)]
    if not starts or starts[0] != 0 or not text.endswith("\n"):
        raise SlurmError(f"expected a list of reservations from scontrol, got {text[:80]!r}")
    return tuple(_reservation(text[a:b]) for a, b in pairwise([*starts, len(text)]))


def _reservation(record: str) -> Reservation:
    heads, tails = list(_RESERVATION_HEAD.finditer(record)), list(_RESERVATION_FLAGS.finditer(record))
    if len(heads) != 1 or len(tails) != 1 or tails[0].start() < heads[0].end():
        raise SlurmError(f"cannot tell the fields of reservation {record[:160]!r} apart")
    head, tail = heads[0], tails[0]
    return Reservation(
        name=record[: head.start()].removeprefix("ReservationName="),
        nodes=expand(head["nodes"]),
        starts=_timestamp(int(head["starts"])),
        ends=_timestamp(int(head["ends"])),
        flags=frozenset(filter(None, (flag.partition("=")[0] for flag in tail["flags"].split(",")))),
        partition="" if tail["partition"] in {None, "(null)"} else tail["partition"],
        users=_words(tail["users"] or "(null)"),
        cpus=int(tail["cpus"] or 0),
    )


def _timestamp(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SlurmError(f"expected a time in seconds from Slurm, got {seconds}") from error


def parse_limited(text: str) -> Iterator[str]:
    """Read ``sinfo -o '%R|%l|%L'``: yield the partitions with a MaxTime or a DefaultTime.

    Raises:
        SlurmError: a line is not that.
    """
    for line in text.splitlines():
        name, *times = line.rsplit("|", 2)
        if len(times) != 2:
            raise SlurmError(f"expected a partition and two times from sinfo, got {line[:80]!r}")
        if not all(time.strip() in _NO_LIMIT for time in times):
            yield name


def parse_release(text: str) -> tuple[int, int]:
    """Read ``squeue --version``: ``slurm-wlm 22.05.8`` is (22, 5).

    Raises:
        SlurmError: there is no release in it.
    """
    match = re.search(r"\b(\d{2})\.(\d{2})\b", text)
    if match is None:
        raise SlurmError(f"expected Slurm's release, such as slurm 24.11.5, got {text[:80]!r}")
    return int(match[1]), int(match[2])
