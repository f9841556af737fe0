"""The list of jobs as ``squeue -O`` prints it: pure, and exact or an error.

Every field ends with a text of ours. Fields that cannot hold it end with ``|``; those that somebody may have
written (features, a reason, the name of a job or reservation) end with a word that nobody could know before
this one read. So no name, whatever it holds, can shift a field or add a job.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from agent.core.errors import SlurmError
from agent.slurm.asked import counts, gres_alone, held_gres, whole
from agent.slurm.model import Job
from agent.slurm.names import expand, leader, split_tasks
from agent.slurm.request import Request
from agent.slurm.words import main_reason

TELLS_EXCLUDED_NODES = (24, 5)
"""The first release whose ``squeue -O`` knows ``ExcNodes``."""
_TELLS_EXCLUSIVE = (26, 5)
"""The first release whose ``OverSubscribe`` is NO for every job and that tells by ``Exclusive`` instead."""

_OWN = ("JobArrayID", "NodeList", "SubmitTime", "StartTime", "EndTime")
"""What hardly two jobs have in common. Most of what follows is the same for many, and read once for them."""
_PLAIN = (
    "State", "NumNodes", "NumCPUs", "OverSubscribe", "Requeue", "BatchFlag", "RestartCnt", "TimeLimit",
    "MinMemory", "ReqNodes", "MaxNodes", "NumTasks", "MinCpus", "cpus-per-task", "NTPerNode", "NTPerSocket",
    "NTPerCore", "sct", "CoreSpec", "MinTmpDisk", "Contiguous",
)  # fmt: skip
_FREE = (
    "Partition", "UserName", "Feature", "Reason", "Reservation", "QOS", "tres-alloc", "tres-per-node",
    "tres-per-job", "tres-per-task", "tres-per-socket", "cpus-per-tres", "mem-per-tres",
)  # fmt: skip
_CALLED = "Name"
"""Comes last, for many a job has one of its own; all between is read once for those that are alike."""
_GRES_FIELDS = ("per_node", "per_job", "per_task", "per_socket", "cpus_per_gres", "memory_per_gres")
"""Names in a ``Request`` of the last of these."""
_STATE = re.compile(r"[A-Z_]+")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", re.ASCII)
_MEMORY = re.compile(r"(\d+)M?", re.ASCII)
_NONE_ASKED = frozenset({"N/A", "*"})
_SPEC = re.compile(r"(\d+)( Threads)?", re.ASCII)
_TRES = re.compile(r"(?:^|,)(cpu|mem|node)=(\d+)(?:\.(\d+))?([KMGTP]?)", re.ASCII)
_MEGABYTES = {"K": 2.0**-10, "": 1.0, "M": 1.0, "G": 2.0**10, "T": 2.0**20, "P": 2.0**30}
_SHARES_NOTHING = frozenset({"NO"})
_EXCLUSIVE = frozenset({"NODE", "TOPO"})
_NOTHING = frozenset({"(null)", "N/A", ""})
_NO_TIME = frozenset({"N/A", "NONE", "Unknown", "None", ""})
_NO_LIMIT = frozenset({"UNLIMITED", "NOT_SET", "INVALID", "N/A"})


def new_mark() -> str:
    """Return a word that nobody can have written anywhere before."""
    # Without an upper-case C, at which squeue of 22.05 asks for more than it prints.
    return f"<{secrets.token_hex(6)}>"


@dataclass(frozen=True)
class JobFormat:
    """What one read of jobs asks of a squeue of this release, such as (24, 11)."""

    release: tuple[int, int]
    mark: str = field(default_factory=new_mark)
    """Ends a field of free text."""
    end: str = field(default_factory=new_mark)
    """Ends a job."""

    @property
    def tells_excluded_nodes(self) -> bool:
        """Excluded nodes are among the fields."""
        return self.release >= TELLS_EXCLUDED_NODES

    @property
    def argument(self) -> str:
        """The ``-O`` of squeue(1). A field ``Name:text`` is printed whole and followed by the text."""
        plain = [*_OWN, *_PLAIN]
        if self.release >= _TELLS_EXCLUSIVE:
            plain[plain.index("OverSubscribe")] = "Exclusive"
        free = [*_FREE, "ExcNodes"] if self.tells_excluded_nodes else [*_FREE]
        ends = [f"{name}:|" for name in plain] + [f"{name}:{self.mark}" for name in free[:-1]]
        return ",".join([*ends, f"{free[-1]}:{self.mark}", f"{_CALLED}:{self.end}"])


class JobReader:
    """Reads what squeue prints for ``form.argument`` while it prints.

    Times are in seconds (``SLURM_TIME_FORMAT=%s``).

    Args:
        form: what was asked.
        known: the answer to an earlier read: a record that has not changed is not read again.
    """

    def __init__(self, form: JobFormat, known: Mapping[str, Job] | None = None) -> None:
        self._form = form
        self._known = {} if known is None else known
        self._jobs: dict[str, Job] = {}
        self._rest = ""

    def feed(self, text: str) -> None:
        """Read on.

        Raises:
            SlurmError: a field is not what it has to be.
        """
        if "\0" in text:
            raise SlurmError("squeue's list of jobs has a zero byte in it")
        end = self._form.end + "\n"
        whole, ended, self._rest = (self._rest + text).rpartition(end)
        if ended:
            # Marks differ from read to read, and records are compared across them.
            for record in whole.replace(self._form.mark, "\0").split(end):
                self._jobs[record] = self._known.get(record) or _job(record, self._form)

    def finish(self) -> dict[str, Job]:
        """Return the jobs in squeue's order, by the text of their records.

        Raises:
            SlurmError: the last record is cut.
        """
        if self._rest.strip("\n"):
            raise SlurmError(f"squeue's list of jobs is cut: it ends with {self._rest[-80:]!r}")
        return self._jobs


def _job(record: str, form: JobFormat) -> Job:
    try:
        listed, held, submitted, started, ends, rest = record.split("|", len(_OWN))
    except ValueError as error:
        raise SlurmError(f"expected a job of squeue, got {record[:160]!r}") from error
    shared, marked, name = rest.rpartition("\0")
    if not marked:
        raise SlurmError(f"expected a job of squeue, got {record[:160]!r}")
    starts = _time(started)
    # To set 30 fields of a frozen dataclass one by one is most of what reading 50,000 jobs would take.
    fields = _shape(shared, form.release).copy()
    fields["name"] = _text(name)
    fields["id"], fields["task_count"], fields["task_limit"] = split_tasks(listed)
    fields["nodes"] = expand(held)
    fields["submitted"] = _time(submitted)
    # For a pending job the two times are what the scheduler expects, unless it waits for one of them.
    if fields["state"] != "PENDING":
        fields["started"] = starts
        if fields["time_limit"] is not None:
            fields["ends"] = _time(ends)
    elif fields["reason"] == "BeginTime":
        fields["begins"] = starts
    job = object.__new__(Job)
    object.__setattr__(job, "__dict__", fields)
    return job


@lru_cache(maxsize=4096)
def _shape(text: str, release: tuple[int, int]) -> dict[str, Any]:
    """Read the fields of a job that it has in common with others; field -> value of a ``Job``."""
    form = JobFormat(release, "", "")
    head, *free = text.split("\0")
    plain = head.split("|", len(_PLAIN))
    if len(plain) != len(_PLAIN) + 1 or len(free) != len(_FREE) - 1 + form.tells_excluded_nodes:
        raise SlurmError(f"expected a job of squeue, got {text[:160]!r}")
    state, nodes, cpus, shared, requeue, batch, restarts, limit, memory, requested, *_, partitions = plain
    user, features, reason, reservation, qos, tres, per_node, per_job, per_task, *_ = free
    if _STATE.fullmatch(state) is None or requeue not in {"0", "1"}:
        raise SlurmError(f"expected a job of squeue, got {text[:160]!r}")
    megabytes = _megabytes(memory)
    gres = (per_node, per_job, per_task)
    job = Job(
        id="",
        state=state,
        user=user,
        reason=main_reason(reason),
        partitions=tuple(partitions.split(",")),
        node_count=_count(nodes),
        cpus=_count(cpus),
        features=_text(features),
        exclusive=shared in (_EXCLUSIVE if release >= _TELLS_EXCLUSIVE else _SHARES_NOTHING),
        requested_nodes=expand(requested),
        excluded_nodes=expand(free[-1]) if form.tells_excluded_nodes else frozenset(),
        qos=_text(qos),
        reservation=_text(reservation),
        memory=megabytes,
        memory_per_cpu=megabytes > 0 and _is_per_cpu(tres, megabytes),
        gres=gres_alone(*gres) if state == "PENDING" else held_gres(*gres, _count(plain[11]), _count(nodes)),
        time_limit=_time_limit(limit),
        requeueable=requeue == "1",
        # It counts how often Slurm tried to launch the script.
        batch=_count(batch) > 0,
        restarts=_count(restarts),
        request=_request(plain, free) if counts(state, main_reason(reason)) else None,
    )
    return vars(job)


def _request(plain: list[str], free: list[str]) -> Request | None:
    """Read what a waiting job asks for; None where a part of it cannot be read.

    ``MaxNodes`` is the number of nodes where there is no maximum, so that one is taken for the other: the job
    is not thought to spread.
    """
    _, nodes, cpus, *_ = plain
    most, tasks, per_node, per_task, on_node, on_socket, on_core, sct, spec, disk, contiguous = plain[10:21]
    try:
        sockets, cores, threads = map(_asked, sct.split(":"))
        spec_match = _SPEC.fullmatch(spec)
        set_aside = int(spec_match[1]) if spec_match else _asked(spec)
        of_threads = spec_match is not None and spec_match[2] is not None
        request = Request(
            max_nodes=_count(most),
            tasks=max(_count(tasks), 1),
            cpus=_count(cpus),
            cpus_per_task=max(_asked(per_task), 1),
            cpus_per_node=_count(per_node),
            tasks_per_node=_asked(on_node),
            tasks_per_socket=_asked(on_socket),
            tasks_per_core=_asked(on_core),
            sockets=sockets,
            cores=cores,
            threads=threads,
            core_spec=0 if of_threads else set_aside,
            thread_spec=set_aside if of_threads else 0,
            tmp_disk=_megabytes(disk),
            contiguous=_count(contiguous) > 0,
            **dict(zip(_GRES_FIELDS, map(gres_alone, free[6:12]), strict=True)),  # type: ignore[arg-type]
        )
        return whole(request, free[5], _count(nodes))
    except (SlurmError, ValueError):
        return None


def _asked(text: str) -> int:
    return 0 if text in _NONE_ASKED else _count(text)


def parse_excluded_nodes(text: str) -> dict[str, frozenset[str]]:
    """Read ``squeue -o %i|%x|``: each job's id and the nodes that it does not want.

    Raises:
        SlurmError: a line is not that.
    """
    return {job_id: expand(nodes) for job_id, nodes in _pairs(text, r"\S*")}


def parse_states(text: str) -> Iterator[Job]:
    """Read ``squeue -O JobArrayID:|,State:|,RestartCnt:|``: yield jobs with these fields alone.

    Raises:
        SlurmError: a line is not that.
    """
    for line in text.splitlines():
        match = re.fullmatch(r"([^|\s]+)\|([A-Z_]+)\|(\d+)\|", line, re.ASCII)
        if match is None:
            raise SlurmError(f"expected a job, its state and its restarts from squeue, got {line[:80]!r}")
        yield Job(split_tasks(match[1])[0], match[2], restarts=int(match[3]))


def parse_comments(text: str, end: str) -> dict[str, str]:
    """Read ``squeue -O JobArrayID:|,admin_comment:END``: the id of each job that has a comment, and that.

    Args:
        text: what squeue printed.
        end: the mark after each comment (``new_mark``).

    Raises:
        SlurmError: it is cut, or not that.
    """
    *records, rest = text.split(end + "\n")
    if rest.strip():
        raise SlurmError(f"squeue's list of comments is cut: it ends with {rest[-80:]!r}")
    pairs = [record.partition("|") for record in records]
    return {split_tasks(listed)[0]: told for listed, _, told in pairs if told not in {"(null)", ""}}


def _pairs(text: str, value: str) -> Iterator[tuple[str, str]]:
    for line in filter(None, text.split("\n")):
        match = re.fullmatch(rf"([^|\s]+)\|({value})\|", line, re.ASCII)
        if match is None:
            raise SlurmError(f"expected a job and one field of squeue, got {line[:80]!r}")
        yield split_tasks(match[1])[0], match[2]


def _text(field: str) -> str:
    return "" if field in _NOTHING else field


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise SlurmError(f"expected a number from squeue, got {text[:40]!r}")
    return int(text)


def _megabytes(text: str) -> int:
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise SlurmError(f"expected memory in MB from squeue, got {text[:40]!r}")
    return int(match[1])


def _is_per_cpu(tres: str, megabytes: int) -> bool:
    """Tell memory per CPU from memory per node by the sum that Slurm makes: ``cpu=3,mem=2100M,node=1``.

    With one CPU on each node they are the same.
    """
    found = {
        name: float(f"{whole}.{part or 0}") * (_MEGABYTES[unit] if name == "mem" else 1)
        for name, whole, part, unit in _TRES.findall(tres)
    }
    if not {"cpu", "mem", "node"} <= found.keys():
        return False
    return found["cpu"] != found["node"] and found["mem"] == megabytes * found["cpu"]


def _time_limit(text: str) -> timedelta | None:
    """Read ``1-02:03:04``, ``30:00`` or ``0:30``."""
    if text in _NO_LIMIT:
        return None
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise SlurmError(f"expected a time limit from squeue, got {text[:40]!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@lru_cache(maxsize=8192)
def _time(text: str) -> datetime | None:
    if text in _NO_TIME:
        return None
    try:
        return datetime.fromtimestamp(_count(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SlurmError(f"expected a time in seconds from squeue, got {text[:40]!r}") from error


def parse_reasons(listed: str) -> dict[str, str]:
    """Read ``squeue -o "%i|%T|%r"``: the id that acts on a job -> why it is pending; others are left out."""
    reasons: dict[str, str] = {}
    for line in listed.splitlines():
        job_id, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if state == "PENDING":
            reasons[leader(split_tasks(job_id)[0])] = main_reason(reason)
    return reasons
