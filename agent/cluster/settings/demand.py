"""[demand]: which machines are borrowed, how many, and when they go back."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from agent.core.settings import Duration, Section
from agent.slurm.gres import parse_gres
from agent.slurm.layout import UNKNOWN, Layout

_OF_ONE_TYPE = frozenset(
    {
        *("node_cpus", "node_sockets", "node_cores_per_socket", "node_threads_per_core", "node_system_cpus"),
        *("node_memory", "node_system_memory", "node_tmp_disk", "node_gres", "features"),
    }
)
_SOCKETS = "number of its sockets; 0: not told, each core is a socket then unless the others say more"
_CORES = "number of cores of each socket; 0: not told"
_THREADS = "number of CPUs of each core: Slurm gives a core to one job at a time; 0: not told"
_SYSTEM_CPUS = "number of CPUs that slurm.conf sets aside for the system (CoreSpecCount, CpuSpecList)"
_SYSTEM_MEMORY = "MB of the memory that slurm.conf sets aside for the system (MemSpecLimit)"
_TMP_DISK = "MB of temporary disk, as Slurm sees it; jobs may want it (--tmp)"


class MachineType(Section):
    """One type of machine that can be borrowed; the first that fits a job is asked for.

    What a machine gives is asked here for the first time only: later what Slurm saw of one counts.
    """

    hardware_type: str = Field(min_length=1, description="hardware type at the CM, such as c220g5")
    cms: tuple[str, ...] = Field((), description="URNs of the CMs that have it; empty: all")
    cpus: int = Field(
        1,
        ge=1,
        description="number of CPUs that Slurm sees on one machine; this and the rest of what a machine "
        "gives is asked for the first one only: then what Slurm saw of it counts",
    )
    memory: int = Field(
        0, ge=0, description="memory of one machine in MB, as Slurm sees it; 0: not looked at"
    )
    sockets: int = Field(0, ge=0, description=_SOCKETS)
    cores_per_socket: int = Field(0, ge=0, description=_CORES)
    threads_per_core: int = Field(0, ge=0, description=_THREADS)
    system_cpus: int = Field(0, ge=0, description=_SYSTEM_CPUS)
    system_memory: int = Field(0, ge=0, description=_SYSTEM_MEMORY)
    tmp_disk: int = Field(0, ge=0, description=_TMP_DISK)
    gres: str = Field("", description="generic resources of one machine, such as gpu:2; jobs may want them")
    features: tuple[str, ...] = Field((), description="Slurm features of every machine of this type")
    max_nodes: int = Field(10_000, ge=0, description="number of machines of this type that are held at most")

    @field_validator("gres")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_gres(text)
        return text

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        _check(self._parts, self.memory, "")
        return self

    @property
    def layout(self) -> Layout:
        """How its CPUs are put together; 0 where nothing is told of that."""
        return _layout(self._parts)

    @property
    def _parts(self) -> _Parts:
        return _Parts(
            *(self.cpus, self.sockets, self.cores_per_socket, self.threads_per_core, self.system_cpus),
            *(self.system_memory, self.tmp_disk),
        )

    def is_at(self, cm: str) -> bool:
        """Tell whether a CM has it."""
        return not self.cms or cm in self.cms


class DemandSettings(Section):
    """[demand]: when machines are borrowed and given back."""

    node_cpus: int = Field(
        1,
        ge=1,
        description="number of CPUs that Slurm sees on one borrowed machine; this and the rest of what a "
        "machine gives is asked for the first one only: then what Slurm saw of it counts",
    )
    node_memory: int = Field(
        0, ge=0, description="memory of one borrowed machine in MB, as Slurm sees it; 0: not looked at"
    )
    node_sockets: int = Field(0, ge=0, description=_SOCKETS)
    node_cores_per_socket: int = Field(0, ge=0, description=_CORES)
    node_threads_per_core: int = Field(0, ge=0, description=_THREADS)
    node_system_cpus: int = Field(0, ge=0, description=_SYSTEM_CPUS)
    node_system_memory: int = Field(0, ge=0, description=_SYSTEM_MEMORY)
    node_tmp_disk: int = Field(0, ge=0, description=_TMP_DISK)
    node_gres: str = Field(
        "",
        description="generic resources of one borrowed machine, such as gpu:2; empty: none",
    )
    features: tuple[str, ...] = Field(
        (), description="Slurm features that every borrowed machine has; jobs that want others do not count"
    )
    min_nodes: int = Field(0, ge=0, description="number of machines that are kept even when nothing waits")
    max_nodes: int = Field(10, ge=0, description="number of machines that are held at most")
    max_overlap: int = Field(
        10_000,
        ge=0,
        description="number of machines that go by a deadline, such as revoked ones, and do not count "
        "against max_nodes any more from the notice on; 0: each counts until it is gone",
    )
    grow_after: Duration = Field(
        10, ge=0, description="how long a job has to wait for room before a machine is borrowed for it"
    )
    settle: Duration = Field(
        300,
        ge=0,
        description="how long a job waits on although a machine that should take it is there and unused, "
        "before the estimate counts as wrong: no machine is kept or borrowed for such jobs then; more than "
        "Slurm needs to start a job, bf_interval with it; 0: never",
    )
    idle_timeout: Duration = Field(
        600, ge=0, description="how long a machine is idle before it counts as surplus"
    )
    min_hold: Duration = Field(
        900, ge=0, description="how long a machine that has joined is held before it counts as surplus"
    )
    idle_limit: Duration = Field(
        9000,
        ge=0,
        description="a machine that is idle for so long goes back whatever keeps it, min_nodes included, "
        "where half of its CM's would be: sites may stop renewing a slice half of which is idle for 3 h; 0: "
        "never",
    )
    begin_horizon: Duration = Field(
        600,
        ge=0,
        description="how near the begin time of a job is, such as a requeued one, for it to count already",
    )
    types: tuple[MachineType, ...] = Field(
        (),
        description="Types of machines, preferred first, where more than one is borrowed; they take the place"
        " of features and of what begins with node_.",
    )

    @field_validator("node_gres")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_gres(text)
        return text

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}")
        if self.types and (double := self.model_fields_set & _OF_ONE_TYPE):
            raise ValueError(f"{', '.join(sorted(double))}: belongs to the types, which are given")
        names = [each.hardware_type for each in self.types]
        if len(set(names)) < len(names):
            raise ValueError(f"types: each hardware_type is expected once, not {', '.join(names)}")
        _check(self._parts, self.node_memory, "node_")
        return self

    @property
    def _parts(self) -> _Parts:
        return _Parts(
            *(self.node_cpus, self.node_sockets, self.node_cores_per_socket, self.node_threads_per_core),
            *(self.node_system_cpus, self.node_system_memory, self.node_tmp_disk),
        )

    @property
    def most_at_once(self) -> int:
        """How many machines there may be at once, those with them that go and are being replaced."""
        return self.max_nodes + min(self.max_nodes, self.max_overlap)

    def offers(self) -> tuple[Offer, ...]:
        """Return what can be borrowed, preferred first."""
        if self.types:
            return tuple(
                Offer(
                    *(t.hardware_type, t.cpus, t.memory or None, t.gres, frozenset(t.features)),
                    *(t.max_nodes, t.layout),
                )
                for t in self.types
            )
        gives = (self.node_cpus, self.node_memory or None, self.node_gres, frozenset(self.features))
        return (Offer("", *gives, self.max_nodes, _layout(self._parts)),)

    def types_at(self, cm: str) -> tuple[str, ...]:
        """Return the names of the offers that a CM has, preferred first."""
        return tuple(t.hardware_type for t in self.types if t.is_at(cm)) if self.types else ("",)


@dataclass(frozen=True)
class Offer:
    """What one borrowed machine of a type gives."""

    type: str
    """Its hardware type; "" where only one is borrowed."""
    cpus: int
    memory: int | None
    """MB; None where it is not looked at."""
    gres: str
    features: frozenset[str]
    max_nodes: int
    layout: Layout = UNKNOWN
    """How its CPUs are put together, and what of it jobs may have."""


class _Parts(NamedTuple):
    """What is said of a machine's CPUs, and of what jobs do not have of it."""

    cpus: int
    sockets: int
    cores: int
    threads: int
    system_cpus: int
    system_memory: int
    tmp_disk: int


