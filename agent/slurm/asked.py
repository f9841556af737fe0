"""What a waiting job asks for, put together from what Slurm tells of it: pure.

Slurm lists, as the number of nodes of a job that waits, how many it thinks of giving it (``node_cnt_wag``).
How many the job asked for stands among its trackable resources alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.slurm.gres import parse_gres
from agent.slurm.model import Job
from agent.slurm.request import Request

NEVER_STARTS = frozenset({"JobHeldUser", "JobHeldAdmin", "Dependency", "DependencyNeverSatisfied"})
"""Reasons of pending jobs for which no node is looked for."""
_GRES = re.compile(r"^gres[:/]")
_NODES = re.compile(r"(?:^|,)node=(\d+)(?:,|$)", re.ASCII)
_NOTHING = frozenset({"", "N/A", "(null)"})
_THREADS = 0x8000
"""``CORE_SPEC_THREAD``: the bit that tells threads set aside from cores."""
_UNSET = 0xFFFE


def counts(state: str, reason: str) -> bool:
    """Tell whether it matters what a job asks for: it waits, and for nodes among other things."""
    return state == "PENDING" and reason not in NEVER_STARTS


def gres_alone(*fields: str) -> str:
    """Join generic resources: ``gres:gpu:1``, ``gres/gpu:1`` and ``gres/gpu=1`` are ``gpu:1``.

    The ``cpu=2`` that ``--cpus-per-task`` makes since 24.11 is none.
    """
    parts = (part for field in fields if field not in _NOTHING for part in field.split(","))
    return ",".join(_GRES.sub("", part).replace("=", ":") for part in parts if _GRES.match(part))


def held_gres(per_node: str, per_job: str, per_task: str, tasks: int, nodes: int) -> str:
    """Return the generic resources that a job which has started holds on each of its nodes, at most.

    How they are spread Slurm tells with the details of each job alone: they count as spread evenly.

    Args:
        per_node: as ``gres_alone`` takes it, like the next two.
        per_job: in all.
        per_task: for each task.
        tasks: how many it has.
        nodes: how many it has.

    >>> held_gres("N/A", "gres:gpu:3", "N/A", 4, 2)
    'gpu:2'
    """
    told = [gres_alone(each) for each in (per_node, per_job, per_task)]
    held: Counter[str] = Counter()
    try:
        for text, times, over in zip(told, (1, 1, tasks), (1, nodes, nodes), strict=True):
            for kind, count in (parse_gres(text) if text else {}).items():
                held[kind] += -(-count * times // max(over, 1))
    except ValueError:
        return ",".join(filter(None, told))
    return ",".join(f"{kind}:{count}" for kind, count in held.items())


def least_nodes(tres: str, listed: int) -> int:
    """Return how many nodes a job asked for at least.

    Args:
        tres: what it asks for (``cpu=4,mem=400M,node=2,billing=4``).
        listed: the number of nodes that Slurm lists, where that does not tell.
    """
    match = _NODES.search(tres)
    return int(match[1]) if match else listed


def spec_of(told: int) -> tuple[int, int]:
    """Take what is set aside for the system apart: cores and threads (``core_spec`` of job_info_t)."""
    if told == _UNSET:
        return 0, 0
    return (0, told & ~_THREADS) if told & _THREADS else (told, 0)


def whole(request: Request, tres: str, listed_nodes: int) -> Request:
    """Return a request in the one form that every way in gives it.

    Args:
        request: what is told as such.
        tres: the trackable resources that the job asks for, as text.
        listed_nodes: the number of nodes that Slurm lists.
    """
    least = least_nodes(tres, listed_nodes)
    return tidy(replace(request, min_nodes=max(least, 1), overcommit=request.cpus < request.tasks))


def tidy(request: Request) -> Request:
    """Leave out what binds nobody, for not all ways in tell it.

    A job has no more nodes than tasks, so that a maximum of as many says nothing; nor does a CPU a node.
    One task that nobody asked for may have more, for generic resources in all.
    """
    binds = request.min_nodes < request.tasks and request.max_nodes < request.tasks
    binds = binds or (request.tasks == 1 and request.per_job != "")
    per_gres, per_job = request.tasks_per_gres if request.tasks > 1 else 0, request.per_job
    if per_gres and not wants_gres(request):
        # slurmctld derives them, of no type and in all (``gres_job_state_validate``).
        per_job = f"gpu:{request.tasks // per_gres}"
    return replace(
        request,
        max_nodes=request.max_nodes if binds else 0,
        cpus_per_node=request.cpus_per_node if request.cpus_per_node > 1 else 0,
        tasks_per_gres=per_gres,
        per_job=per_job,
    )


def wants_gres(request: Request) -> bool:
    """Tell whether it asks for generic resources."""
    return bool(request.per_job or request.per_node or request.per_socket or request.per_task)


def settled(request: Request) -> Request:
    """Return it with the most that it may ask for, where the CPUs for each task (0) are not told."""
    if request.cpus_per_task:
        return request
    most = min(max(request.cpus_per_node, 1), max(request.cpus // request.tasks, 1))
    return replace(request, cpus_per_task=most)


def with_requests(jobs: Iterable[Job], requests: Mapping[str, Request]) -> tuple[Job, ...]:
    """Return the jobs with what they ask for, as far as that is in ``requests`` by their ids."""
    return tuple(_with_request(job, requests[job.id]) if job.id in requests else job for job in jobs)


def _with_request(job: Job, request: Request) -> Job:
    if not request.memory_per_cpu:
        return replace(job, request=request)
    # It stands where the other ways in tell it.
    return replace(job, request=replace(request, memory_per_cpu=False), memory_per_cpu=True)
