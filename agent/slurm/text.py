"""Slurm's output as values: pure, and exact or an error.

Text of ``scontrol -o show nodes`` and ``squeue -o`` is read on every release from 22.05 to 26.05. Free text
(a reason, a comment, features, the operating system) may hold anything, also whole records like Slurm's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any

from agent.core.errors import SlurmError
from agent.slurm.model import Job, Node, Reservation
from agent.slurm.names import expand

_WORD = r"[A-Z_]+"

_RECORD = re.compile(r"^NodeName=", re.MULTILINE)
_HEAD = re.compile(
    r"NodeName=(?P<name>[\w.-]+) (?:Arch=\S+ )?CoresPerSocket=\d+ +CPUAlloc=(?P<allocated>\d+) "
    r"(?:CPUEfctv=\d+ )?CPUTot=(?P<cpus>\d+) CPULoad=\S+ (?=AvailableFeatures=)",
    re.ASCII,
)
_CORE = re.compile(
    r" RealMemory=(?P<memory>\d+) AllocMem=\d+ FreeMem=\S+ Sockets=\d+ Boards=\d+ (?:\w+=\S+ ){0,3}"
    rf"State=(?P<state>{_WORD}(?:\+{_WORD})*) ThreadsPerCore=\d+ TmpDisk=\d+ Weight=(?P<weight>\d+) "
    r"Owner=\S+ MCS_label=\S+ +(?:NextState=\S+ +)?(?:Partitions=(?P<partitions>\S*) +)?BootTime=",
    re.ASCII,
)
"""The part of a node's record that holds no free text."""
_BETWEEN = re.compile(
    r"AvailableFeatures=.* ActiveFeatures=(?P<features>.*) Gres=.* NodeAddr=(?P<address>\S*) NodeHostName=.*",
    re.DOTALL,
)
_SET_BY = re.compile(r" \[[^\s\[\]@]+@[^\s\[\]]+\]")
_TAIL = re.compile(
    r"\S+(?: +(?!Reason=|Comment=|Extra=)\w+=\S*)*"
    r"(?: +Reason=(?P<reason>[^\n]*?) \[[^\s\[\]@]+@[^\s\[\]]+\](?: \w+=.*)?| +(?:Comment|Extra)=.*)?\s*",
    re.DOTALL | re.ASCII,
)


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
        partitions=tuple(filter(None, (core["partitions"] or "").split(","))),
    )


def _words(text: str) -> frozenset[str]:
    return frozenset() if text == "(null)" else frozenset(filter(None, text.split(",")))


def parse_nodes_json(text: str) -> dict[str, Node]:
    """Read the ``nodes`` of ``sinfo --json`` (22.05) or ``scontrol show nodes --json`` (24.11 and later).

    Raises:
        SlurmError: it is not that, or it carries errors.
    """
    try:
        document = json.loads(text)
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
        reason=record["reason"],
        partitions=tuple(record["partitions"]),
    )


def _number(value: Any) -> int:
    return int(value["number"] if isinstance(value, dict) else value)


_RESERVATION = re.compile(
    r"ReservationName=(?P<name>\S+) StartTime=(?P<starts>\d+) EndTime=(?P<ends>\d+) Duration=\S+ "
    r"+Nodes=(?P<nodes>\S+) NodeCnt=\d+ .*? Flags=(?P<flags>\S*) .*",
    re.ASCII,
)
_NO_RESERVATIONS = "No reservations in the system"


def parse_reservations(text: str) -> tuple[Reservation, ...]:
    """Read ``scontrol -o show reservations``, times in seconds (``SLURM_TIME_FORMAT=%s``).

    Raises:
        SlurmError: a line is no reservation.
    """
    found = []
    for line in filter(None, text.splitlines()):
        if line == _NO_RESERVATIONS:
            continue
        match = _RESERVATION.fullmatch(line)
        if match is None:
            raise SlurmError(f"expected a reservation of scontrol, got {line[:160]!r}")
        starts, ends = _timestamp(int(match["starts"])), _timestamp(int(match["ends"]))
        flags = frozenset(filter(None, match["flags"].split(",")))
        found.append(Reservation(match["name"], expand(match["nodes"]), starts, ends, flags))
    return tuple(found)


