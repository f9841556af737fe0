"""How the CPUs of a node are put together, and what of the node jobs may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Numbers are 0 where Slurm does not tell (``scontrol show node``)."""

    sockets: int = 0
    cores: int = 0
    """Cores of each socket."""
    threads: int = 0
    """Threads of each core; Slurm gives a core to one job at a time."""
    usable_cpus: int = 0
    """CPUs that jobs may have, without those set aside for the system (``CPUEfctv``); 0 for all."""
    system_memory: int = 0
    """MB set aside for the system (``MemSpecLimit``)."""
    tmp_disk: int = 0
    """MB of temporary disk."""


UNKNOWN = Layout()
"""Nothing is told of it."""
