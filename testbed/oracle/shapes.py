"""What the oracle asks about: types of machines, combinations of them, and configurations of Slurm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WAITING_ROOM = "wait"
"""A partition of no nodes, with the rules of all others: what the planner reads waits there."""
MOST = 4
"""Machines of the largest combination."""


@dataclass(frozen=True)
class Shape:
    """A type of machine."""

    name: str
    conf: str
    """As in the NodeName line of slurm.conf(5)."""


SHAPES = (
    Shape("T1", "CPUs=4 RealMemory=8000 Feature=fa"),
    Shape("T2", "CPUs=8 Sockets=2 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=16000 Gres=gpu:2 Feature=fb"),
    Shape("T3", "CPUs=4 Sockets=1 CoresPerSocket=2 ThreadsPerCore=2 RealMemory=8000 Feature=fc"),
    Shape(
        "T4",
        "CPUs=8 Sockets=2 CoresPerSocket=2 ThreadsPerCore=2 RealMemory=12000 TmpDisk=1000 "
        # slurmctld 22.05 learns CoreSpecCount from slurmd alone, which never registers here.
        "Gres=gpu:a100:2,gpu:v100:1 Feature=fd,big MemSpecLimit=2000 CpuSpecList=6,7",
    ),
    Shape(
        "T5",
        "CPUs=8 Sockets=1 CoresPerSocket=4 ThreadsPerCore=2 RealMemory=24000 Gres=gpu:3090:2 Feature=fe,big",
    ),
)
NAMES = tuple(shape.name for shape in SHAPES)


@dataclass(frozen=True, order=True)
class Combination:
    """Some machines, by their types in the order of ``SHAPES``."""

    types: tuple[str, ...]

    def __str__(self) -> str:
        """Write it as ``T1*2+T3``."""
        return "+".join(t if n == 1 else f"{t}*{n}" for t, n in sorted(Counter(self.types).items()))

    @classmethod
    def of(cls, types: Iterable[str]) -> Combination:
        """Put machines in order."""
        return cls(tuple(sorted(types, key=NAMES.index)))

    def without_one(self) -> frozenset[Combination]:
        """Return those that lack one machine of it; none of them is empty."""
        parts = (self.types[:i] + self.types[i + 1 :] for i in range(len(self.types)))
        return frozenset(Combination(part) for part in parts if part)


ALONE = tuple(Combination((name,) * count) for name in NAMES for count in range(1, MOST + 1))
"""Machines of one type."""


@dataclass(frozen=True)
class Configuration:
    """How Slurm chooses nodes."""

    name: str
    cluster: str
    """Lines of slurm.conf(5), separated by newlines."""
    partition: str = ""
    """Options of each partition."""


def _tres(parameters: str, *more: str, partition: str = "") -> Configuration:
    lines = ["SelectType=select/cons_tres", f"SelectTypeParameters={parameters}", *more]
    return Configuration("+".join(filter(None, (parameters, *more, partition))), "\n".join(lines), partition)


def _linear(parameters: str = "") -> Configuration:
    lines = ["SelectType=select/linear", *([f"SelectTypeParameters={parameters}"] if parameters else [])]
    return Configuration("+".join(filter(None, ("linear", parameters))), "\n".join(lines))


CONFIGURATIONS: Sequence[Configuration] = (
    _tres("CR_CPU"),
    _tres("CR_Core"),
    _tres("CR_Core_Memory"),
    _tres("CR_CPU_Memory"),
    _tres("CR_Core_Memory", "DefMemPerCPU=1000"),
    _tres("CR_CPU_Memory", "DefMemPerNode=3000"),
    _tres("CR_Socket_Memory"),
    _tres("CR_Core_Memory,CR_ONE_TASK_PER_CORE", "DefMemPerCPU=500"),
    _tres("CR_Core", partition="MaxNodes=1"),
    _tres("CR_Core", partition="OverSubscribe=FORCE:2"),
    _tres("CR_Core_Memory", partition="OverSubscribe=EXCLUSIVE"),
    _linear(),
    _linear("CR_Memory"),
)


def configuration(name: str) -> Configuration:
    """Find a configuration by its name.

    Raises:
        KeyError: there is none of that name.
    """
    return {each.name: each for each in CONFIGURATIONS}[name]
