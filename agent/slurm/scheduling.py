"""How Slurm chooses nodes: what slurm.conf says of the cluster and of its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class Unit(StrEnum):
    """The smallest part of a node that a job is given (``SelectTypeParameters`` of slurm.conf(5))."""

    CPU = "cpu"
    CORE = "core"
    SOCKET = "socket"
    NODE = "node"
    """Whole nodes (``SelectType=select/linear``)."""


@dataclass(frozen=True)
class PartitionRules:
    """What a partition lets jobs have (``scontrol show partition``)."""

    name: str
    is_up: bool = True
    """Jobs that wait there start (``State=UP``, and ``DRAIN``, which takes no new ones)."""
    min_nodes: int = 0
    max_nodes: int | None = None
    """Nodes that one job may have; None for any number."""
    max_cpus_per_node: int | None = None
    max_memory_per_node: int | None = None
    """MB; where a partition sets no limit, the cluster's."""
    max_memory_per_cpu: int | None = None
    """MB, as ``max_memory_per_node``; a job that asks for more gets more CPUs."""
    max_time: timedelta | None = None
    exclusive: bool = False
    """Every job has its nodes for itself (``OverSubscribe=EXCLUSIVE``)."""
    shared_by: int = 1
    """How many jobs may have the same CPU (``OverSubscribe=YES:4`` or ``FORCE:4``)."""
    is_forced: bool = False
    """Also those jobs that did not ask for it (``FORCE``)."""
    unit: Unit | None = None
    """Its own ``SelectTypeParameters``; None where the cluster's holds."""
    memory: bool | None = None
    """Memory is taken up by jobs there; None where what holds for the cluster does."""
    cpus_per_gpu: int = 0
    """``DefCpuPerGPU``; 0 where the cluster's holds."""
    memory_per_gpu: int = 0
    """``DefMemPerGPU`` in MB; 0 where the cluster's holds."""


@dataclass(frozen=True)
class Scheduling:
    """What holds for all partitions (``scontrol show config``), and each of them."""

    unit: Unit = Unit.CPU
    memory: bool = True
    """Memory is taken up by jobs, and a job that asks for none takes all (``CR_Core_Memory``)."""
    one_task_per_core: bool = False
    """``CR_ONE_TASK_PER_CORE``."""
    partitions: Mapping[str, PartitionRules] = field(default_factory=dict)
    cpus_per_gpu: int = 0
    """``DefCpuPerGPU``; 0 for none."""
    memory_per_gpu: int = 0
    """``DefMemPerGPU`` in MB; 0 for none."""
    release: tuple[int, int] | None = None
    """Slurm's, such as (24, 11); None where it is not known."""

    @property
    def counts_tasks(self) -> bool:
        """CPUs that no whole task fits on are none to a job, and sockets take no more tasks than it says.

        Slurm 22.05 adds up CPUs alone, and gives ``-n 5 -c 3`` four nodes of four CPUs.
        """
        return self.release is not None and self.release > (22, 5)
