"""A long queue and many nodes, drawn with a seed, as the agent would have read them from Slurm.

It runs with the agent of any version: what an earlier one does not know of a job is not told to it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.slurm.model import Job, Node, Snapshot

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
_SHARED_MEMORY = (0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 60_000)
_CONSTRAINTS = ("old", "new", "old|new", "new&ib", "ib|gpus", "gpus", "ib&(old|new)")
_GPUS = ("gpu:1", "gpu:2", "gpu:a100:1", "gpu:a100:2", "gpu:v100:1", "gpu:4")
_LIMITS = tuple(timedelta(minutes=minutes) for minutes in (10, 30, 60, 240, 720, 1_440, 2_880))


@dataclass(frozen=True)
class _Kind:
    type: MachineType
    layout: tuple[int, int, int]
    """Sockets, cores of each, threads of each."""


_KINDS = (
    _Kind(
        MachineType(hardware_type="m510", cpus=16, memory=64_000, features=("old",), max_nodes=10_000),
        (1, 8, 2),
    ),
    _Kind(
        MachineType(
            hardware_type="c220g5", cpus=40, memory=190_000, features=("new", "ib"), max_nodes=10_000
        ),
        (2, 10, 2),
    ),
    _Kind(
        MachineType(
            hardware_type="c240g5",
            cpus=40,
            memory=190_000,
            gres="gpu:a100:2",
            features=("new", "gpus"),
            max_nodes=10_000,
        ),
        (2, 10, 2),
    ),
    _Kind(
        MachineType(
            hardware_type="d8545",
            cpus=96,
            memory=500_000,
            gres="gpu:v100:4",
            features=("new", "ib", "gpus"),
            max_nodes=10_000,
        ),
        (2, 24, 2),
    ),
)


@dataclass(frozen=True)
class Queue:
    """What a plan begins with."""

    snapshot: Snapshot
    demand: DemandSettings


def make_queue(jobs: int, nodes: int, more: int, seed: int, kinds: int) -> Queue:
    """Draw a cluster of which four fifths of the nodes are full, and a queue.

    Args:
        jobs: records of waiting jobs.
        nodes: of four types.
        more: how many machines may be borrowed.
        seed: the same one draws the same.
        kinds: how many kinds of jobs there are; 0 where each is drawn by itself.
    """
    chance = random.Random(seed)
    running: list[Job] = []
    there = {}
    for number in range(1, nodes + 1):
        node, job = _node(number, chance)
        there[node.name] = node
        running += [job] if job else []
    drawn = [_waiting(number, chance) for number in range(100_000, 100_000 + (kinds or jobs))]
    waiting = [_again(chance.choice(drawn), n, chance) for n in range(jobs)] if kinds else drawn
    demand = DemandSettings(max_nodes=more, types=tuple(kind.type for kind in _KINDS))
    return Queue(Snapshot(NOW, there, (*running, *waiting)), demand)


def _node(number: int, chance: random.Random) -> tuple[Node, Job | None]:
    """Draw a node, and what runs there; none in one of twenty."""
    kind = chance.choice(_KINDS)
    name, cpus, memory = f"pc{number}", kind.type.cpus, kind.type.memory
    allocated = chance.choices([cpus, chance.randrange(2, cpus, 2), 0], weights=[16, 3, 1])[0]
    held = memory * allocated // cpus
    sockets, cores, threads = kind.layout
    node = Node(
        name,
        "IDLE" if not allocated else "ALLOCATED" if allocated == cpus else "MIXED",
        cpus=cpus,
        allocated_cpus=allocated,
        memory=memory,
        allocated_memory=held,
        gres=kind.type.gres,
        features=frozenset(kind.type.features),
        partitions=("main", "gpus") if kind.type.gres else ("main",),
        **_layout(sockets, cores, threads),
    )
    if not allocated:
        return node, None
    job = Job(
        str(number),
        "RUNNING",
        nodes=frozenset({name}),
        partitions=("main",),
        cpus=allocated,
        memory=held,
        gres=chance.choice(["", "gpu:1"]) if kind.type.gres else "",
        started=NOW - timedelta(minutes=5),
    )
    return node, job


def _waiting(number: int, chance: random.Random) -> Job:
    """Draw a job that waits: of one node, of several, an array, with GPUs, of odd size."""
    told: dict[str, Any] = {
        "partitions": chance.choices([("main",), ("gpus",), ("gpus", "main")], weights=[8, 1, 1])[0],
        "memory": chance.choice(_SHARED_MEMORY) + chance.choice([0, 0, 0, 512]),
        "features": chance.choice(_CONSTRAINTS) if chance.random() < 0.1 else "",
        "exclusive": chance.random() < 0.03,
        "time_limit": chance.choice(_LIMITS),
        "submitted": NOW - timedelta(seconds=chance.randrange(60, 900_000)),
        "user": f"user{chance.randrange(200)}",
    }
    asked: dict[str, Any] = {}
    kind = chance.choices(
        ["serial", "threads", "mpi", "array", "gpu", "odd"], weights=[25, 20, 20, 15, 15, 5]
    )[0]
    nodes, tasks, each, gres = 1, 1, 1, ""
    if kind == "threads":
        each = chance.randrange(2, 41)
    elif kind == "mpi":
        nodes = chance.choice([0, 0, 2, 2, 3, 4, 8, 16])
        tasks = max(nodes, 1) * chance.choice([1, 4, 8, 10, 16, 20])
        asked = {"min_nodes": max(nodes, 1), "max_nodes": nodes}
        if nodes and chance.random() < 0.3:
            asked["tasks_per_node"] = tasks // nodes
    elif kind == "array":
        told["task_count"] = chance.choice([2, 5, 10, 20, 50])
        each = chance.choice([1, 1, 1, 2, 4, 8])
    elif kind == "gpu":
        gres, tasks = chance.choice(_GPUS), chance.choice([1, 1, 2, 4])
        asked = {chance.choices(["per_node", "per_job", "per_task"], weights=[6, 3, 1])[0]: gres}
    elif kind == "odd":
        each, told["memory"] = chance.choice([97, 128, 1]), chance.choice([600_000, 1_000])
    if chance.random() < 0.2:
        told["memory"], told["memory_per_cpu"] = told["memory"] // 16, True
    if chance.random() < 0.01:
        told["excluded_nodes"] = frozenset(f"pc{chance.randrange(1, 5_000)}" for _ in range(3))
    counts: dict[str, Any] = {"node_count": max(nodes, 1), "cpus": tasks * each}
    request = _request(tasks=tasks, cpus=tasks * each, cpus_per_task=each, **asked)
    return Job(str(number), "PENDING", reason="Priority", gres=gres, **counts, **told, **request)


def _again(job: Job, number: int, chance: random.Random) -> Job:
    """Have somebody submit the like of a job."""
    submitted = NOW - timedelta(seconds=chance.randrange(60, 900_000))
    return replace(job, id=str(100_000 + number), submitted=submitted, user=f"user{chance.randrange(200)}")


def _request(**asked: Any) -> dict[str, Any]:
    """Tell in full what a job asks for, to an agent that knows it."""
    try:
        from agent.slurm.request import Request
    except ModuleNotFoundError:
        return {}
    return {"request": Request(**asked)}


def _layout(sockets: int, cores: int, threads: int) -> dict[str, Any]:
    if "layout" not in {field.name for field in fields(Node)}:
        return {}
    from agent.slurm.layout import Layout

    return {"layout": Layout(sockets, cores, threads)}
