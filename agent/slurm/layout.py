"""How the CPUs of a node are put together, and what of the node jobs may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CPUS = re.compile(r"(?:^|,)cpu=(\d+)(?:,|$)", re.ASCII)


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


def layout_of_json(record: Mapping[str, Any]) -> Layout:
    """Read a node of Slurm's JSON. 22.05 tells the usable CPUs in ``tres`` alone, and no system memory.

    Raises:
        KeyError: a field is missing.
        ValueError: a field is no number.
    """
    usable = record.get("effective_cpus")
    if usable is None:
        told = _CPUS.search(record.get("tres") or "")
        usable = int(told[1]) if told else 0
    return Layout(
        sockets=_number(record["sockets"]),
        cores=_number(record["cores"]),
        threads=_number(record["threads"]),
        usable_cpus=_number(usable),
        system_memory=_number(record.get("specialized_memory", 0)),
        tmp_disk=_number(record["temporary_disk"]),
    )


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a number from 0 on, got {value!r}")
    return value
