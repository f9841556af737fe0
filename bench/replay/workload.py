"""The jobs of a mixed queue, drawn with a seed: when each comes, what it asks for, how long it runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

_BUSY, _QUIET = (8, 19), 0.2
"""Hours of the day in which most jobs come; what comes in the others, as a part of that."""
GIVES_UP = 720.0
"""Minutes after which a user cancels a job that has not started."""


@dataclass(frozen=True)
class Kind:
    """What users ask for of which kind, and how long it takes them."""

    name: str
    weight: int
    minutes: tuple[int, int]
    lines: Sequence[str]
    """sbatch's options; no job of kind ``never`` starts on any machines of these types."""


KINDS = (
    Kind("short", 30, (3, 40), ("-n 1", "-n 1 -c 2", "-n 2 --mem=1000", "-n 1 --mem=3000", "-N 1 -n 3")),
    Kind(
        "mpi",
        14,
        (30, 240),
        (
            *("-N 2 -n 8", "-N 3 -n 12", "-n 12", "-N 4 --ntasks-per-node=2", "-N 2 --exclusive", "-n 20"),
            *("-N 2 -n 9 -C fe", "-N 2 --mincpus=4", "-N 2 -C [fa*1&fb*1]", "-n 6 --ntasks-per-socket=2"),
        ),
    ),
    Kind(
        "array",
        12,
        (10, 60),
        (
            *(
                "--array=1-8 -n 1",
                "--array=1-12%4 -c 2",
                "--array=1-4 --mem=0",
                "--array=1-6 -n 2 --mem=4000",
            ),
            *("--array=1-4 -C fc -n 2 --hint=nomultithread", "--array=1-10 -n 1 -C fc"),
        ),
    ),
    Kind(
        "gpu",
        14,
        (20, 300),
        (
            *("--gres=gpu:1", "--gres=gpu:2", "-n 4 --gpus=4 -C fb", "-n 4 --gpus-per-task=1 -C fb"),
            *("--gres=gpu:3090:1", "-N 2 --gpus-per-node=2 -C fb", "--gpus=1 --cpus-per-gpu=4", "--gpus=2"),
        ),
    ),
    Kind(
        "memory", 8, (20, 180), ("--mem=20000", "--mem=0", "--mem-per-cpu=5000 -n 3 -N 1", "--mem=12000 -n 2")
    ),
    Kind(
        "threads",
        8,
        (20, 120),
        (
            "-n 4 --hint=nomultithread -C fc",
            "-c 3 --threads-per-core=1",
            "-n 4 --ntasks-per-core=1",
            "-n 3 -C fc",
        ),
    ),
    Kind("range", 6, (20, 120), ("-N 2-4 -n 4", "-N 1-2 -n 6", "-N 1-3 -n 10", "-N 2-3 -n 8 --mem=4000")),
    Kind(
        "odd", 4, (20, 90), ("-N 3 --contiguous", "-n 6 --spread-job", "-N 2 -n 2 --thread-spec=1", "-n 5 -O")
    ),
    Kind(
        "never",
        5,
        (30, 60),
        (
            *("-N 1 -n 5 -C fa", "-n 1 -c 12", "--mem=50000", "--gres=gpu:4", "-C nosuch", "-N 1 -n 20"),
            *(
                "-N 2 -n 9 -C fa",
                "-n 1 -c 6 -C fc",
                "--gres=gpu:a100:1",
                "-N 1 --gpus=3 -C fb",
                "--mem-per-cpu=9000 -C fa",
            ),
        ),
    ),
    Kind("held", 3, (30, 60), ("-n 4 -H", "-N 3 -n 12 --dependency=singleton --job-name=alone")),
)


@dataclass(frozen=True)
class Submission:
    """A job, or an array, that somebody submits."""

    at: float
    """Minutes after the beginning."""
    kind: str
    line: str
    runs: float
    """Minutes that it takes, each task of it."""
    limit: int
    """Minutes that its user asks for."""


def draw(seed: int, hours: int, per_hour: float) -> tuple[Submission, ...]:
    """Draw a queue, in the order in which its jobs come.

    Args:
        seed: the same one draws the same.
        hours: how long jobs come.
        per_hour: how many come in a busy hour, on the average.
    """
    chance = random.Random(seed)
    drawn: list[Submission] = []
    at = 0.0
    weights = [kind.weight for kind in KINDS]
    while True:
        at += chance.expovariate(per_hour / 60)
        if at >= hours * 60:
            return tuple(drawn)
        is_busy = _BUSY[0] <= (at / 60 + 8) % 24 < _BUSY[1]
        kind = chance.choices(KINDS, weights)[0]
        line, runs = chance.choice(kind.lines), chance.uniform(*kind.minutes)
        if is_busy or chance.random() < _QUIET:
            # A limit is never short: slurmctld's own clock goes on meanwhile.
            drawn.append(Submission(at, kind.name, line, runs, max(int(runs * 2), 60)))
