"""How much of a job one machine can take: pure.

It follows slurmctld: ``can_job_run_on_node``, ``_allocate_sc`` and ``gres_select_filter`` of
select/cons_tres. What it leaves out is named in docs/demand.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.cluster.grow.horizon import outlasts
from agent.cluster.grow.machine import Frame, Left, fill, whole_row
from agent.cluster.grow.wish import Wish
from agent.slurm.gres import Gres, take_gres
from agent.slurm.scheduling import Unit


@dataclass(frozen=True, eq=False, slots=True)
class Share:
    """What one machine can give a job at most."""

    cpus: int
    most_tasks: int
    per_core: int
    """CPUs of each core that the job may use."""
    row: int
    """Which row of the machine it is taken from."""
    features: frozenset[str]
    gres: Mapping[str, int]
    """Generic resource asked for in all -> how many of it."""


def share_of(left: Left, wish: Wish) -> Share | None:
    """Return what a machine can give a job at most; None where it can be none of the job's machines."""
    return share_now(left, wish) if can_ever(left, wish) else None


def share_now(left: Left, wish: Wish) -> Share | None:
    """Return what a machine that is of the right kind can give a job at most; None where it is too little."""
    if not _has_memory(left, wish):
        return None
    if wish.exclusive and left.is_used:
        return None
    for number, row in enumerate(left.rows[: wish.shared_by]):
        if (share := _of_row(number, row, left, wish)) is not None:
            return share
    return None


def can_ever(left: Left, wish: Wish) -> bool:
    """Tell whether a machine is of the kind that a job asks for, however much of it is free."""
    frame = left.frame
    return (
        (frame.partitions is None or wish.partition in frame.partitions)
        and not outlasts(wish.time_limit, frame.longest)
        and frame.cpus >= wish.cpus_per_node
        and frame.sockets >= wish.sockets
        and frame.cores >= wish.cores
        and frame.hardware_threads >= wish.threads
        and (frame.tmp_disk is None or frame.tmp_disk >= wish.tmp_disk)
        and (frame.memory is None or wish.memory_per_cpu or memory_of(frame, wish) >= wish.memory)
        # To select/linear all of a node's memory is more than it gives where some is set aside.
        and not (wish.unit is Unit.NODE and wish.takes_all_memory and frame.system_memory)
        and not wish.unreadable
        and wish.constraint.admits(frame.features)
    )


def memory_of(frame: Frame, wish: Wish) -> int:
    """Return the MB of a machine; where jobs do not take memory up, Slurm looks at all that there is."""
    return (frame.memory or 0) + (0 if wish.counts_memory else frame.system_memory)


def may_still(left: Left, wish: Wish) -> bool:
    """Tell whether a machine of the right kind may take a job if it has the CPUs, and memory in numbers."""
    if wish.exclusive and left.is_used:
        return False
    if wish.counts_memory and not left.takes_memory:
        return False
    if wish.counts_memory and wish.takes_all_memory and left.memory not in (None, left.frame.memory):
        return False
    if not wish.wants_gres:
        return True
    offered = dict(left.gres)
    return all(_have(offered, kind, wish) >= _needed(kind, wish) for kind in wish.gres_kinds)


def _has_memory(left: Left, wish: Wish) -> bool:
    if not wish.counts_memory:
        return True
    if wish.takes_all_memory:
        return left.takes_memory and (left.memory is None or left.memory == left.frame.memory)
    if not left.takes_memory:
        return False
    return left.memory is None or left.memory >= wish.least_memory


def _of_row(number: int, row: tuple[int, ...], left: Left, wish: Wish) -> Share | None:
    per_core = _per_core(left, wish)
    cpus = _cpus_of(row, per_core, left, wish)
    if cpus < wish.least_cpus:
        return None
    cpus = _with_memory(cpus, per_core, left, wish)
    if not cpus:
        return None
    return _with_tasks(number, row, cpus, per_core, left, wish)


def _per_core(left: Left, wish: Wish) -> int:
    """Return how many CPUs of a core the job uses (``common_cpus_per_core``)."""
    if wish.unit is Unit.NODE or (wish.one_task_per_core and wish.cpus_per_gres):
        return left.frame.threads
    most = left.frame.threads
    if wish.tasks_per_core:
        most = min(most, wish.tasks_per_core * wish.cpus_per_task)
    return min(most, wish.threads) if wish.threads else most


