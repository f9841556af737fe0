"""[demand]: which machines are borrowed, how many, and when they go back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from agent.core.settings import Duration, Section
from agent.slurm.gres import parse_gres
from agent.slurm.layout import UNKNOWN, Layout

_OF_ONE_TYPE = {"node_cpus": "cpus", "node_memory": "memory", "node_gres": "gres", "features": "features"}


class MachineType(Section):
    """One type of machine that can be borrowed; the first that fits a job is asked for."""

    hardware_type: str = Field(min_length=1, description="hardware type at the CM, such as c220g5")
    cms: tuple[str, ...] = Field((), description="URNs of the CMs that have it; empty: all")
    cpus: int = Field(1, ge=1, description="number of CPUs that Slurm sees on one machine")
    memory: int = Field(
        0, ge=0, description="memory of one machine in MB, as Slurm sees it; 0: not looked at"
    )
    gres: str = Field("", description="generic resources of one machine, such as gpu:2; jobs may want them")
    features: tuple[str, ...] = Field((), description="Slurm features of every machine of this type")
    max_nodes: int = Field(10_000, ge=0, description="number of machines of this type that are held at most")

    @field_validator("gres")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_gres(text)
        return text

    def is_at(self, cm: str) -> bool:
        """Tell whether a CM has it."""
        return not self.cms or cm in self.cms


class DemandSettings(Section):
    """[demand]: when machines are borrowed and given back."""

    node_cpus: int = Field(1, ge=1, description="number of CPUs that Slurm sees on one borrowed machine")
    node_memory: int = Field(
        0, ge=0, description="memory of one borrowed machine in MB, as Slurm sees it; 0: not looked at"
    )
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
        " of node_cpus, node_memory, node_gres and features.",
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
        if self.types and (double := self.model_fields_set & _OF_ONE_TYPE.keys()):
            raise ValueError(f"{', '.join(sorted(double))}: belongs to the types, which are given")
        names = [each.hardware_type for each in self.types]
        if len(set(names)) < len(names):
            raise ValueError(f"types: each hardware_type is expected once, not {', '.join(names)}")
        return self

    @property
    def most_at_once(self) -> int:
        """How many machines there may be at once, those with them that go and are being replaced."""
        return self.max_nodes + min(self.max_nodes, self.max_overlap)

    def offers(self) -> tuple[Offer, ...]:
        """Return what can be borrowed, preferred first."""
        if self.types:
            return tuple(
                Offer(t.hardware_type, t.cpus, t.memory or None, t.gres, frozenset(t.features), t.max_nodes)
                for t in self.types
            )
        features = frozenset(self.features)
        return (
            Offer("", self.node_cpus, self.node_memory or None, self.node_gres, features, self.max_nodes),
        )

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
