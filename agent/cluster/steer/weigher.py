"""Pushes Cloudlab's resource values to Slurm as node weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agent.cluster.memory.known import Known
from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.steer.weights import SetWeight, note_weights, plan_weights, push_weights
from agent.core.errors import SlurmRefusedError
from agent.core.events import EventKind
from agent.core.model import ResourceValue
from agent.core.ports import Clock
from agent.slurm.model import SlurmBackend


class Valuer(Protocol):
    """What the manager knows of Cloudlab."""

    clock: Clock
    settings: ClusterSettings
    rlock: Any
    resource_values: dict[str, ResourceValue]


class Weigher:
    """Acts on what ``plan_weights`` says.

    Args:
        valuer: the manager.
        known: the moment; it takes note of the weights that are set.
        backend: the way in to Slurm.
        tell: records an event: kind, node name, words.
    """

    def __init__(
        self, valuer: Valuer, known: Known, backend: SlurmBackend, tell: Callable[[EventKind, str, str], None]
    ) -> None:
        self._valuer = valuer
        self._known = known
        self._backend = backend
        self._tell = tell

    def plan(self, picture: Picture) -> tuple[SetWeight, ...]:
        """Decide which weights have to change."""
        names = {node.node_id: name for name, node in picture.machines.items()}
        with self._valuer.rlock:
            values = dict(self._valuer.resource_values)
        settings = self._valuer.settings.weights
        return plan_weights(picture.snapshot, names, values, settings, self._valuer.clock.now())

    def push(self) -> None:
        """Set the weights that have to change; nothing without a reading of Slurm.

        Raises:
            SlurmRefusedError: the first refusal, when all that Slurm takes is set.
        """
        if self._known.snapshot is None:
            return
        refused: list[SlurmRefusedError] = []
        for change in self.plan(self._known.picture(self._known.snapshot)):
            done, errors = push_weights(self._backend, change)
            self._known.snapshot = note_weights(self._known.snapshot, done, change.weight)
            refused += errors
            for name in done:
                self._tell(EventKind.WEIGHT, name, f"weight {change.weight}: {change.reason}")
        if refused:
            raise refused[0]
