"""Asks scontrol what a list of jobs leaves open of what waiting jobs ask for, each job once.

squeue tells a job of one node from one that may be spread as little as tasks for each GPU; the JSON of 22.05
does not tell the CPUs for each task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from agent.core.errors import SlurmDownError, SlurmError
from agent.core.ports import Clock
from agent.slurm import asked
from agent.slurm.cli.command import Runner
from agent.slurm.model import Job
from agent.slurm.request import Request
from agent.slurm.words import means_no_answer

_HEAD = re.compile(
    r"^JobId=(?P<id>\d+) (?:ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<tasks>\S+) )?"
    r"(?:HetJobId=(?P<leader>\d+) HetJobOffset=(?P<offset>\d+) )?(?=JobName=)",
    re.ASCII | re.MULTILINE,
)
_SIZE = re.compile(
    r"(?<!\S)NumNodes=\d+(?:-(?P<most>\d+))? NumCPUs=\d+ NumTasks=\d+ CPUs/Task=(?P<cpus>\d+|N/A)(?!\S)",
    re.ASCII,
)
_PER_CPU = re.compile(r"(?<!\S)MinMemoryCPU=\d", re.ASCII)
_PER_GRES = re.compile(r"(?<!\S)NtasksPerTRES=(\d+)(?!\S)", re.ASCII)
_EACH = 'scontrol=$1; shift; printf "show job %s\\n" "$@" | "$scontrol" -o'
"""scontrol takes one job a command, and one command a line of its input."""
_LASTS = 300.0
"""Seconds after which it is asked anew: a change need not show in the list."""
_WHOLE_LIST = 25
"""To ask for one job costs as much as this many in a list of all."""
_MOST = 2000
"""Jobs that one command is given."""
_RARE = 1000
"""Jobs of which each may ask for what few do. In a longer queue none is asked about on that account alone."""
_ALONE = 8
"""Jobs that are asked for alone in a read, since what other jobs are called contradicts them."""


@dataclass(frozen=True)
class Details:
    """What scontrol tells of a job beyond the list; 0 for what is not asked for."""

    max_nodes: int
    cpus_per_task: int
    tasks_per_gres: int
    memory_per_cpu: bool = False


Ask = Callable[[Collection[str]], str]
"""Returns what ``scontrol -o show job`` prints of these jobs; of all, where none is named."""


def asking(run: Runner, scontrol: str) -> Ask:
    """Ask by running scontrol(1) once.

    Args:
        run: runs a command.
        scontrol: the program.
    """

    def ask(jobs: Collection[str]) -> str:
        argv = ("sh", "-c", _EACH, "sh", scontrol, *jobs) if jobs else (scontrol, "-o", "show", "jobs")
        done = run(argv)
        # The status tells of the last job alone, which may be over.
        if means_no_answer(done.complaint) or not jobs:
            done.check()
        return done.output

    return ask


class CloserLook:
    """Remembers what it was told of jobs that still wait, and ask for the same as far as a list tells.

    Args:
        ask: asks Slurm.
        clock: tells how long ago that was.
    """

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._asked = clock.monotonic()
        self._told: dict[str, tuple[Request, Request]] = {}
        """Job id -> what the list told, and what came of it."""

    def requests_of(self, jobs: Collection[Job]) -> dict[str, Request]:
        """Return job id -> what it asks for, of those of whom the list leaves something open.

        What cannot be found out is on the safe side: a job that may be spread, or may not, may not.

        Args:
            jobs: all that are not over.

        Raises:
            SlurmDownError: no controller answered.
        """
        now = self._clock.monotonic()
        if now - self._asked > _LASTS:
            self._asked, self._told = now, {}
        before = self._told
        open_ = {job.id: job.request for job in jobs if job.request is not None and _leaves_open(job)}
        rare = {job.id: job.request for job in jobs if job.request is not None and _may_hide_more(job)}
        if len(rare) <= _RARE:
            open_ |= rare
        told = {i: before[i] for i, r in open_.items() if i in before and before[i][0] == r}
        if unknown := {_name(job_id): job_id for job_id in open_ if job_id not in told}:
            for name, details in self._details(unknown, len(jobs)).items():
                listed = open_[unknown[name]]
                told[unknown[name]] = (listed, _with(listed, details))
        self._told = told
        return {i: told[i][1] if i in told else asked.settled(r) for i, r in open_.items()}

    def _details(self, wanted: Collection[str], of_all: int) -> Mapping[str, Details]:
        names = list(wanted)
        try:
            dear = len(names) > _ALONE and of_all < len(names) * _WHOLE_LIST
            told = read_details(self._ask(() if dear or len(names) > _MOST else names))
            doubtful = [name for name in names if len(told.get(name, ())) > 1]
            for name in doubtful[:_ALONE]:
                told[name] = read_details(self._ask([name])).get(name, set())
        except SlurmDownError:
            raise
        except SlurmError:
            return {}
        return {name: next(iter(told[name])) for name in names if len(told.get(name, ())) == 1}


def read_details(text: str) -> dict[str, set[Details]]:
    """Read ``scontrol -o show job``: job -> all that is told of it.

    What a job is called is free text, which may tell of other jobs or hide where it ends itself: of whom more
    than one thing is told, or nothing, nothing is known.
    """
    found: dict[str, set[Details]] = {}
    heads = list(_HEAD.finditer(text))
    bounds = [*(head.start() for head in heads), len(text)]
    for head, end in zip(heads, bounds[1:], strict=True):
        sizes = {(m["most"], m["cpus"]) for m in _SIZE.finditer(text, head.end(), end)}
        per_gres = {int(m[1]) for m in _PER_GRES.finditer(text, head.end(), end)}
        per_cpu = _PER_CPU.search(text, head.end(), end) is not None
        for most, cpus in sizes:
            for each in per_gres or {0}:
                per_task = int(cpus) if cpus.isdecimal() else 1
                found.setdefault(_called(head), set()).add(Details(int(most or 0), per_task, each, per_cpu))
    return found


def _called(head: re.Match[str]) -> str:
    if head["leader"]:
        return f"{head['leader']}+{head['offset']}"
    if head["array"] is None:
        return head["id"]
    return f"{head['array']}_{head['tasks']}" if head["tasks"].isdecimal() else head["array"]


def _name(job_id: str) -> str:
    """Return what scontrol takes for a job, or for the tasks of an array that wait together."""
    return job_id.partition("_[")[0]


def _leaves_open(job: Job) -> bool:
    request = job.request
    return request is not None and (
        request.cpus_per_task == 0
        or (request.max_nodes != 0 and request.max_nodes == job.node_count)
        or (request.tasks > 1 and not request.tasks_per_gres and asked.wants_gres(request))
    )


def _may_hide_more(job: Job) -> bool:
    """Tell whether it may ask for tasks for each GPU and no GPUs, or for memory for its one CPU."""
    request = job.request
    return request is not None and (
        (request.tasks > 1 and not request.tasks_per_gres and not asked.wants_gres(request))
        or (job.cpus == 1 and job.memory > 0 and not job.memory_per_cpu)
    )


def _with(listed: Request, details: Details) -> Request:
    found = replace(
        listed,
        max_nodes=details.max_nodes,
        cpus_per_task=max(details.cpus_per_task, 1),
        tasks_per_gres=details.tasks_per_gres,
        memory_per_cpu=details.memory_per_cpu and listed.cpus == 1,
    )
    return asked.tidy(found)
