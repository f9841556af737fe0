"""Whether the planner is right about a submission: its machines are enough, none is for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from testbed.oracle.asking import Oracle
from testbed.oracle.planning import Planned, Reader
from testbed.oracle.shapes import ALONE, MOST, NAMES, Combination


class Result(StrEnum):
    """How a plan compares with what Slurm does."""

    RIGHT = "right"
    TOO_MANY = "too many"
    """A machine of it is for nothing."""
    FOR_NOTHING = "never, but borrowed"
    """Slurm starts it on no such machines, or none of what was borrowed is used."""
    TOO_FEW = "too few"
    """It is promised room that Slurm does not give: the bad side."""
    MISSED = "not borrowed"
    """Slurm would start it, and the plan says that it does not."""


@dataclass(frozen=True)
class Case:
    """One submission, and the types that may be borrowed for it."""

    line: str
    types: tuple[str, ...]
    planned: Planned
    slurm: str
    result: Result

    def __str__(self) -> str:
        """Say it in one line."""
        ours = f"{self.planned.machines or 'none'}{'' if self.planned.whole else ' (not all)'}"
        offered = "all types" if len(self.types) > 1 else self.types[0]
        return f"{self.result}: {self.line!r} on {offered}: Slurm {self.slurm}, we {ours}: {self.planned.why}"


def compare(lines: Sequence[str], oracle: Oracle, reader: Reader) -> list[Case]:
    """Compare every line, on each type alone and on all."""
    offers = [(name,) for name in NAMES] + [NAMES]
    plans = [(line, types, reader.plan(line, types)) for line in lines for types in offers]
    for count in range(1, MOST + 1):
        oracle.learn(
            (line, Combination((name,) * count))
            for line in lines
            for name in NAMES
            if not any(oracle.starts(line, Combination((name,) * fewer)) for fewer in range(1, count))
        )
    oracle.learn(
        (line, combination)
        for line, _, planned in plans
        for combination in (planned.machines, *sorted(planned.machines.without_one()))
        if combination.types
    )
    return [_compare(line, types, planned, oracle) for line, types, planned in plans]


def _compare(line: str, types: tuple[str, ...], planned: Planned, oracle: Oracle) -> Case:
    counts = sorted((c for c in ALONE if c.types[0] in types), key=lambda c: len(c.types))
    enough = next((c for c in counts if oracle.starts(line, c)), None)
    machines = planned.machines
    if planned.whole and machines.types and oracle.starts(line, machines):
        less = next((c for c in sorted(machines.without_one()) if oracle.starts(line, c)), None)
        result = Result.TOO_MANY if less else Result.RIGHT
        return Case(line, types, planned, str(less or machines), result)
    return Case(line, types, planned, str(enough or "never"), _judge_rest(line, planned, enough, oracle))


def _judge_rest(line: str, planned: Planned, enough: Combination | None, oracle: Oracle) -> Result:
    """Judge a plan on whose machines not all of a submission starts."""
    machines = planned.machines
    if planned.whole:
        return Result.FOR_NOTHING if machines.types and enough is None else Result.TOO_FEW
    if machines.types and oracle.answer(line, machines)[2] < len(machines.types):
        return Result.FOR_NOTHING
    return Result.RIGHT if enough is None else Result.MISSED
