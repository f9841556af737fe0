"""The settings that the Slurm manager obeys, gathered."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.config import CycleSettings
from agent.core.settings import Duration


@dataclass(frozen=True)
class ClusterSettings:
    """The settings that the decisions about Slurm obey; replaced as a whole on a reload."""

    demand: DemandSettings
    weights: WeightSettings
    drain: DrainSettings
    join: JoinSettings
    partitions: tuple[str, ...] = ()
    """Whose jobs count; empty for all."""
    ssh_user: str = ""
    """Login on the machines; empty for the one that the manifest names."""
    plugin: PluginSettings = field(default_factory=PluginSettings)


class SlurmCycleSettings(CycleSettings):
    """How often each step is done, those of Slurm included."""

    join_nodes: Duration = Field(default=15.0, gt=0, description="look whether ready machines have joined")
    remove_nodes: Duration = Field(
        default=30.0, gt=0, description="drop the Slurm records of machines that are gone"
    )

    def intervals(self) -> dict[str, float]:
        """Return step -> seconds, as ``manage_intervals`` takes it."""
        return {**super().intervals(), "join_nodes": self.join_nodes, "remove_nodes": self.remove_nodes}
