"""Slurm's JSON, of slurmrestd and of ``squeue --json``, as values: pure, and exact or an error.

Two shapes are known: v0.0.38 (Slurm 22.05) writes numbers, words and null; every later version writes
``{"set", "infinite", "number"}`` and lists of words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from agent.core.errors import SlurmError
from agent.slurm.asked import counts, gres_alone, held_gres
from agent.slurm.json_requests import request_of
from agent.slurm.layout import layout_of_json
from agent.slurm.model import Job, JobEnd, Node
from agent.slurm.names import expand, split_tasks
from agent.slurm.reservation import Reservation
from agent.slurm.states import OVER_STATES

_NAME = re.compile(r"[^\s,[\x00-\x1f\x7f]+", re.ASCII)
_WORD = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
_FIRST_STATES = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
    "SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING",
)  # fmt: skip
"""Of several words for a job's state, squeue shows the first of these (``job_state_string``)."""
_CUT = "..."
_SOCKETS = re.compile(r"\(S:[^)]*\)")
_CPUS = re.compile(r"(?:^|,)cpu=(\d+)", re.ASCII)

_Value = TypeVar("_Value")


def parse_nodes(document: Mapping[str, Any]) -> dict[str, Node]:
    """Read the reply to ``GET nodes``.

    Raises:
        SlurmError: a record has another shape than those we know.
    """
    nodes: dict[str, Node] = {}
    for record in _records(document, "nodes"):
        node = _read(record, "node", "name", _node)
        if node.name in nodes:
            raise SlurmError(f"slurmrestd lists node {node.name} twice")
        nodes[node.name] = node
    return nodes


def parse_jobs(document: Mapping[str, Any]) -> tuple[Job, ...]:
    """Read the reply to ``GET jobs``, which on 22.05 holds finished jobs too.

    Raises:
        SlurmError: a record has another shape than those we know.
    """
    read = (_read(record, "job", "job_id", _job) for record in _records(document, "jobs"))
    jobs = tuple(job for job in read if job is not None)
    if len({job.id for job in jobs}) != len(jobs):
        raise SlurmError("slurmrestd lists a job twice")
    return jobs


def parse_endings(document: Mapping[str, Any]) -> dict[str, JobEnd]:
    """Read the reply to ``GET job/N``: job id -> how it ended, or stands.

    Raises:
        SlurmError: a record has another shape than those we know.
    """
    return dict(_read(record, "job", "job_id", _ending) for record in _records(document, "jobs"))


def parse_comments(document: Mapping[str, Any]) -> dict[str, str]:
    """Read the reply to ``GET job/N``: job id -> AdminComment.

    Raises:
        SlurmError: a record has another shape than those we know.
    """
    return dict(_read(record, "job", "job_id", _comment) for record in _records(document, "jobs"))


def parse_reservations(document: Mapping[str, Any]) -> tuple[Reservation, ...]:
    """Read the reply to ``GET reservations``.

    Raises:
        SlurmError: a record has another shape than those we know.
    """
    listed = _records(document, "reservations")
    return tuple(_read(record, "reservation", "name", _reservation) for record in listed)


def last_update(document: Mapping[str, Any]) -> int | None:
    """Return the controller's time of this reading; None on 22.05, which does not tell it."""
    value = document.get("last_update")
    return _number(value) if isinstance(value, dict) else None


def controller_time(document: Mapping[str, Any]) -> int:
    """Read the controller's time from the reply to ``GET diag``.

    Raises:
        SlurmError: it is not in there.
    """
    try:
        return _count(document["statistics"]["req_time"])
    except (KeyError, TypeError) as error:
        raise SlurmError("slurmrestd: expected statistics.req_time in the reply to diag") from error


def release_of(document: Mapping[str, Any]) -> str:
    """Return the release of the program that wrote a document, ``24.11.5``; "" where it is not told."""
    meta = document.get("meta")
    for key in ("slurm", "Slurm"):
        slurm = meta.get(key) if isinstance(meta, dict) else None
        if isinstance(slurm, dict) and isinstance(slurm.get("release"), str):
            return str(slurm["release"])
    return ""


def complaints(document: Mapping[str, Any], key: str = "errors") -> tuple[str, ...]:
    """Return the ``errors`` (or ``warnings``) inside a reply, in Slurm's own words."""
    listed = document.get(key)
    if not listed:
        return ()
    return tuple(map(_words_of, listed)) if isinstance(listed, list) else (str(listed),)