_JOB_FIELDS = "%i|%T|%N|%D|%C|%l|%V|%S|%e|%P|%h|%n"
"""What squeue prints without free text: id, state, nodes, their number, CPUs, time limit, submit, start and
end time, partitions, OverSubscribe, requested nodes."""
_JOB = re.compile(
    r"(?P<id>\d+(?:_\d+|_\[[\d,:-]+(?:%\d+)?\]|\+\d+)?)"
    rf"\|(?P<state>{_WORD})\|(?P<nodes>[^|\s]*)\|(?P<node_count>\d+)\|(?P<cpus>\d+)\|(?P<limit>[^|\n]*)"
    r"\|(?P<submitted>[^|\n]*)\|(?P<started>[^|\n]*)\|(?P<ends>[^|\n]*)"
    r"\|(?P<partitions>[^|\n]*)\|(?P<shared>[A-Z]*)\|(?P<requested>[^|\s]*)",
    re.ASCII,
)
_RESOURCES = "Resources"
_RESOURCES_IN_WORDS = "Nodes required for job are DOWN"
_NO_TIME = frozenset({"N/A", "NONE", "Unknown", "None", ""})
_NO_LIMIT = frozenset({"infinite", "UNLIMITED", "n/a", "NONE"})
_TASKS = re.compile(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?", re.ASCII)


def job_format(mark: str) -> str:
    """Return the ``-o`` of squeue that ``parse_jobs`` reads.

    User, features and reason may hold anything, so ``mark`` sets them apart: a word that nobody could know
    before this one read.
    """
    return f"{_JOB_FIELDS}{mark}%u{mark}%f{mark}%r{mark}"


def parse_jobs(text: str, mark: str, *, oversubscribe_tells: bool = True) -> tuple[Job, ...]:
    """Read what squeue printed for ``job_format(mark)``, times in seconds (``SLURM_TIME_FORMAT=%s``).

    Without ``oversubscribe_tells`` (26.05 and later print ``NO`` for every job) no job counts as exclusive.

    Raises:
        SlurmError: a record is cut or a field is not what it has to be.
    """
    parts = text.split(mark)
    if len(parts) % 4 != 1 or parts[-1] not in ({"\n"} if len(parts) > 1 else {"", "\n"}):
        raise SlurmError(f"squeue's list of jobs is cut: it ends with {text[-80:]!r}")
    fields = iter(parts[:-1])
    return tuple(
        _job(head.removeprefix("\n"), user, features, reason, oversubscribe_tells)
        for head, user, features, reason in zip(fields, fields, fields, fields, strict=True)
    )


def _job(head: str, user: str, features: str, reason: str, oversubscribe_tells: bool) -> Job:
    match = _JOB.fullmatch(head)
    if match is None:
        raise SlurmError(f"expected a job of squeue, got {head[:160]!r}")
    pending = match["state"] == "PENDING"
    job_id, tasks, at_once = split_tasks(match["id"])
    reason = _RESOURCES if reason.startswith(_RESOURCES_IN_WORDS) else reason.split(",", 1)[0]
    started = _time(match["started"])
    return Job(
        id=job_id,
        state=match["state"],
        user=user,
        reason=reason,
        partitions=tuple(match["partitions"].split(",")),
        nodes=expand(match["nodes"]),
        node_count=int(match["node_count"]),
        cpus=int(match["cpus"]),
        features="" if features == "(null)" else features,
        exclusive=oversubscribe_tells and match["shared"] == "NO",
        task_count=tasks,
        task_limit=at_once,
        requested_nodes=expand(match["requested"]),
        submitted=_time(match["submitted"]),
        begins=started if pending and reason == "BeginTime" else None,
        started=None if pending else started,
        ends=None if pending or match["limit"] == "UNLIMITED" else _time(match["ends"]),
    )


@lru_cache(maxsize=4096)
def split_tasks(job_id: str) -> tuple[str, int, int | None]:
    """Return the id as scontrol takes it, how many array tasks it stands for, and how many may run at once.

    >>> split_tasks("3_[3,6,9%2]")
    ('3_[3,6,9]', 3, 2)

    Raises:
        SlurmError: the list of tasks is none.
    """
    array, bracket, listed = job_id.partition("_[")
    if not bracket:
        return job_id, 1, None
    tasks, _, limit = listed.removesuffix("]").partition("%")
    count = sum(_count_tasks(part, job_id) for part in tasks.split(","))
    return f"{array}_[{tasks}]", count, int(limit) if limit else None


def _count_tasks(part: str, job_id: str) -> int:
    match = _TASKS.fullmatch(part)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if match is None or last < first:
        raise SlurmError(f"expected array tasks such as 0-9:3,12 in job {job_id[:80]!r}")
    return (last - first) // int(match[3] or 1) + 1


def _time(text: str) -> datetime | None:
    if text in _NO_TIME:
        return None
    if not text.isdecimal():
        raise SlurmError(f"expected a time in seconds from squeue, got {text[:40]!r}")
    return _timestamp(int(text))


@lru_cache(maxsize=4096)
def _timestamp(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SlurmError(f"expected a time in seconds from squeue, got {seconds}") from error


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


def parse_requeue(text: str) -> Iterator[tuple[str, bool]]:
    """Read ``squeue -O JobArrayID:|,Requeue:|``: yield each job's id and whether it may be requeued.

    Raises:
        SlurmError: a line is not that.
    """
    for line in text.splitlines():
        match = re.fullmatch(r"([^|\s]+)\|([01])\|", line)
        if match is None:
            raise SlurmError(f"expected a job and its Requeue from squeue, got {line[:80]!r}")
        yield split_tasks(match[1])[0], match[2] == "1"


def parse_release(text: str) -> tuple[int, int]:
    """Read ``squeue --version``: ``slurm-wlm 22.05.8`` is (22, 5).

    Raises:
        SlurmError: there is no release in it.
    """
    match = re.search(r"\b(\d{2})\.(\d{2})\b", text)
    if match is None:
        raise SlurmError(f"expected Slurm's release, such as slurm 24.11.5, got {text[:80]!r}")
    return int(match[1]), int(match[2])
