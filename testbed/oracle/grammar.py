"""Submissions drawn at random: each is a few of sbatch(1)'s options that somebody might put together."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_Draw = Callable[[Random], str]


def _one_of(*words: str) -> _Draw:
    return lambda random: random.choice(words)


def _number(pattern: str, low: int, high: int) -> _Draw:
    return lambda random: pattern.format(random.randint(low, high))


def _range(random: Random) -> str:
    low = random.randint(1, 3)
    return f"-N{low}-{random.randint(low, 4)}"


_GROUPS: tuple[tuple[float, tuple[_Draw, ...]], ...] = (
    (0.45, (_number("-N{}", 1, 4), _range)),
    (0.6, (_number("-n{}", 1, 6), _number("-n{}", 4, 18))),
    (0.25, (_number("-c{}", 1, 5),)),
    (
        0.2,
        (
            _number("--ntasks-per-node={}", 1, 5),
            _number("--ntasks-per-socket={}", 1, 4),
            _number("--ntasks-per-core={}", 1, 2),
        ),
    ),
    (
        0.3,
        (
            _one_of(
                "--mem=0", "--mem=500", "--mem=2000", "--mem=5000", "--mem=7900", "--mem=11000", "--mem=20000"
            ),
            _one_of(*(f"--mem-per-cpu={mb}" for mb in (300, 1000, 1900, 2100, 3000, 5000))),
        ),
    ),
    (
        0.3,
        (
            _number("--gres=gpu:{}", 1, 3),
            _one_of("--gres=gpu:a100:1", "--gres=gpu:3090:1", "--gres=gpu:a100:2", "--gres=gpu:v100:1"),
            _number("--gpus={}", 1, 5),
            _one_of("--gpus=a100:2", "--gpus=a100:3", "--gpus=3090:2", "--gpus=3090:3", "--gpus=v100:2"),
            _number("--gpus-per-node={}", 1, 2),
            _number("--gpus-per-task={}", 1, 2),
            _number("--gpus=2 --cpus-per-gpu={}", 1, 4),
            _number("--gres=gpu:1 --cpus-per-gpu={}", 1, 5),
            _one_of("--gpus=2 --mem-per-gpu=3000", "--gpus=3 --mem-per-gpu=9000"),
            _number("--gpus=2 --ntasks-per-gpu={}", 1, 3),
            _number("--gpus-per-node=1 --ntasks-per-gpu={}", 1, 3),
            _one_of("--gpus-per-socket=1 --sockets-per-node=1", "--gpus-per-socket=1 --sockets-per-node=2"),
        ),
    ),
    (
        0.15,
        (
            _one_of("-Cfa", "-Cfb", "-Cfa|fb", "-Cbig", "-Cbig&fd", "-Cfb|fe", "-C(fa|fc)&big", "-Cfc|big"),
            _one_of(
                "-C[fa*1&fb*1]", "-C[fd*1&fe*1]", "-C[fa*2&fc*1]", "-C[fa|fb]", "-C[fa|fb|fe]", "-C[big*2]"
            ),
        ),
    ),
    (
        0.25,
        (
            _one_of(
                "--hint=nomultithread", "--hint=multithread", "--hint=compute_bound", "--hint=memory_bound"
            ),
            _number("--threads-per-core={}", 1, 2),
            _one_of("-B1", "-B2", "-B1:2", "-B2:2", "-B1:4", "-B2:2:2", "-B*:*:1", "-B*:2:*"),
            _number("--cores-per-socket={}", 2, 4),
            _number("--sockets-per-node={}", 1, 2),
            _number("--mincpus={}", 2, 8),
            _one_of("--tmp=500", "--tmp=1500"),
            _number("--core-spec={}", 1, 2),
            _number("--thread-spec={}", 1, 2),
        ),
    ),
    (0.15, (_one_of("--exclusive", "--exclusive", "--oversubscribe", "--overcommit", "--contiguous"),)),
    (0.2, (_number("--array=1-{}", 2, 6),)),
)
"""How likely an option is of each kind, and what it may be."""


def draw(seed: int, count: int) -> list[str]:
    """Draw so many submissions, each a line of options that is in it once; the same for the same seed."""
    random = Random(seed)
    lines: dict[str, None] = {}
    while len(lines) < count:
        options = [random.choice(draws)(random) for chance, draws in _GROUPS if random.random() < chance]
        if options:
            lines[" ".join(options)] = None
    return list(lines)
