"""Which of its partitions can ever start a job, whatever machines come: pure.

It follows slurmctld: ``_part_access_check`` and ``_valid_pn_min_mem`` of job_mgr.c. Whom a partition lets in
(AllowGroups, AllowQos, the limits of a QOS) Slurm's reasons alone tell.
"""

from __future__ import annotations

from agent.core.settings import format_duration
from agent.slurm.model import Job
from agent.slurm.scheduling import PartitionRules, Scheduling

_SLURM_SAYS_OTHERWISE = "Resources"
"""Slurm found nothing against it but room: its QOS may lift limits of partitions (sacctmgr(1), Flags)."""


def open_partitions(job: Job, scheduling: Scheduling | None) -> tuple[str, ...]:
    """Return the partitions of a job that may start it; all of them where Slurm says that one does.

    Args:
        job: pending, or to be placed anew.
        scheduling: how Slurm chooses nodes; None where that is not known.
    """
    if scheduling is None:
        return job.partitions
    found = tuple(name for name in job.partitions if not _against(job, name, scheduling))
    return found or (job.partitions if job.reason == _SLURM_SAYS_OTHERWISE else ())


def why_never(job: Job, scheduling: Scheduling | None) -> str:
    """Say why none of its partitions will ever start a job as it is; "" where one may.

    Args:
        job: pending, or to be placed anew.
        scheduling: how Slurm chooses nodes; None where that is not known.
    """
    if scheduling is None or job.reason == _SLURM_SAYS_OTHERWISE:
        return ""
    found = []
    for name in job.partitions:
        against = _against(job, name, scheduling)
        if not against:
            return ""
        found.append(against)
    return "; ".join(found)


def _against(job: Job, name: str, scheduling: Scheduling) -> str:
    rules = scheduling.partitions.get(name)
    if rules is None:
        return ""
    if not rules.is_up:
        return f"partition {name} is not up"
    if job.time_limit is not None and rules.max_time is not None and job.time_limit > rules.max_time:
        longest = format_duration(rules.max_time.total_seconds())
        return f"partition {name} takes no job of more than {longest} (MaxTime)"
    return _against_its_nodes(job, rules) or _against_its_memory(job, rules)


def _against_its_nodes(job: Job, rules: PartitionRules) -> str:
    asked = job.request
    least = asked.min_nodes if asked else max(job.node_count, 1)
    most = asked.max_nodes if asked else 0
    if rules.max_nodes is not None and max(least, most) > rules.max_nodes:
        # Slurm does not cut a range short, such as --nodes=1-4.
        return f"partition {rules.name} gives no job more than {rules.max_nodes} nodes (MaxNodes)"
    if most and most < rules.min_nodes:
        return f"partition {rules.name} gives no job fewer than {rules.min_nodes} nodes (MinNodes)"
    return ""


def _against_its_memory(job: Job, rules: PartitionRules) -> str:
    if rules.max_memory_per_node is None:
        return ""
    memory = job.memory * _cpus_on_one(job) if job.memory_per_cpu else job.memory
    most = rules.max_memory_per_node
    if memory > most:
        return f"partition {rules.name} gives no more than {most} MB on a node (MaxMemPerNode)"
    return ""


def _cpus_on_one(job: Job) -> int:
    """Count the CPUs that slurmctld expects on each node at least."""
    asked = job.request
    if asked is None:
        return 1
    tasks = max(asked.tasks_per_node, -(-asked.tasks // asked.max_nodes) if asked.max_nodes else 1, 1)
    return max(tasks * max(asked.cpus_per_task, 1), asked.cpus_per_node)
