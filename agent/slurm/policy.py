"""The settings that the Slurm manager obeys, gathered."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from agent.core.manager import CycleSettings
from agent.core.settings import Duration
from agent.slurm.drain_settings import DrainSettings
from agent.slurm.join import JoinSettings
from agent.slurm.supply import DemandSettings
from agent.slurm.weights import WeightSettings


@dataclass(frozen=True)
class SlurmPolicy:
    """The settings that the decisions about Slurm obey; replaced as a whole on a reload."""

    demand: DemandSettings
    weights: WeightSettings
    drain: DrainSettings
    join: JoinSettings
    partitions: tuple[str, ...] = ()
    """Whose jobs count; empty for all."""
    ssh_user: str = ""
    """Login on the machines; empty for the one that the manifest names."""


class SlurmCycleSettings(CycleSettings):
    """How often each step is done, those of Slurm included."""

    join_nodes: Duration = Field(default=15.0, gt=0, description="look whether ready machines have joined")
    remove_nodes: Duration = Field(
        default=30.0, gt=0, description="drop the Slurm records of machines that are gone"
    )

    def intervals(self) -> dict[str, float]:
        """Return step -> seconds, as ``manage_intervals`` takes it."""
        return {**super().intervals(), "join_nodes": self.join_nodes, "remove_nodes": self.remove_nodes}
