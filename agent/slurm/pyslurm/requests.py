"""What pyslurm 25.11 tells of what a waiting job asks for: pure.

It does not tell generic resources for all of a job, for each task or each socket as they were asked for.
"""

from __future__ import annotations

from typing import Any

from agent.slurm.asked import tidy
from agent.slurm.request import Request

_NAMES = {
    "max_nodes": "max_nodes",
    "ntasks": "tasks",
    "cpus_per_task": "cpus_per_task",
    "min_cpus_per_node": "cpus_per_node",
    "ntasks_per_node": "tasks_per_node",
    "ntasks_per_socket": "tasks_per_socket",
    "ntasks_per_core": "tasks_per_core",
    "ntasks_per_gpu": "tasks_per_gres",
    "sockets_per_node": "sockets",
    "cores_per_socket": "cores",
    "threads_per_core": "threads",
    "cores_reserved_for_system": "core_spec",
    "threads_reserved_for_system": "thread_spec",
    "temporary_disk_per_node": "tmp_disk",
}
"""Attribute of a pyslurm ``Job`` -> name in a ``Request``."""
FIELDS = (*_NAMES, "requires_contiguous_nodes")
"""Attributes of a ``Job`` that ``request_of`` takes."""


def request_of(values: list[Any], nodes: Any, cpus: Any, per_node: str) -> Request | None:
    """Read ``FIELDS``; None where one of them cannot be read.

    Args:
        values: the fields.
        nodes: how many nodes Slurm thinks of.
        cpus: CPUs in all.
        per_node: generic resources on each node, as ``agent.slurm.gres`` reads them.
    """
    *told, contiguous = values
    try:
        numbers = {ours: _number(value) for ours, value in zip(_NAMES.values(), told, strict=True)}
        for name in ("tasks", "cpus_per_task"):
            numbers[name] = max(numbers[name], 1)
        all_cpus, least = max(_number(cpus), 1), max(_number(nodes), 1)
    except ValueError:
        return None
    return tidy(
        Request(
            min_nodes=least,
            **numbers,  # type: ignore[arg-type]
            cpus=all_cpus,
            per_node=per_node,
            contiguous=bool(contiguous),
            overcommit=all_cpus < numbers["tasks"],
        )
    )


def _number(value: Any) -> int:
    """Read a number; pyslurm has None for one that is not set, and a word for one without limit."""
    if value is None or value == "UNLIMITED":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a number from 0 on, got {value!r:.80}")
    return value
