"""Whether the planner is right about a submission: its machines are enough, and none of them is for nothing."""

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


def compare_alone(line: str, kind: str, oracle: Oracle, reader: Reader) -> Case:
    """Compare for machines of one type."""
    counts = [c for c in ALONE if c.types[0] == kind]
    enough = next((c for c in counts if oracle.starts(line, c)), None)
    planned = reader.plan(line, (kind,))
    return Case(line, (kind,), planned, str(enough or "never"), _judge(line, planned, enough, oracle))


def _judge(line: str, planned: Planned, enough: Combination | None, oracle: Oracle) -> Result:
    count = len(planned.machines.types)
    if planned.whole:
        if enough is None:
            return Result.FOR_NOTHING if count else Result.TOO_FEW
        fewest = len(enough.types)
        if count == fewest:
            return Result.RIGHT
        return Result.TOO_MANY if count > fewest else Result.TOO_FEW
    if count and not _uses_all(line, planned.machines, oracle):
        return Result.FOR_NOTHING
    return Result.RIGHT if enough is None else Result.MISSED


def _uses_all(line: str, machines: Combination, oracle: Oracle) -> bool:
    return oracle.answer(line, machines)[2] == len(machines.types)


def compare_all(line: str, oracle: Oracle, reader: Reader) -> Case:
    """Compare where every type may be borrowed: what is planned starts all of it, and nothing less does."""
    planned = reader.plan(line, NAMES)
    fewest = next(
        (c for n in range(1, MOST + 1) for c in ALONE if len(c.types) == n and oracle.starts(line, c)), None
    )
    machines = planned.machines
    if not machines.types or not planned.whole:
        return Case(line, NAMES, planned, str(fewest or "never"), _judge(line, planned, fewest, oracle))
    if not oracle.starts(line, machines):
        result = Result.FOR_NOTHING if fewest is None else Result.TOO_FEW
        return Case(line, NAMES, planned, str(fewest or "never"), result)
    less = sorted(c for c in machines.without_one() if oracle.starts(line, c))
    if less:
        return Case(line, NAMES, planned, str(less[0]), Result.TOO_MANY)
    return Case(line, NAMES, planned, str(machines), Result.RIGHT)


def compare(lines: Sequence[str], oracle: Oracle, reader: Reader) -> list[Case]:
    """Compare every line, on each type alone and on all."""
    oracle.learn(lines, ALONE)
    cases = []
    for line in lines:
        cases += [compare_alone(line, kind, oracle, reader) for kind in NAMES]
        cases.append(compare_all(line, oracle, reader))
    return cases
