"""The same random queue and the same random revocations for every run: a seed decides. Pure.

One second stands for ten.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a job does about a revocation."""

    PLAIN = "plain"
    """May be requeued, and begins anew."""
    SAVES = "saves"
    """May be requeued, saves its work at USR1, and goes on from there."""
    FIXED = "fixed"
    """May not be requeued."""


@dataclass(frozen=True)
class JobPlan:
    """A job to be submitted."""

    kind: Kind
    length: float
    """Seconds of work, unless it is ended before."""
    cpus: int
    limit: int | None
    """Its time limit in minutes; None where the user told none."""

    @property
    def work(self) -> float:
        """The CPU-seconds that it is about."""
        return self.length * self.cpus


@dataclass(frozen=True)
class RevocationPlan:
    """A machine that is taken back."""

    node: str
    notice: float
    """When Cloudlab says so, in seconds after the start."""
    wait: float
    """Seconds from the notice to the deadline."""
    away: float
    """Seconds from the deadline for which the machine is in other hands."""

    @property
    def deadline(self) -> float:
        """When it is taken, released or not, in seconds after the start."""
        return self.notice + self.wait


def could_be_saved(job: JobPlan, started: float, deadline: float) -> bool:
    """Tell whether a job that ran on a machine that was taken need not have been lost.

    Args:
        job: one that was lost.
        started: when it began to run there, in seconds after the start.
        deadline: when the machine was taken.
    """
    return job.kind is not Kind.FIXED or started + job.length <= deadline


@dataclass(frozen=True)
class Workload:
    """All that happens to the cluster from outside."""

    seed: int
    jobs: tuple[JobPlan, ...]
    revocations: tuple[RevocationPlan, ...]


def make_workload(seed: int, nodes: tuple[str, ...], jobs: int, revocations: int) -> Workload:
    """Draw a workload; half of the jobs tell an honest time limit."""
    chance = random.Random(seed)
    drawn = tuple(_job(chance) for _ in range(jobs))
    taken = []
    free_from = dict.fromkeys(nodes, 5.0)
    for _ in range(revocations):
        node = min(nodes, key=lambda n: (free_from[n], chance.random()))
        notice = free_from[node] + chance.uniform(0, 20)
        wait, away = chance.uniform(20, 60), chance.uniform(5, 15)
        taken.append(RevocationPlan(node, round(notice, 1), round(wait, 1), round(away, 1)))
        free_from[node] = notice + wait + away + 15
    return Workload(seed, drawn, tuple(sorted(taken, key=lambda r: r.notice)))


def _job(chance: random.Random) -> JobPlan:
    length = round(chance.choice([5, 15, 40, 80]) * chance.uniform(0.8, 1.2), 1)
    kind = chance.choices(list(Kind), weights=[5, 3, 2])[0]
    limit = math.ceil((length + 5) / 60) if chance.random() < 0.5 else None
    return JobPlan(kind, length, chance.choice([1, 1, 2]), limit)
