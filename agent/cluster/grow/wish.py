"""What a job asks of each machine and of all its machines together, in one partition: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from agent.cluster.grow.limits import open_partitions
from agent.slurm.constraint import Constraint, parse_constraint
from agent.slurm.gres import Gres, parse_gres
from agent.slurm.model import Job
from agent.slurm.request import Request
from agent.slurm.scheduling import PartitionRules, Scheduling, Unit

_NO_GRES: Gres = {}
ANY_NUMBER = 1 << 20
"""More machines than there are."""


@dataclass(frozen=True, eq=False, slots=True)
class Wish:
    """One job, or one task of an array, in one partition. 0 and empty values mean: not asked for."""

    partition: str
    constraint: Constraint
    time_limit: timedelta | None
    min_nodes: int
    max_nodes: int
    """The most machines that it may have."""
    is_one_node: bool
    """The job itself asked for one machine at most (``--nodes=1``)."""
    tasks: int
    cpus: int
    """CPUs in all."""
    cpus_per_task: int
    cpus_per_node: int
    tasks_per_node: int
    tasks_per_socket: int
    tasks_per_core: int
    sockets: int
    cores: int
    threads: int
    core_spec: int
    thread_spec: int
    tmp_disk: int
    memory: int
    """MB on each node, or for each CPU; 0 for all of a node, or for none."""
    memory_per_cpu: bool
    takes_all_memory: bool
    """It asks for no memory in numbers, and Slurm gives it all that a node has."""
    counts_memory: bool
    """Memory is taken up."""
    exclusive: bool
    counts_tasks: bool
    """CPUs that no whole task fits on are none."""
    overcommit: bool
    unit: Unit
    one_task_per_core: bool
    shared_by: int
    """How many jobs may have the same CPU."""
    max_cpus_per_node: int
    per_job: Gres = field(default_factory=dict)
    per_node: Gres = field(default_factory=dict)
    per_socket: Gres = field(default_factory=dict)
    per_task: Gres = field(default_factory=dict)
    cpus_per_gres: Mapping[str, int] = field(default_factory=dict)
    """Name of a generic resource -> CPUs for each (``--cpus-per-gpu``, ``--ntasks-per-gpu``)."""
    memory_per_gres: Mapping[str, int] = field(default_factory=dict)
    tasks_per_gres: int = 0
    """Tasks for each GPU that it has on a node."""
    fixed_cpus_per_gres: bool = False
    """``cpus_per_gres`` was asked for as CPUs, not as tasks."""
    unreadable: str = ""
    """A generic resource that cannot be read; nothing offers it."""

    least_cpus: int = field(init=False)
    """The fewest CPUs that each of its machines gives it."""
    least_memory: int = field(init=False)
    """The fewest MB that each of its machines gives it."""
    is_plain: bool = field(init=False)
    """It does not matter to it how cores are spread over sockets."""
    gres_kinds: tuple[str, ...] = field(init=False)
    """The generic resources that it asks for, those of a type first."""

    def __post_init__(self) -> None:
        tasks = self.tasks if self.is_one_node and not self.overcommit else 1
        least = max((self.tasks_per_node or tasks) * self.cpus_per_task, 1)
        memory = self.memory if self.counts_memory and not self.takes_all_memory else 0
        if memory and self.memory_per_cpu:
            memory *= max(self.tasks_per_node, self.cpus_per_node, self.cpus_per_task, 1)
        of_sockets = self.sockets > 1 or self.cores > 1 or self.tasks_per_socket
        kinds = {*self.per_job, *self.per_node, *self.per_socket, *self.per_task}
        object.__setattr__(self, "least_cpus", least)
        object.__setattr__(self, "least_memory", memory)
        object.__setattr__(self, "is_plain", self.unit is not Unit.SOCKET and not of_sockets)
        object.__setattr__(self, "gres_kinds", tuple(sorted(kinds, key=_choosiest_first)) if kinds else ())

    @property
    def wants_gres(self) -> bool:
        """It asks for any generic resources."""
        return bool(self.gres_kinds)


def _choosiest_first(kind: str) -> tuple[bool, str]:
    return ":" not in kind, kind


def wishes_of(job: Job, scheduling: Scheduling | None) -> tuple[Wish, ...]:
    """Put together what a job asks for: it gets one of these; none where its constraint cannot be read.

    Args:
        job: pending, or to be placed anew.
        scheduling: how Slurm chooses nodes; None where that is not known.
    """
    try:
        ways = parse_constraint(job.features).ways()
    except ValueError:
        return ()
    partitions = open_partitions(job, scheduling) or job.partitions or ("",)
    return tuple(_wish(job, partition, way, scheduling) for partition in partitions for way in ways)


def _wish(job: Job, partition: str, constraint: Constraint, scheduling: Scheduling | None) -> Wish:
    """Read what a job asks for as the select plugins of slurmctld do."""
    how = scheduling or Scheduling()
    rules = how.partitions.get(partition) or PartitionRules(partition)
    asked, unit = job.request or _request_of(job), rules.unit or how.unit
    counts_memory = how.memory if rules.memory is None else rules.memory
    if unit is Unit.NODE:
        # select/linear looks at no cores, and at tasks only as so many on each node.
        asked = replace(asked, tasks_per_socket=0, tasks_per_core=0, cpus_per_task=1)
    cpus_per_task = max(asked.cpus_per_task, 1)
    min_nodes = max(asked.min_nodes, rules.min_nodes, constraint.count)
    if asked.tasks_per_node:
        min_nodes = max(min_nodes, -(-asked.tasks // asked.tasks_per_node))
    most = [limit for limit in (asked.max_nodes, rules.max_nodes) if limit]
    if unit is not Unit.NODE and (asked.tasks > 1 or not asked.per_job):
        # Slurm does not tell whether one task was asked for: one that was not may spread for its resources.
        most.append(max(asked.tasks, min_nodes))
    gres: dict[str, Gres] = {}
    unreadable = ""
    for kind in ("per_job", "per_node", "per_socket", "per_task"):
        gres[kind], bad = _readable(getattr(asked, kind))
        unreadable = unreadable or bad
    per_gpu = rules.cpus_per_gpu or how.cpus_per_gpu
    cpus_per_gres = dict(_readable(asked.cpus_per_gres)[0])
    fixed = bool(cpus_per_gres)
    names = {kind.partition(":")[0] for each in filter(None, gres.values()) for kind in each}
    if asked.tasks_per_gres:
        cpus_per_gres = dict.fromkeys(names, asked.tasks_per_gres * cpus_per_task) | cpus_per_gres
    elif per_gpu and "gpu" in names and "gpu" not in cpus_per_gres and cpus_per_task == 1:
        cpus_per_gres["gpu"], fixed = per_gpu, True
    memory_per_gres = dict(_readable(asked.memory_per_gres)[0])
    if (memory := rules.memory_per_gpu or how.memory_per_gpu) and "gpu" in names and not job.memory:
        memory_per_gres.setdefault("gpu", memory)
    return Wish(
        partition=partition,
        constraint=constraint,
        time_limit=job.time_limit,
        min_nodes=min_nodes,
        max_nodes=min(most, default=ANY_NUMBER),
        is_one_node=asked.max_nodes == 1,
        tasks=max(asked.tasks, 1),
        cpus=asked.cpus,
        cpus_per_task=cpus_per_task,
        cpus_per_node=asked.cpus_per_node,
        tasks_per_node=asked.tasks_per_node,
        tasks_per_socket=asked.tasks_per_socket,
        tasks_per_core=asked.tasks_per_core,
        sockets=asked.sockets,
        cores=asked.cores,
        threads=asked.threads,
        core_spec=0 if unit is Unit.NODE else asked.core_spec,
        thread_spec=0 if unit is Unit.NODE else asked.thread_spec,
        tmp_disk=asked.tmp_disk,
        memory=job.memory,
        memory_per_cpu=job.memory_per_cpu,
        takes_all_memory=scheduling is not None and counts_memory and not (job.memory or memory_per_gres),
        counts_memory=counts_memory,
        exclusive=(job.exclusive or rules.exclusive or unit is Unit.NODE) and not rules.is_forced,
        counts_tasks=how.counts_tasks and unit is not Unit.NODE and not asked.overcommit,
        overcommit=asked.overcommit,
        unit=unit,
        one_task_per_core=how.one_task_per_core,
        shared_by=rules.shared_by if rules.is_forced else 1,
        max_cpus_per_node=rules.max_cpus_per_node or 0,
        cpus_per_gres=cpus_per_gres,
        memory_per_gres=memory_per_gres,
        tasks_per_gres=asked.tasks_per_gres,
        fixed_cpus_per_gres=fixed,
        unreadable=unreadable,
        **gres,
    )


def _request_of(job: Job) -> Request:
    """Put a request together for a job of which little is told: it may be spread as it likes."""
    nodes = max(job.node_count, 1)
    return Request(min_nodes=nodes, tasks=max(job.cpus, nodes), cpus=job.cpus, per_node=job.gres)


def _readable(text: str) -> tuple[Gres, str]:
    """Read generic resources; with it, what cannot be read."""
    try:
        return (parse_gres(text), "") if text else (_NO_GRES, "")
    except ValueError:
        return _NO_GRES, text
