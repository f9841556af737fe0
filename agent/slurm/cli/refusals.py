"""Which job a line of complaint of scontrol(1) or scancel(1) is about. Pure.

They name it in one of these ways, and go on with the next job::

    Requested operation is presently disabled for job 2
    5_1: Job is pending execution                                   (tasks of an array)
    5_1-2: Job is pending execution
    5_[1,3-4]: Job is pending execution                             (26.05)
    5_[99]: Invalid job id specified (words of the site's plugin)
    scancel: error: Kill job error on job id 5_[3]: Invalid job id specified

A request for several tasks of an array is answered task by task: ``5_2: No error`` is no complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agent.slurm.names import share_tasks

_RANGE = r"\d{1,9}(?:-\d{1,9}(?::[1-9]\d{0,8})?)?"
_ID = rf"\d+(?:_\[?{_RANGE}(?:,{_RANGE})*\]?|\+\d+)?"
_ABOUT = (
    re.compile(rf"^(?P<job>{_ID}): ", re.ASCII),
    re.compile(rf" on job(?: step)? id (?P<job>{_ID})(?:\.\w+)?: ", re.ASCII),
    re.compile(rf" for job (?P<job>{_ID})$", re.ASCII),
)
_DONE = re.compile(rf"^{_ID}: No error$", re.ASCII)


@dataclass(frozen=True)
class Refusals:
    """What scontrol or scancel complained of."""

    of_jobs: dict[str, str]
    """Job, as it was called in the command -> Slurm's words about it, those alone that have any."""
    others: tuple[str, ...]
    """Lines that are about none of them, or about nobody: of whom they hold is not known."""


def read_refusals(complaint: str, called: Iterable[str]) -> Refusals:
    """Read standard error of a command that acted on jobs.

    Args:
        complaint: what it wrote.
        called: the jobs as they stood in the command: ``12``, ``12_3`` or ``12_[3-5]``.
    """
    jobs = list(called)
    found: dict[str, list[str]] = {}
    others = []
    for line in filter(None, map(str.strip, complaint.splitlines())):
        if _DONE.match(line):
            continue
        match = next(filter(None, (pattern.search(line) for pattern in _ABOUT)), None)
        about = [job for job in jobs if match is not None and share_tasks(match["job"], job)]
        for job in about:
            found.setdefault(job, []).append(line)
        if not about:
            others.append(line)
    return Refusals({job: "; ".join(lines) for job, lines in found.items()}, tuple(others))
