"""What a waiting job asks for, read from its record in Slurm's JSON: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.slurm.asked import gres_alone, spec_of, whole
from agent.slurm.request import Request

_THREADS_UNSET = 0x7FFE
"""What is left of an unset ``core_spec`` without its highest bit, which tells threads from cores."""


def request_of(record: Mapping[str, Any]) -> Request | None:
    """Read a request; None where a part of it has a shape that is not known.

    v0.0.38 does not tell tasks for each generic resource, and CPUs for each task hardly ever: they are 0
    then, but for a job to which a CPU on each node is enough.
    """
    old = "tasks_per_tres" not in record
    try:
        on_node, per_task = _number(record["minimum_cpus_per_node"]), _number(record["cpus_per_task"])
        cores, threads = _set_aside(record, old=old)
        request = Request(
            max_nodes=_number(record["max_nodes"]),
            tasks=max(_number(record["tasks"]), 1),
            cpus=_number(record["cpus"]),
            cpus_per_task=per_task or (0 if old and on_node > 1 else 1),
            cpus_per_node=on_node,
            tasks_per_node=_number(record["tasks_per_node"]),
            tasks_per_socket=_number(record["tasks_per_socket"]),
            tasks_per_core=_number(record["tasks_per_core"]),
            tasks_per_gres=_number(record.get("tasks_per_tres")),
            sockets=_number(record["sockets_per_node"]),
            cores=_number(record["cores_per_socket"]),
            threads=_number(record["threads_per_core"]),
            core_spec=cores,
            thread_spec=threads,
            tmp_disk=_number(record["minimum_tmp_disk_per_node"]),
            per_job=_gres(record["tres_per_job"]),
            per_node=_gres(record["tres_per_node"]),
            per_socket=_gres(record["tres_per_socket"]),
            per_task=_gres(record["tres_per_task"]),
            cpus_per_gres=_gres(record["cpus_per_tres"]),
            memory_per_gres=_gres(record["memory_per_tres"]),
            contiguous=bool(record["contiguous"]),
        )
        return whole(request, record["tres_req_str"] or "", _number(record["node_count"]))
    except (LookupError, TypeError, ValueError):
        return None


def _set_aside(record: Mapping[str, Any], *, old: bool) -> tuple[int, int]:
    """Return the cores and the threads set aside; v0.0.38 tells each under the name of the other."""
    cores, threads = _number(record["core_spec"]), _number(record["thread_spec"])
    if old:
        return spec_of(cores or threads)
    return cores, 0 if threads == _THREADS_UNSET else threads


def _number(value: Any) -> int:
    """Return a number of any version; 0 for null, unset and without limit."""
    if isinstance(value, dict):
        value = 0 if value["infinite"] or not value["set"] else value["number"]
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise TypeError(f"expected a number from 0 on, got {value!r}")
    return int(value)


def _gres(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return gres_alone(value or "")
