"""What a waiting job asks for, as its user told sbatch(1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """Numbers are 0 and texts "" where nothing is asked for (``scontrol show job``, ``squeue -O``)."""

    min_nodes: int = 1
    max_nodes: int = 0
    """The most that it takes (``--nodes=2-4``); 0 where the job itself sets no limit."""
    tasks: int = 1
    cpus: int = 1
    """CPUs in all (``NumCPUs``)."""
    cpus_per_task: int = 1
    cpus_per_node: int = 0
    """The least on each node (``--mincpus``, ``MinCPUsNode``)."""
    tasks_per_node: int = 0
    tasks_per_socket: int = 0
    tasks_per_core: int = 0
    tasks_per_gres: int = 0
    """``--ntasks-per-gpu``."""
    sockets: int = 0
    """The least that a node has (``--sockets-per-node``)."""
    cores: int = 0
    """The least that each socket has (``--cores-per-socket``)."""
    threads: int = 0
    """The most of each core that it uses (``--threads-per-core``, ``--hint=nomultithread``)."""
    core_spec: int = 0
    """Cores of each node that it leaves to the system (``--core-spec``)."""
    thread_spec: int = 0
    """Threads of each node that it leaves to the system (``--thread-spec``)."""
    tmp_disk: int = 0
    """MB of temporary disk on each node (``--tmp``)."""
    per_job: str = ""
    """Generic resources in all (``--gpus``), as ``agent.slurm.gres`` reads them."""
    per_node: str = ""
    """Those on each node (``--gres``, ``--gpus-per-node``)."""
    per_socket: str = ""
    per_task: str = ""
    cpus_per_gres: str = ""
    """CPUs for each generic resource, such as ``gpu:3`` (``--cpus-per-gpu``)."""
    memory_per_gres: str = ""
    """MB for each generic resource, such as ``gpu:4096`` (``--mem-per-gpu``)."""
    memory_per_cpu: bool = False
    """Memory is for each CPU, where a list did not tell that (``MinMemoryCPU``): a job of one CPU."""
    contiguous: bool = False
    overcommit: bool = False
    """More tasks than CPUs may run (``--overcommit``)."""
