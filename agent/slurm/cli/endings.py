"""How jobs ended, as squeue and sacct print it: pure, and exact or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from agent.core.errors import SlurmError
from agent.slurm.model import JobEnd
from agent.slurm.names import split_tasks
from agent.slurm.states import OVER_STATES

FIELDS = "JobArrayID:|,State:|,exit_code:|,DerivedEC:|,RestartCnt:|,EndTime:|"
"""``squeue -O``: names of a fixed set, and numbers."""
SACCT_FIELDS = "JobID,State,ExitCode,DerivedExitCode,End"
"""``sacct -P -o``."""
_CODE = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)


def parse_endings(text: str) -> dict[str, JobEnd]:
    """Read ``squeue -t all -O FIELDS``, times in seconds: job id -> how it ended, or stands.

    Raises:
        SlurmError: a line is not that.
    """
    found = {}
    for listed, state, code, of_steps, restarts, ended, _ in _rows(text, 7, "squeue"):
        if not restarts.isdecimal():
            raise SlurmError(f"expected a number of restarts of squeue, got {restarts[:80]!r}")
        job_id, _, _ = split_tasks(listed)
        found[job_id] = _end(state, code, of_steps, ended, int(restarts))
    return found


def parse_accounted(text: str) -> dict[str, JobEnd]:
    """Read ``sacct -n -P -X -o SACCT_FIELDS``, times in seconds, of jobs that Slurm has forgotten.

    Raises:
        SlurmError: a line is not that.
    """
    # A state may be "CANCELLED by 1000".
    return {
        job_id: _end(state.partition(" ")[0], code, of_steps, ended, None)
        for job_id, state, code, of_steps, ended in _rows(text, 5, "sacct")
    }


def _rows(text: str, count: int, source: str) -> Iterator[list[str]]:
    """Yield the fields of each line."""
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != count:
            raise SlurmError(f"expected a job and how it ended of {source}, got {line[:80]!r}")
        yield fields


def _end(state: str, code: str, of_steps: str, ended: str, restarts: int | None) -> JobEnd:
    at = datetime.fromtimestamp(int(ended), UTC) if ended.isdecimal() and state in OVER_STATES else None
    return JobEnd(state, *_status(code), at, restarts, *_status(of_steps))


def _status(code: str) -> tuple[int, int]:
    """Read an exit code: the status and the signal."""
    match = _CODE.fullmatch(code)
    if match is None:
        raise SlurmError(f"expected an exit code from Slurm, got {code[:40]!r}")
    # Releases before 23.02 print what wait(2) gave.
    number = int(match[1])
    return (number >> 8, number & 0x7F) if match[2] is None else (number, int(match[2]))
