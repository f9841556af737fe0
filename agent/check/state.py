"""What Slurm says now, for `esagent state`: read without the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from agent.config import Settings
from agent.core.ports import SystemClock
from agent.slurm.choice import choose, slurm_commands
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.names import shown
from agent.slurm.request import Request
from agent.ssh.shell import SshShell

NODE_COLUMNS = ("node", "state", "cpus", "memory", "weight", "features", "reason")
JOB_COLUMNS = ("job", "state", "user", "reason", "size", "nodes", "limit", "ends")


def read_slurm(settings: Settings) -> Snapshot:
    """Read Slurm once, by the way in that the settings choose."""
    clock = SystemClock()
    commands = slurm_commands(settings.slurm, clock, SshShell(settings.ssh), settings.ssh.user)
    way_in = choose(settings.slurm, clock, commands)
    try:
        return way_in.backend.snapshot()
    finally:
        way_in.close()


def as_json(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as JSON knows it.

    ``{"taken": time, "nodes": [...], "jobs": [...]}``; a node and a job have the fields of
    ``agent.slurm.model.Node`` and ``Job`` by their names, a job its ``array`` too; the layout of a node and
    the request of a job have those of ``Layout`` and ``Request``. Sets are sorted lists,
    times are ISO 8601 in UTC, time limits are seconds, what is not known or does not apply is null.
    """
    jobs = [{**_record(job), "array": job.array} for job in snapshot.jobs]
    nodes = [_record(snapshot.nodes[name]) for name in sorted(snapshot.nodes)]
    return {"taken": _value(snapshot.taken), "nodes": nodes, "jobs": jobs}


def node_rows(snapshot: Snapshot) -> list[Mapping[str, object]]:
    """Return what `esagent state` tells of each node, by ``NODE_COLUMNS``."""
    return [
        {
            "node": node.name,
            "state": "+".join([node.state, *sorted(node.flags)]),
            "cpus": f"{node.allocated_cpus}/{node.cpus}",
            "memory": f"{node.allocated_memory}/{node.memory}",
            "weight": node.weight,
            "features": ",".join(sorted(node.features)),
            "reason": f"{node.reason} [{node.reason_user}]" if node.reason else "",
        }
        for _, node in sorted(snapshot.nodes.items())
    ]


def job_rows(snapshot: Snapshot) -> list[Mapping[str, object]]:
    """Return what `esagent state` tells of each job, by ``JOB_COLUMNS``."""
    return [
        {
            "job": job.id,
            "state": job.state,
            "user": job.user,
            "reason": "" if job.holds_nodes else job.reason,
            "size": f"{job.node_count}x{job.cpus // max(job.node_count, 1)}",
            "nodes": shown(job.nodes),
            "limit": job.time_limit,
            "ends": _value(job.ends),
        }
        for job in snapshot.jobs
    ]


def _record(item: Node | Job | Layout | Request) -> dict[str, object]:
    return {field.name: _value(getattr(item, field.name)) for field in fields(item)}


def _value(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Layout() | Request():
            return _record(value)
        case frozenset():
            return sorted(value)
        case str():
            return value
        case Sequence():
            return list(value)
        case _:
            return value
