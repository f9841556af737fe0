"""How Slurm chooses nodes, as ``scontrol show config`` and ``show partition`` print it: pure.

Seen on 22.05, 24.11 and 26.05. Names of accounts, groups and QOS stand among the fields of a partition and
may hold anything: each part of a record is found once, or the record is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

from agent.core.errors import SlurmError
from agent.slurm.cli.scontrol import parse_release
from agent.slurm.scheduling import PartitionRules, Scheduling, Unit

_SETTING = re.compile(r"^([^\s\[]+)(?:\[\d+\])?\s*= (.*)$", re.MULTILINE)
_RECORD = re.compile(r"^PartitionName=", re.MULTILINE)
_NAME = re.compile(r"PartitionName=(?P<name>\S+) AllowGroups=")
_LIMITS = re.compile(
    r" Hidden=(?:YES|NO) MaxNodes=(?P<max_nodes>\d+|UNLIMITED) MaxTime=(?P<max_time>[\d:-]+|UNLIMITED|NONE) "
    r"MinNodes=(?P<min_nodes>\d+) LLN=(?:YES|NO) MaxCPUsPerNode=(?P<max_cpus>\d+|UNLIMITED) ",
    re.ASCII,
)
_ALONE = re.compile(
    r" DisableRootJobs=(?:YES|NO) (?:ExclusiveUser=\w+ )?(?:ExclusiveTopo=\w+ )?"
    r"(?:Exclusive=(?P<exclusive>\w+) )?GraceTime=\d+ Hidden=",
    re.ASCII,
)
_SHARED = re.compile(
    r" ReqResv=(?:YES|NO) OverSubscribe=(?P<how>[A-Z]+)(?::(?P<by>\d+))? +OverTimeLimit=", re.ASCII
)
_STATE = re.compile(
    r" State=(?P<state>[A-Z]+) TotalCPUs=\d+ TotalNodes=\d+ SelectTypeParameters=(?P<select>\S*) "
    r"JobDefaults=(?P<defaults>\S*) DefMemPer(?:Node|CPU)=\S+ "
    r"MaxMemPer(?P<per>Node|CPU)=(?P<max_memory>\d+|UNLIMITED) ",
    re.ASCII,
)
_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", re.ASCII)
_NONE = frozenset({"", "(null)", "NONE"})
_STARTING = frozenset({"UP", "DRAIN"})
"""States of a partition whose waiting jobs start; DRAIN takes no new ones."""
_CHOOSY = frozenset({Unit.CORE, Unit.SOCKET})
"""What the cluster has to give out for a partition to choose for itself."""


def parse_config(text: str) -> dict[str, str]:
    """Read ``scontrol show config``: key -> value, as it stands there.

    Later releases number what may be given more than once (``EpilogSlurmctld[0]``): such values are joined
    by commas.
    """
    settings: dict[str, str] = {}
    for key, value in _SETTING.findall(text):
        settings[key] = f"{settings[key]},{value.strip()}" if key in settings else value.strip()
    return settings


def parse_scheduling(config: str, partitions: str) -> Scheduling:
    """Read both of them.

    Args:
        config: ``scontrol show config``.
        partitions: ``scontrol -o show partition``.

    Raises:
        SlurmError: either is cut, or the fields of a partition cannot be told apart.
    """
    stated = parse_config(config)
    if "SelectType" not in stated:
        raise SlurmError(f"expected SelectType from scontrol show config, got {config[:80]!r}")
    words = _words(stated.get("SelectTypeParameters", ""))
    unit, memory = _unit(words) or Unit.CPU, "MEMORY" in _parts(words)
    if stated["SelectType"].endswith("linear"):
        unit = Unit.NODE
    per_gpu = _defaults(stated.get("JobDefaults", ""))
    rules = parse_partitions(partitions, stated)
    return Scheduling(
        unit=unit,
        memory=memory,
        one_task_per_core="CR_ONE_TASK_PER_CORE" in words,
        partitions={each.name: each for each in rules},
        cpus_per_gpu=per_gpu.get("DefCpuPerGPU", 0),
        memory_per_gpu=per_gpu.get("DefMemPerGPU", 0),
        release=parse_release(stated["SLURM_VERSION"]) if "SLURM_VERSION" in stated else None,
    )


def parse_partitions(text: str, config: Mapping[str, str]) -> tuple[PartitionRules, ...]:
    """Read ``scontrol -o show partition``.

    Args:
        text: a line for each partition.
        config: what holds where a partition says nothing (``MaxMemPerNode``).

    Raises:
        SlurmError: the list is cut, or the fields of a partition cannot be told apart.
    """
    if not text.strip() or text.strip().startswith("No partitions"):
        return ()
    starts = [m.start() for m in _RECORD.finditer(text)]
    if not starts or starts[0] != 0 or not text.endswith("\n"):
        raise SlurmError(f"expected a list of partitions from scontrol, got {text[:80]!r}")
    found = tuple(_partition(text[a:b], config) for a, b in pairwise([*starts, len(text)]))
    if len({rules.name for rules in found}) < len(found):
        raise SlurmError("scontrol lists a partition twice")
    return found


def _partition(record: str, config: Mapping[str, str]) -> PartitionRules:
    name = _NAME.match(record)
    parts = [list(each.finditer(record)) for each in (_ALONE, _LIMITS, _SHARED, _STATE)]
    if name is None or any(len(part) != 1 for part in parts):
        raise SlurmError(f"cannot tell the fields of partition {record[:80]!r} apart")
    alone, limits, shared, state = (part[0] for part in parts)
    memory = {state["per"]: _limit(state["max_memory"])}
    if memory[state["per"]] is None:
        memory = {key: _stated(config.get(f"MaxMemPer{key}", "")) for key in ("Node", "CPU")}
    general = _unit(_words(config.get("SelectTypeParameters", "")))
    choice = _words(state["select"]) if general in _CHOOSY else ()
    per_gpu = _defaults(state["defaults"])
    return PartitionRules(
        name=name["name"],
        is_up=state["state"] in _STARTING,
        min_nodes=int(limits["min_nodes"]),
        max_nodes=_limit(limits["max_nodes"]),
        max_cpus_per_node=_limit(limits["max_cpus"]),
        max_memory_per_node=memory.get("Node"),
        max_memory_per_cpu=memory.get("CPU"),
        max_time=_time(limits["max_time"]),
        exclusive=shared["how"] == "EXCLUSIVE" or alone["exclusive"] in {"NODE", "TOPO"},
        shared_by=int(shared["by"] or 1),
        is_forced=shared["how"] == "FORCE",
        unit=_unit(choice),
        memory="MEMORY" in _parts(choice) if _unit(choice) else None,
        cpus_per_gpu=per_gpu.get("DefCpuPerGPU", 0),
        memory_per_gpu=per_gpu.get("DefMemPerGPU", 0),
    )


def _words(text: str) -> tuple[str, ...]:
    """Split ``CR_Core_Memory,CR_LLN`` into words of upper case: releases print them as they like."""
    return tuple(word for word in text.strip().upper().split(",") if word not in _NONE)


def _parts(words: tuple[str, ...]) -> frozenset[str]:
    """Return what is given out, of the one word that says it: ``CR_CORE_MEMORY`` is CORE and MEMORY."""
    named = (frozenset(word.removeprefix("CR_").split("_")) for word in words)
    return next((each for each in named if each <= {"CPU", "CORE", "SOCKET", "MEMORY"}), frozenset())


def _unit(words: tuple[str, ...]) -> Unit | None:
    parts = _parts(words)
    return next((unit for unit in (Unit.CPU, Unit.CORE, Unit.SOCKET) if unit.name in parts), None)


def _defaults(text: str) -> dict[str, int]:
    """Read ``DefCpuPerGPU=2,DefMemPerGPU=500``."""
    pairs = (item.partition("=") for item in text.split(",") if item not in _NONE)
    return {key: int(value) for key, _, value in pairs if value.isdecimal()}


def _limit(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _stated(text: str) -> int | None:
    return _limit(text.strip()) or None


def _time(text: str) -> timedelta | None:
    """Read ``1-02:03:04`` or ``00:10:00``."""
    if text in {"UNLIMITED", "NONE"}:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise SlurmError(f"expected a time limit from scontrol, got {text[:40]!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