def parse_refusals(document: Mapping[str, Any]) -> dict[str, str]:
    """Read the ``status`` of ``DELETE jobs/``: job id -> why, of the jobs that it was not done to.

    A task of an array comes as ``4_2`` or ``4_[2]``, several as ``4_[2-3]``.

    Raises:
        SlurmError: it has another shape.
    """
    try:
        listed = [(str(entry["step_id"]), str(entry["error"]["string"])) for entry in document["status"]]
    except (KeyError, TypeError) as error:
        raise SlurmError(f"slurmrestd jobs/: expected a status with step_id and error, {error!r}") from None
    return dict(listed)


def error_numbers(document: Mapping[str, Any]) -> frozenset[int]:
    """Return Slurm's numbers of the errors inside a reply (slurm_errno.h)."""
    listed = document.get("errors")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    found = (e.get("error_number", e.get("errno")) for e in entries)
    return frozenset(n for n in found if isinstance(n, int))


def _words_of(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    said = [str(entry[key]) for key in ("description", "error") if entry.get(key)]
    number = entry.get("error_number", entry.get("errno"))
    return " - ".join(dict.fromkeys(said)) + (f" ({number})" if number is not None else "")


def _records(document: Mapping[str, Any], key: str) -> list[Any]:
    listed = document.get(key)
    if not isinstance(listed, list):
        raise SlurmError(f"slurmrestd: expected a list of {key}, got {str(listed)[:80]!r}")
    return listed


def _read(record: Any, kind: str, key: str, parse: Callable[[Any], _Value]) -> _Value:
    try:
        return parse(record)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        name = record.get(key) if isinstance(record, dict) else record
        raise SlurmError(
            f"slurmrestd: {kind} {str(name)[:80]!r} has a shape that is not known here: {error!r}"
        ) from error


def _node(record: Mapping[str, Any]) -> Node:
    stated = record["state"]
    words = [stated, *record["state_flags"]] if isinstance(stated, str) else stated
    state, *flags = map(_state_word, words)
    reason = _text(record["reason"])
    booted = _number(record["boot_time"])
    return Node(
        name=_name(record["name"]),
        state=state,
        flags=frozenset(flags),
        address=_text(record["address"]),
        weight=_count(record["weight"]),
        features=_listed(record["active_features"]),
        cpus=_count(record["cpus"]),
        allocated_cpus=_count(record["alloc_cpus"]),
        memory=_count(record["real_memory"]),
        reason=reason,
        reason_user=_text(record["reason_set_by_user"]) if reason else "",
        partitions=tuple(map(_text, record["partitions"])),
        booted=_time(booted),
        allocated_memory=_count(record["alloc_memory"]),
        gres=_SOCKETS.sub("", _text(record["gres"])),
        layout=layout_of_json(record),
        last_busy=_time(_number(record.get("last_busy"))),
    )


def _job(record: Mapping[str, Any]) -> Job | None:
    """Read one job; None when it is over."""
    stated = record["job_state"]
    words = [_state_word(word) for word in ([stated] if isinstance(stated, str) else stated)]
    state = next((word for word in _FIRST_STATES if word in words), words[0])
    if "COMPLETING" not in words and OVER_STATES.intersection(words):
        return None
    pending = "PENDING" in words
    job_id, tasks, at_once = _identity(record)
    limit = _number(record["time_limit"])
    reason = _text(record["state_reason"])
    started = _time(_number(record["start_time"]))
    shared, nodes = record["shared"], record["node_count"]
    tasks_in_all = _number(record.get("tasks")) or 1
    gres = (_text(record["tres_per_node"]), _text(record["tres_per_job"]), _text(record["tres_per_task"]))
    per_cpu, per_node = _number(record["memory_per_cpu"]), _number(record["memory_per_node"])
    return Job(
        id=job_id,
        state=state,
        user=_text(record["user_name"]),
        name=_text(record["name"]),
        reason=reason.split(",", 1)[0],
        partitions=tuple(_text(record["partition"]).split(",")),
        nodes=frozenset() if pending else expand(_text(record["nodes"])),
        node_count=_count(nodes),
        cpus=_count(record["cpus"]),
        features=_text(record["features"]),
        exclusive="none" in ([shared] if isinstance(shared, str) else shared or []),
        task_count=tasks,
        task_limit=at_once,
        begins=started if pending and reason == "BeginTime" else None,
        requested_nodes=expand(_text(record["required_nodes"])),
        excluded_nodes=expand(_text(record["excluded_nodes"])),
        qos=_text(record["qos"]),
        reservation=_text(record["resv_name"]),
        memory=per_cpu or per_node or 0,
        memory_per_cpu=bool(per_cpu),
        gres=gres_alone(*gres) if pending else held_gres(*gres, tasks_in_all, _count(nodes)),
        submitted=_time(_number(record["submit_time"])),
        started=None if pending else started,
        ends=None if pending or limit is None else _time(_number(record["end_time"])),
        time_limit=None if limit is None else timedelta(minutes=limit),
        requeueable=_flag(record["requeue"]),
        batch=_flag(record["batch_flag"]),
        restarts=_count(record["restart_cnt"]),
        request=request_of(record) if counts(state, reason.split(",", 1)[0]) else None,
    )


def _ending(record: Mapping[str, Any]) -> tuple[str, JobEnd]:
    stated = record["job_state"]
    words = [_state_word(word) for word in ([stated] if isinstance(stated, str) else stated)]
    state = next((word for word in _FIRST_STATES if word in words), words[0])
    ended = _time(_number(record["end_time"])) if state in OVER_STATES else None
    own, of_steps = _status(record["exit_code"]), _status(record["derived_exit_code"])
    return _identity(record)[0], JobEnd(state, *own, ended, _count(record["restart_cnt"]), *of_steps)


def _status(code: object) -> tuple[int, int]:
    """Read an exit code: the status and the signal."""
    if isinstance(code, dict):
        return _number(code["return_code"]) or 0, _number(code["signal"]["id"]) or 0
    # v0.0.38 writes what wait(2) gave.
    number = _count(code)
    return number >> 8, number & 0x7F


def _comment(record: Mapping[str, Any]) -> tuple[str, str]:
    return _identity(record)[0], _text(record["admin_comment"])


def _identity(record: Mapping[str, Any]) -> tuple[str, int, int | None]:
    """Return the id as scontrol takes it, how many array tasks it stands for, how many may run at once."""
    number = _count(record["job_id"])
    array, leader = _number(record["array_job_id"]), _number(record["het_job_id"])
    task, tasks = _number(record["array_task_id"]), _text(record["array_task_string"])
    if leader:
        return f"{leader}+{_count(record['het_job_offset'])}", 1, None
    if not array:
        return str(number), 1, None
    if task is not None:
        return f"{array}_{task}", 1, None
    if not tasks:
        return str(number), 1, None
    return _unsplit(array, tasks)


def _unsplit(array: int, tasks: str) -> tuple[str, int, int | None]:
    """Read the tasks of an array that wait together.

    slurmrestd cuts a long list (it starts with ``SLURM_BITSTR_LEN`` unset) and ends it with dots: then what
    it shows counts, without the last entry, which may be cut itself.
    """
    listed, _, limit = tasks.partition("%")
    if _CUT in listed:
        listed = listed.partition(_CUT)[0].rpartition(",")[0]
    if not listed:
        return str(array), 1, int(limit) if limit else None
    return split_tasks(f"{array}_[{listed}%{limit}]" if limit else f"{array}_[{listed}]")


def _reservation(record: Mapping[str, Any]) -> Reservation:
    starts, ends = _time(_number(record["start_time"])), _time(_number(record["end_time"]))
    if starts is None or ends is None:
        raise ValueError("start_time and end_time are expected")
    return Reservation(
        name=_text(record["name"]),
        nodes=expand(_text(record["node_list"])),
        starts=starts,
        ends=ends,
        flags=frozenset(map(_text, record["flags"])),
        partition=_text(record["partition"]),
        users=_listed(_text(record["users"])),
        cpus=int(cpus[1]) if (cpus := _CPUS.search(_text(record["tres"]))) else 0,
    )


def _state_word(value: Any) -> str:
    word = _text(value).upper()
    if _WORD.fullmatch(word) is None:
        raise ValueError(f"{word[:40]!r} is no state")
    return word


def _name(value: Any) -> str:
    if _NAME.fullmatch(_text(value)) is None:
        raise ValueError(f"{value!r} is no node name")
    return str(value)


def _listed(value: Any) -> frozenset[str]:
    words: Iterable[Any] = value.split(",") if isinstance(value, str) else value
    return frozenset(filter(None, map(_text, words)))


def _text(value: Any) -> str:
    """Return a string; v0.0.38 writes null for some empty ones."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, got {value!r}")
    return value


def _number(value: Any) -> int | None:
    """Return a number of either shape; None for null, unset and without limit."""
    if isinstance(value, dict):
        if value["infinite"] or not value["set"]:
            return None
        value = value["number"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {value!r}")
    return int(value)


def _count(value: Any) -> int:
    number = _number(value)
    if number is None or number < 0:
        raise ValueError(f"expected a number from 0 on, got {value!r}")
    return number


def _time(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
