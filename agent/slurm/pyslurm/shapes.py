"""What pyslurm 25.11 says of nodes, jobs and reservations, as values: pure, and exact or an error.

A record is the list of the attributes named here, in this order, as JSON carries them. pyslurm gives None for
a number that is 0 as well as for one that is not set, and for empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from agent.core.errors import SlurmError
from agent.slurm.asked import counts
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node
from agent.slurm.names import expand, split_tasks
from agent.slurm.pyslurm import requests
from agent.slurm.reservation import Reservation
from agent.slurm.words import main_reason

NODE_FIELDS = (
    "name", "state", "address", "weight", "active_features", "total_cpus", "allocated_cpus", "real_memory",
    "allocated_memory", "reason", "reason_user", "partitions", "boot_time", "configured_gres",
    "last_busy_time", "sockets", "cores_per_socket", "threads_per_core", "effective_cpus",
    "memory_reserved_for_system", "temporary_disk",
)  # fmt: skip
JOB_FIELDS = (
    "id", "array_id", "array_task_id", "array_tasks_waiting", "array_tasks_parallel", "heterogeneous_id",
    "heterogeneous_offset", "state", "user_id", "state_reason", "partition", "allocated_nodes", "num_nodes",
    "cpus", "constraints", "resource_sharing", "eligible_time", "required_nodes", "excluded_nodes", "qos",
    "reservation", "memory_per_node", "memory_per_cpu", "gres_per_node", "submit_time", "start_time",
    "end_time", "time_limit", "is_requeueable", "is_batch_job", "requeue_count", "name", *requests.FIELDS,
)  # fmt: skip
RESERVATION_FIELDS = ("name", "nodes", "start_time", "end_time", "flags", "partition", "users", "tres")

FLAGS = {
    "MAINT": "MAINTENANCE",
    "IGNORE_JOBS": "IGNORE_RUNNING_JOBS",
    "SPEC_NODES": "SPECIFIC_NODES",
    "STATIC": "STATIC_NODES",
    "PART_NODES": "PARTITION_NODES_ONLY",
    "PURGE_COMP": "PURGE",
    "NO_HOLD_JOBS_AFTER_END": "NO_JOB_HOLD_AFTER_END",
    "FLEX": "FLEX",
    "OVERLAP": "OVERLAP",
    "MAGNETIC": "MAGNETIC",
    "ANY_NODES": "ANY_NODES",
    "ALL_NODES": "ALL_NODES",
}
"""Flags of a reservation: scontrol's word -> pyslurm's."""
_FLAGS_READ = {theirs: ours for ours, theirs in FLAGS.items()}
_STATE = re.compile(r"[A-Z_]+(?:\+[A-Z_]+)*")
_WORD = re.compile(r"[A-Z_]+")


def node(record: list[Any]) -> Node:
    """Read ``NODE_FIELDS``.

    Raises:
        SlurmError: a field is not what it has to be.
    """
    (name, state, address, weight, features, cpus, allocated, memory, allocated_memory, reason, reason_user,
     partitions, booted, gres, busy, sockets, cores, threads, usable, system_memory,
     disk) = _cut(record, NODE_FIELDS)  # fmt: skip
    if not isinstance(state, str) or _STATE.fullmatch(state) is None:
        raise SlurmError(f"node {name}: expected a state such as IDLE+DRAIN from pyslurm, got {state!r:.80}")
    base, *flags = state.split("+")
    why = _text(reason, "reason")
    # Without a reason there is nobody who set it, but the user of the record is 0: root.
    user = _text(reason_user, "reason_user") if why else ""
    return Node(
        name=_text(name, "name of a node"),
        state=base,
        flags=frozenset(flags),
        address=_text(address, "address"),
        weight=_count(weight, "weight"),
        features=frozenset(_list(features, "active_features")),
        cpus=_count(cpus, "total_cpus"),
        allocated_cpus=_count(allocated, "allocated_cpus"),
        memory=_count(memory, "real_memory"),
        reason=why,
        reason_user=user,
        partitions=tuple(_list(partitions, "partitions")),
        booted=_time(booted, "boot_time"),
        allocated_memory=_count(allocated_memory, "allocated_memory"),
        gres=_gres(gres),
        layout=Layout(
            sockets=_count(sockets, "sockets"),
            cores=_count(cores, "cores_per_socket"),
            threads=_count(threads, "threads_per_core"),
            usable_cpus=_count(usable, "effective_cpus"),
            system_memory=_count(system_memory, "memory_reserved_for_system"),
            tmp_disk=_count(disk, "temporary_disk"),
        ),
        last_busy=_time(busy, "last_busy_time"),
    )


def job(record: list[Any]) -> Job:
    """Read ``JOB_FIELDS``.

    Raises:
        SlurmError: a field is not what it has to be.
    """
    (number, array, task, waiting, at_once, het, offset, state, user, reason, partition, nodes, node_count,
     cpus, features, sharing, eligible, requested, excluded, qos, reservation, memory_node, memory_cpu, gres,
     submitted, started, ends, limit, requeueable, batch, restarts, name,
     *asked) = _cut(record, JOB_FIELDS)  # fmt: skip
    if not isinstance(state, str) or _WORD.fullmatch(state) is None:
        raise SlurmError(f"job {number}: expected a state such as RUNNING from pyslurm, got {state!r:.80}")
    pending = state == "PENDING"
    job_id, tasks = _job_id(number, array, task, waiting, het, offset)
    word = main_reason(_text(reason, "state_reason"))
    return Job(
        id=job_id,
        state=state,
        user=_text(user, "user"),
        name=_text(name, "name of a job"),
        reason=word,
        partitions=_names(_text(partition, "partition")),
        nodes=expand(_text(nodes, "allocated_nodes")),
        node_count=_count(node_count, "num_nodes"),
        cpus=_count(cpus, "cpus"),
        features=features if isinstance(features, str) else ",".join(_list(features, "constraints")),
        exclusive=sharing == "NO",
        task_count=tasks,
        task_limit=_count(at_once, "array_tasks_parallel") or None if waiting else None,
        begins=_time(eligible, "eligible_time") if pending and word == "BeginTime" else None,
        requested_nodes=expand(_text(requested, "required_nodes")),
        excluded_nodes=expand(_text(excluded, "excluded_nodes")),
        qos=_text(qos, "qos"),
        reservation=_text(reservation, "reservation"),
        memory=_count(memory_cpu, "memory_per_cpu") or _count(memory_node, "memory_per_node"),
        memory_per_cpu=bool(memory_cpu),
        gres=_gres(gres),
        submitted=_time(submitted, "submit_time"),
        started=None if pending else _time(started, "start_time"),
        ends=None if pending or limit is None else _time(ends, "end_time"),
        time_limit=None if limit is None else timedelta(minutes=_count(limit, "time_limit")),
        requeueable=bool(requeueable),
        batch=bool(batch),
        restarts=_count(restarts, "requeue_count"),
        request=requests.request_of(asked, node_count, cpus, _gres(gres)) if counts(state, word) else None,
    )


def reservation(record: list[Any]) -> Reservation:
    """Read ``RESERVATION_FIELDS``.

    Raises:
        SlurmError: a field is not what it has to be.
    """
    name, nodes, starts, ends, flags, partition, users, tres = _cut(record, RESERVATION_FIELDS)
    begin, end = _time(starts, "start_time"), _time(ends, "end_time")
    if begin is None or end is None:
        raise SlurmError(f"reservation {name}: expected a start and an end from pyslurm")
    words = frozenset(_FLAGS_READ.get(flag, flag) for flag in _list(flags, "flags"))
    cpus = tres.get("cpu") if isinstance(tres, Mapping) else None
    return Reservation(
        *(_text(name, "name"), expand(_text(nodes, "nodes")), begin, end, words),
        partition=_text(partition, "partition"),
        users=frozenset(_list(users, "users")),
        cpus=int(cpus) if isinstance(cpus, str) and cpus.isdecimal() else 0,
    )


def _cut(record: list[Any], fields: tuple[str, ...]) -> list[Any]:
    if not isinstance(record, list) or len(record) != len(fields):
        raise SlurmError(f"expected {len(fields)} fields of {fields[0]} from pyslurm, got {record!r:.80}")
    return record


def _job_id(number: Any, array: Any, task: Any, waiting: Any, het: Any, offset: Any) -> tuple[str, int]:
    """Return the id as scontrol takes it, and how many array tasks it stands for.

    Task 0 and the leader of a heterogeneous job come as None, for pyslurm takes 0 for «not set».
    """
    if het:
        return f"{_count(het, 'heterogeneous_id')}+{_count(offset, 'heterogeneous_offset')}", 1
    if not array:
        return str(_count(number, "id")), 1
    if waiting:
        job_id, tasks, _ = split_tasks(f"{_count(array, 'array_id')}_[{waiting}]")
        return job_id, tasks
    return f"{_count(array, 'array_id')}_{_count(task, 'array_task_id')}", 1


def _gres(counts: Any) -> str:
    """Write ``{"gpu:a100": 2}`` as ``gpu:a100:2``; what pyslurm could not read is none."""
    if not isinstance(counts, Mapping):
        return ""
    pairs = ((str(name).removeprefix("gres/").removeprefix("gres:"), count) for name, count in counts.items())
    return ",".join(f"{name}:{count}" for name, count in pairs)


@lru_cache(maxsize=4096)
def _names(listed: str) -> tuple[str, ...]:
    return tuple(listed.split(","))


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SlurmError(f"expected text as {what} from pyslurm, got {value!r:.80}")
    return value


def _list(value: Any, what: str) -> Iterable[str]:
    if value is None:
        return ()
    if isinstance(value, str):
        return filter(None, value.split(","))
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise SlurmError(f"expected a list of words as {what} from pyslurm, got {value!r:.80}")
    return filter(None, value)


def _count(value: Any, what: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or value < 0:
        raise SlurmError(f"expected a number as {what} from pyslurm, got {value!r:.80}")
    return value


def _time(value: Any, what: str) -> datetime | None:
    return _timestamp(_count(value, what))


@lru_cache(maxsize=4096)
def _timestamp(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError) as error:
        raise SlurmError(f"expected a time in seconds from pyslurm, got {seconds}") from error
