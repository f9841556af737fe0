"""The same random queue and the same random revocations for every run: a seed decides. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class JobPlan:
    """A job to be submitted."""

    length: float
    """Seconds of work, unless it is ended before."""
    cpus: int
    options: tuple[str, ...]


@dataclass(frozen=True)
class RevocationPlan:
    """A machine that is taken back."""

    node: str
    notice: float
    """When Cloudlab says so, in seconds after the start."""
    wait: float
    """Seconds from the notice to the deadline."""
    away: float
    """Seconds that the machine is in other hands."""


@dataclass(frozen=True)
class Workload:
    """All that happens to the cluster from outside."""

    jobs: tuple[JobPlan, ...]
    revocations: tuple[RevocationPlan, ...]


def make_workload(seed: int, nodes: tuple[str, ...], jobs: int, revocations: int) -> Workload:
    """Draw a workload: a fifth of the jobs may not be requeued, and half tell an honest time limit."""
    chance = random.Random(seed)
    drawn = tuple(_job(chance) for _ in range(jobs))
    taken = []
    free_from = dict.fromkeys(nodes, 5.0)
    for _ in range(revocations):
        node = min(nodes, key=lambda n: (free_from[n], chance.random()))
        notice = free_from[node] + chance.uniform(0, 15)
        wait, away = chance.uniform(8, 16), chance.uniform(5, 10)
        taken.append(RevocationPlan(node, round(notice, 1), round(wait, 1), round(away, 1)))
        free_from[node] = notice + wait + away + 25
    return Workload(drawn, tuple(sorted(taken, key=lambda r: r.notice)))


def _job(chance: random.Random) -> JobPlan:
    length = round(chance.choice([2, 5, 10, 20, 40]) * chance.uniform(0.8, 1.2), 1)
    cpus = chance.choice([1, 1, 2])
    options = [f"--cpus-per-task={cpus}"]
    if chance.random() < 0.5:
        options.append("--time=1")
    if chance.random() < 0.2:
        options.append("--no-requeue")
    return JobPlan(length, cpus, tuple(options))