def _cpus_of(row: tuple[int, ...], per_core: int, left: Left, wish: Wish) -> int:
    """Count the CPUs of free cores that the job could have (``_allocate_sc``)."""
    frame = left.frame
    if wish.threads > frame.threads and not wish.tasks_per_core and wish.unit is not Unit.NODE:
        return 0
    if wish.tasks_per_socket > frame.threads * frame.cores:
        return 0
    if kept := wish.core_spec or (wish.thread_spec if frame.threads == 1 else 0):
        # It has the whole machine but for so many cores; those set aside for the system are among these.
        row = whole_row(frame, kept)
    free = row if wish.is_plain else _of_sockets(row, frame, wish)
    cores = sum(free)
    if cores * per_core < wish.cpus_per_node:
        return 0
    tasks = cores * per_core
    if wish.tasks_per_socket:
        tasks = sum(min(each * per_core, wish.tasks_per_socket) for each in free)
        most = -(-wish.tasks_per_socket * wish.cpus_per_task // per_core)
        cores = sum(min(each, most) for each in free)
    if tasks < wish.tasks_per_node and not wish.overcommit:
        return 0
    count = cores * per_core
    if wish.tasks_per_core == 1 and wish.cpus_per_task > per_core:
        cores_per_task = -(-wish.cpus_per_task // per_core)
        whole, rest = divmod(cores, cores_per_task)
        count = whole * wish.cpus_per_task + rest * per_core
    if frame.threads > 1 and count + wish.thread_spec > frame.cpus:
        count -= wish.thread_spec
    if wish.max_cpus_per_node:
        all_free = cores * frame.threads
        if wish.exclusive and all_free > wish.max_cpus_per_node:
            return 0
        count = min(count, wish.max_cpus_per_node)
    return count


def _of_sockets(row: tuple[int, ...], frame: Frame, wish: Wish) -> list[int]:
    """Return the free cores of the sockets that a job can have; none where those are too few."""
    free = list(row)
    if wish.unit is Unit.SOCKET:
        free = [cores if cores == frame.cores else 0 for cores in free]
    free = [cores if cores >= max(wish.cores, 1) else 0 for cores in free]
    return free if sum(1 for cores in free if cores) >= wish.sockets else []


def _with_memory(cpus: int, per_core: int, left: Left, wish: Wish) -> int:
    """Count the CPUs for which there is memory."""
    if left.memory is None or not (wish.counts_memory and wish.memory_per_cpu and wish.memory):
        return cpus
    if wish.exclusive and wish.memory * cpus > left.memory:
        return 0
    sizes = {Unit.CORE: per_core, Unit.SOCKET: left.frame.cores * per_core}
    step, weight = sizes.get(wish.unit, 1), 1
    if wish.unit is not Unit.CPU and wish.tasks_per_core == 1 and wish.cpus_per_task == 1:
        step, weight = 1, left.frame.threads
    while cpus > 0 and wish.memory * cpus * weight > left.memory:
        cpus = cpus - step if cpus >= step else 0
    if wish.cpus_per_task > 1:
        cpus -= cpus % wish.cpus_per_task
    return 0 if cpus < wish.tasks_per_node else max(cpus, 0)


def _least_tasks(left: Left, wish: Wish) -> tuple[int, int | None]:
    """Return how many tasks a machine of the job has at least, and at most (``_select_cores``)."""
    if wish.tasks_per_node:
        return wish.tasks_per_node, wish.tasks_per_node
    if wish.tasks_per_socket:
        return wish.tasks_per_socket, wish.tasks_per_socket * left.frame.sockets
    if wish.tasks_per_core:
        return wish.tasks_per_core, wish.tasks_per_core * left.frame.sockets * left.frame.cores
    if wish.is_one_node:
        return wish.tasks, wish.tasks
    return 1, 1 if wish.tasks == 1 else None


def _with_tasks(
    number: int, row: tuple[int, ...], cpus: int, per_core: int, left: Left, wish: Wish
) -> Share | None:
    least, most = _least_tasks(left, wish)
    if not wish.overcommit:
        possible = cpus // wish.cpus_per_task
        if possible < least:
            return None
        most = possible if most is None else min(most, possible)
    most = wish.tasks if most is None else most
    totals: dict[str, int] = {}
    if wish.wants_gres:
        found = _with_gres(cpus, least, most, left, wish)
        if found is None:
            return None
        cpus, most, totals = found
    if wish.one_task_per_core and not wish.tasks_per_core and not wish.cpus_per_gres:
        cpus = min(cpus, sum(row))
    return Share(cpus, most, per_core, number, left.frame.features, totals)


def _with_gres(
    cpus: int, least: int, most: int, left: Left, wish: Wish
) -> tuple[int, int, dict[str, int]] | None:
    """Hold CPUs and tasks against the generic resources there (``gres_select_filter_sock_core``)."""
    offered = dict(left.gres)
    totals: dict[str, int] = {}
    for kind in wish.gres_kinds:
        name = kind.partition(":")[0]
        have = _have(offered, kind, wish)
        if memory := wish.memory_per_gres.get(name, 0):
            free = left.memory if wish.counts_memory else None
            have = have if free is None else min(have, free // memory)
        per_node, per_task = wish.per_node.get(kind, 0), wish.per_task.get(kind, 0)
        per_socket = wish.per_socket.get(kind, 0) * max(wish.sockets, 1)
        if each := wish.cpus_per_gres.get(name, 0):
            have = min(have, cpus // each)
        if have < _needed(kind, wish):
            return None
        if per_task:
            most = min(most, have // per_task)
            if per_node:
                most = min(most, per_node // per_task)
        if per_node and wish.tasks_per_gres:
            most = min(most, per_node * wish.tasks_per_gres)
        most -= most % least
        if most < least or not most:
            return None
        if kind in wish.per_job:
            totals[kind] = have
            if each and wish.fixed_cpus_per_gres:
                cpus = min(cpus, min(have, wish.per_job[kind]) * each)
        taken = take_gres(offered, {kind: max(per_node, per_socket, per_task)})
        if taken is None:
            return None
        offered = dict(taken)
    if not (wish.fixed_cpus_per_gres or wish.overcommit or wish.unit is Unit.NODE):
        cpus = min(cpus, most * wish.cpus_per_task)
    return cpus, most, totals


def _have(offered: Gres, kind: str, wish: Wish) -> int:
    """Count what there is of a generic resource for one job."""
    fitting = [n for each, n in offered.items() if each == kind or each.startswith(f"{kind}:")]
    # What is asked for on each node is all of one type.
    is_of_one = kind in wish.per_node and wish.unit is not Unit.NODE
    return max(fitting, default=0) if is_of_one else sum(fitting)


def _needed(kind: str, wish: Wish) -> int:
    """Count how many of a generic resource each machine of a job has at least."""
    per_socket = wish.per_socket.get(kind, 0) * max(wish.sockets, 1)
    per_task = wish.per_task.get(kind, 0) * max(wish.tasks_per_node, 1)
    return max(1, wish.per_node.get(kind, 0), per_socket, per_task)


def give(left: Left, share: Share, cpus: int, tasks: int, totals: Gres, wish: Wish) -> Left:
    """Return what is left of a machine once a job has so many CPUs, tasks and generic resources of it."""
    frame = left.frame
    rows = list(left.rows)
    cores = -(-cpus // share.per_core)
    if wish.unit is Unit.SOCKET:
        cores = -(-cores // frame.cores) * frame.cores
    if wish.exclusive:
        rows = [(0,) * frame.sockets for _ in rows]
    else:
        rows[share.row] = fill(rows[share.row], cores)
    if wish.unit is not Unit.CPU:
        # Memory for each CPU is for all of the cores that it is given.
        cpus = max(cpus, cores * share.per_core)
    wanted = dict(totals)
    for kind in {*wish.per_node, *wish.per_socket, *wish.per_task}:
        each = max(wish.per_node.get(kind, 0), wish.per_socket.get(kind, 0) * max(wish.sockets, 1))
        wanted[kind] = wanted.get(kind, 0) + max(each, wish.per_task.get(kind, 0) * tasks)
    offered = dict(left.gres)
    if wish.exclusive:
        offered = {}
    elif wanted:
        offered = dict(take_gres(offered, wanted) or {})
    memory, takes_memory = left.memory, left.takes_memory
    if wish.counts_memory:
        takes_memory = takes_memory and not wish.takes_all_memory
        if memory is not None:
            memory = 0 if wish.takes_all_memory else max(memory - _memory(cpus, wanted, wish), 0)
    return replace(
        left,
        rows=tuple(rows),
        memory=memory,
        gres=tuple(sorted(offered.items())),
        is_used=True,
        takes_memory=takes_memory,
    )


def _memory(cpus: int, gres: Gres, wish: Wish) -> int:
    if wish.memory_per_gres:
        return sum(n * wish.memory_per_gres.get(kind.partition(":")[0], 0) for kind, n in gres.items())
    return wish.memory * cpus if wish.memory_per_cpu else wish.memory
