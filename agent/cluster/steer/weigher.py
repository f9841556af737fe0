"""Pushes Cloudlab's resource values to Slurm as node weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agent.cluster.desk import Desk
from agent.cluster.memory.known import Known
from agent.cluster.steer.weights import SetWeight
from agent.core.errors import SlurmRefusedError
from agent.core.events import EventKind
from agent.slurm.model import SlurmBackend


class Weigher:
    """Sets weights in Slurm.

    Args:
        desk: told of each weight.
        known: takes note of what Slurm took.
        backend: the way in to Slurm.
    """

    def __init__(self, desk: Desk, known: Known, backend: SlurmBackend) -> None:
        self._desk = desk
        self._known = known
        self._backend = backend

    def push(self, changes: Iterable[SetWeight]) -> None:
        """Set the weights that have to change.

        Raises:
            SlurmRefusedError: the first refusal, when all that Slurm takes is set.
        """
        refused: list[SlurmRefusedError] = []
        for change in changes:
            done, errors = push_weights(self._backend, change)
            self._known.note_weights(done, change.weight)
            refused += errors
            for name in done:
                self._desk.tell(EventKind.WEIGHT, name, f"weight {change.weight}: {change.reason}")
        if refused:
            raise refused[0]


def push_weights(backend: SlurmBackend, change: SetWeight) -> tuple[tuple[str, ...], list[SlurmRefusedError]]:
    """Set one weight, in one request; where Slurm refuses it, in halves, so that one node costs no other.

    Returns:
        The names that Slurm took, and each refusal. The next reading tells what really holds.

    Raises:
        SlurmDownError: no controller answered.
    """
    try:
        backend.set_weight(change.nodes, change.weight)
    except SlurmRefusedError as error:
        if len(change.nodes) == 1:
            return (), [error]
    else:
        return change.nodes, []
    middle = len(change.nodes) // 2
    parts = (change.nodes[:middle], change.nodes[middle:])
    halves = [push_weights(backend, replace(change, nodes=part)) for part in parts]
    return tuple(n for done, _ in halves for n in done), [e for _, errors in halves for e in errors]