def _check(parts: _Parts, memory: int, prefix: str) -> None:
    """Refuse numbers that no machine has; slurm.conf(5) may count cores as CPUs.

    Raises:
        ValueError: with the names of the settings.
    """
    told = {
        f"{prefix}sockets": parts.sockets,
        f"{prefix}cores_per_socket": parts.cores,
        f"{prefix}threads_per_core": parts.threads,
    }
    given = {name: number for name, number in told.items() if number}
    product = prod(given.values())
    counts_cores = parts.cpus == parts.sockets * parts.cores
    adds_up = parts.cpus == product if len(given) == len(told) else parts.cpus % product == 0
    if not adds_up and not counts_cores:
        words = " x ".join(f"{name} {number}" for name, number in given.items())
        expected = "the product" if len(given) == len(told) else "a multiple"
        raise ValueError(f"{prefix}cpus {parts.cpus}: {expected} of {words} is expected")
    if parts.system_cpus >= parts.cpus:
        raise ValueError(
            f"{prefix}system_cpus {parts.system_cpus}: fewer than {prefix}cpus {parts.cpus} are expected"
        )
    if memory and parts.system_memory >= memory:
        raise ValueError(
            f"{prefix}system_memory {parts.system_memory}: less than {prefix}memory {memory} is expected"
        )


def _layout(parts: _Parts) -> Layout:
    """Complete what is told as slurm.conf(5) does; nothing where nothing is told."""
    if not any(parts[1:]):
        return UNKNOWN
    threads = parts.threads or 1
    cores = parts.cores or (max(parts.cpus // (parts.sockets * threads), 1) if parts.sockets else 1)
    return Layout(
        sockets=parts.sockets or max(parts.cpus // (cores * threads), 1),
        cores=cores,
        threads=threads,
        usable_cpus=parts.cpus - parts.system_cpus if parts.system_cpus else 0,
        system_memory=parts.system_memory,
        tmp_disk=parts.tmp_disk,
    )
