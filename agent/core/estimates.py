"""What was expected of machines: for which jobs they were asked for, and which of those never started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

TOLD = 5
"""Jobs that are named of those that a machine was asked for."""


@dataclass(frozen=True)
class ForJobs:
    """The jobs that machines were asked for."""

    jobs: tuple[str, ...] = ()
    """Ids of the oldest of them."""
    more: int = 0
    """How many others there are."""

    @classmethod
    def of(cls, jobs: Sequence[str]) -> Self:
        """Name the first few."""
        return cls(tuple(jobs[:TOLD]), max(len(jobs) - TOLD, 0))

    @property
    def ids(self) -> str:
        """Return those that are named, with blanks between them."""
        return " ".join(self.jobs)

    @property
    def words(self) -> str:
        """Say it to people; "" for none."""
        if not self.jobs:
            return ""
        others = f" and {self.more} more" if self.more else ""
        return f"job{'s' if len(self.jobs) > 1 else ''} {', '.join(self.jobs)}{others}"


@dataclass(frozen=True)
class WrongEstimate:
    """Jobs that ask alike should start on machines of a type, or on a node, and Slurm does not start them."""

    shape: str
    """Digest of what the jobs ask for."""
    where: str
    """The hardware type, "" where only one is borrowed; or the name of a node."""
    is_node: bool
    """``where`` is a node: one that is not borrowed, or one with jobs that leave no room after all."""
    under: str
    """Digest of what such a machine gave then: with another it is tried again."""
    job: str
    """Id of the job that waited (for a task, that of its array)."""
    reason: str
    """What Slurm said of it (``squeue %r``)."""
    since: datetime
    """By the wall clock."""
    rules: str = ""
    """Digest of how Slurm chose nodes then; "" where that was not known."""
    alone: bool = False
    """Only that job is meant: another that asks alike was started there."""
    beside: frozenset[str] = frozenset()
    """Ids of the jobs that the node had then: with others it is tried again; empty where it was idle."""

    @property
    def key(self) -> tuple[str, str, bool, str]:
        """What there is one of at a time."""
        return self.shape, self.where, self.is_node, self.job
