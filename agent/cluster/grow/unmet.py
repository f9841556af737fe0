"""Why no machine that could be borrowed is what a job asks for, in words: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from agent.cluster.grow.choosing import lacking
from agent.cluster.grow.horizon import outlasts
from agent.cluster.grow.machine import Left
from agent.cluster.grow.share import Share, memory_of
from agent.cluster.grow.wish import ANY_NUMBER, Wish
from agent.core.settings import format_duration
from agent.slurm.constraint import satisfies
from agent.slurm.gres import take_gres
from agent.slurm.model import Job


def why_unmet(
    job: Job, wishes: Sequence[Wish], fresh: Sequence[Left], shares: Sequence[Mapping[str, Share]]
) -> str:
    """Say why, however many machines were borrowed; "" where enough of one type would do.

    Args:
        job: which job.
        wishes: what it asks for in each of its partitions.
        fresh: what one more machine of each type has.
        shares: for each of the wishes, type -> what such a machine gives it; no key where it is none of its.
    """
    if any(shares):
        return _too_few(wishes, len(fresh), shares)
    reach = [
        left
        for left in fresh
        if left.frame.partitions is None or not left.frame.partitions.isdisjoint(job.partitions)
    ]
    if not reach:
        return f"no borrowed machine comes into its partition ({', '.join(sorted(job.partitions))})"
    if all(outlasts(job.time_limit, left.frame.longest) for left in fresh):
        longest = max(left.frame.longest or timedelta() for left in fresh)
        lent = format_duration(max(longest // timedelta(minutes=1), 0) * 60.0)
        return f"may take longer than a machine is lent for now, {lent}: a fence would keep it off"
    if not any(satisfies(left.frame.features, job.features) for left in fresh):
        return f"borrowed machines do not offer {job.features!r}"
    wish = wishes[0]
    if not any(_offers(left, wish) for left in fresh):
        hidden = {kind for left in fresh for kind, count in left.gres if not count and _names(wish, kind)}
        reason = f": how many {min(hidden)} a machine has cannot be read" if hidden else ""
        return f"borrowed machines do not offer {_gres_of(job)!r}{reason}"
    if not any(_remembers(left, wish) for left in fresh):
        per = " for each CPU" if job.memory_per_cpu else ""
        return f"borrowed machines do not offer {job.memory} MB{per}"
    return f"no borrowed machine can be one of its {wish.min_nodes}: {_size_of(wish)}"


def _too_few(wishes: Sequence[Wish], types: int, shares: Sequence[Mapping[str, Share]]) -> str:
    """Say that as many machines of the only type as a job may have do not suffice; "" where they may."""
    each_share = ((wish, share) for wish, each in zip(wishes, shares, strict=True) for share in each.values())
    if types > 1 or any(lacking(wish, (), share, ANY_NUMBER) for wish, share in each_share):
        return ""
    most = f"{wishes[0].max_nodes} borrowed machines" if wishes[0].max_nodes > 1 else "one borrowed machine"
    return f"does not fit on {most}, which is as many as it may have: {_size_of(wishes[0])}"


def _offers(left: Left, wish: Wish) -> bool:
    if wish.unreadable or not wish.wants_gres:
        return not wish.unreadable
    wanted: dict[str, int] = {}
    for each in (wish.per_node, wish.per_socket, wish.per_task):
        for kind, count in each.items():
            wanted[kind] = max(wanted.get(kind, 0), count)
    for kind in wish.per_job:
        wanted.setdefault(kind, 1)
    return take_gres(dict(left.gres), wanted) is not None


def _names(wish: Wish, name: str) -> bool:
    every = (*wish.per_node, *wish.per_socket, *wish.per_task, *wish.per_job)
    return any(kind.partition(":")[0] == name for kind in every)


def _remembers(left: Left, wish: Wish) -> bool:
    return left.frame.memory is None or wish.memory <= memory_of(left.frame, wish)


def _gres_of(job: Job) -> str:
    asked = job.request
    if asked is None:
        return job.gres
    return ",".join(filter(None, (asked.per_job, asked.per_node, asked.per_socket, asked.per_task)))


def _size_of(wish: Wish) -> str:
    tasks = f"{wish.tasks} tasks" if wish.tasks > 1 else "1 task"
    return f"{tasks} of {wish.cpus_per_task} CPUs" if wish.cpus_per_task > 1 else f"{tasks}, {wish.cpus} CPUs"
