"""Our machines beside what Slurm says of them, at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import SliverNode
from agent.slurm.model import Snapshot


@dataclass(frozen=True)
class Picture:
    """One moment."""

    snapshot: Snapshot
    machines: Mapping[str, SliverNode]
    """Node name -> machine, for every machine that a manifest says is ours."""
    leaving: frozenset[str] = frozenset()
    """Names of those that somebody wants empty."""

    @property
    def joined(self) -> frozenset[str]:
        """Names of our machines that Slurm has."""
        return frozenset(self.machines) & frozenset(self.snapshot.nodes)

    @property
    def serving(self) -> frozenset[str]:
        """Names of those that nobody wants empty."""
        return self.joined - self.leaving
