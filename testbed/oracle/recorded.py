"""What slurmctld answered, kept in a file: the planner is held against it without a slurmctld."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from agent.cluster.shape import MachineShape
from agent.slurm.model import Job
from agent.slurm.scheduling import Scheduling
from testbed.oracle.comparing import Case, Result
from testbed.oracle.planning import Reader

NEVER = "never"
"""Instead of machines: they are not to be borrowed, or not all of it starts."""


@dataclass(frozen=True)
class Submission:
    """One line of sbatch's options."""

    line: str
    jobs: tuple[Job, ...]
    """As they were read while they waited."""
    needs: Mapping[str, str]
    """Types that may be borrowed, joined by a comma -> the machines, such as ``T1*2``."""


@dataclass(frozen=True)
class Recording:
    """Submissions to one slurmctld."""

    release: str
    configuration: str
    taken: datetime
    scheduling: Scheduling | None
    shapes: Mapping[str, MachineShape]
    submissions: tuple[Submission, ...]


_FILE = TypeAdapter(Recording)


def record(release: str, configuration: str, reader: Reader, cases: Iterable[Case], file: Path) -> None:
    """Keep the cases in which the planner was right."""
    needs: dict[str, dict[str, str]] = {}
    for case in cases:
        if case.result is Result.RIGHT:
            told = str(case.planned.machines) if case.planned.whole else NEVER
            needs.setdefault(case.line, {})[",".join(case.types)] = told
    found = tuple(Submission(line, reader.jobs(line), of) for line, of in needs.items())
    recording = Recording(release, configuration, reader.taken, reader.scheduling, reader.shapes, found)
    text = _FILE.dump_json(recording, exclude_defaults=True).decode()
    file.write_text(text.replace('{"line"', '\n{"line"') + "\n")


def load(file: Path) -> Recording:
    """Read a file that ``record`` wrote."""
    return _FILE.validate_json(file.read_bytes())
