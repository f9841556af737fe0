"""Where Slurm does not start jobs that should fit there: what plans go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[object, ...]
"""What decides whether a job finds a place: jobs of one shape ask alike."""


@dataclass(frozen=True)
class Refusal:
    """Where jobs of one shape are not expected to start."""

    nodes: frozenset[str] = frozenset()
    """Names of nodes."""
    types: frozenset[str] = frozenset()
    """Hardware types of machines that come or would be borrowed."""
    reasons: frozenset[str] = frozenset()
    """What Slurm says of such jobs (``squeue %r``)."""

    def __bool__(self) -> bool:
        return bool(self.nodes or self.types)

    def __or__(self, other: Refusal) -> Refusal:
        return Refusal(self.nodes | other.nodes, self.types | other.types, self.reasons | other.reasons)

    def bars(self, name: str, kind: str) -> bool:
        """Tell whether a machine is meant.

        Args:
            name: of its node; "" for one that has not joined.
            kind: its hardware type, where it has not joined.
        """
        return name in self.nodes if name else kind in self.types

    @property
    def words(self) -> str:
        """Say it to people; "" where no type is meant."""
        if not self.types:
            return ""
        where = ", ".join(sorted(self.types - {""})) or "a borrowed machine"
        return f"Slurm does not start it on {where}: says {', '.join(sorted(self.reasons))}"


NOWHERE = Refusal()


@dataclass(frozen=True)
class Refusals:
    """All of them."""

    shapes: Mapping[Shape, Refusal] = field(default_factory=dict)
    """Of all jobs of a shape."""
    jobs: Mapping[tuple[str, Shape], Refusal] = field(default_factory=dict)
    """(Job id, for a task that of its array; shape) -> that of this job alone."""

    def __bool__(self) -> bool:
        return bool(self.shapes or self.jobs)

    def of(self, shape: Shape, job: str) -> Refusal:
        """Return where a job is not expected to start.

        Args:
            shape: its shape.
            job: its id; for a task, that of its array.
        """
        return self.shapes.get(shape, NOWHERE) | self.jobs.get((job, shape), NOWHERE)


NO_REFUSALS = Refusals()
