"""What a snapshot of Slurm costs, beside raw reads and beside the ways in which other systems read.

``python -m bench.read_slurm`` sets up a controller of its own, prints a table and writes it to build/bench.
``PYSLURM_PYTHON`` may name a Python that has pyslurm; its release has to be that of Slurm (``--slurm``).
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.cli.squeue import JobFormat
from agent.slurm.environment import clean_environment
from agent.slurm.model import SlurmBackend
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.rest.backend import RestBackend
from agent.slurm.settings import SlurmSettings
from bench.cluster import Cluster, running
from testbed.told import faults_told

OUTPUT = Path("build/bench")
_PAUSE = 1.5
"""Seconds between two reads: other processes get their turn also where this one goes first."""
_SHORT = "%i|%T|%r|%N|%D|%C|%l|%S|%e|%P|%f|%u|%V|%h|%n|%x|%q|%v|%m|%b"
_NODES = ("scontrol", "-o", "show", "nodes")


@dataclass(frozen=True)
class Cost:
    """What one way of reading takes."""

    what: str
    wall: float
    """Seconds, median."""
    cpu: float
    """Seconds of processor in the readers, without slurmctld; median."""


class Raw:
    """Runs commands whose output is wanted by nobody, or by a parser."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def discard(self, *commands: tuple[str, ...], together: bool = False) -> None:
        """Run commands one after the other, or side by side, with their output to /dev/null."""
        started: list[subprocess.Popen[bytes]] = []
        for command in commands:
            process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL)
            started.append(process)
            if not together:
                process.wait(300)
        if any(process.wait(300) for process in started):
            raise RuntimeError(f"{commands}: failed")

    def load(self, *command: str) -> None:
        """Run a command and read its JSON."""
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, check=True, timeout=300)
        json.loads(done.stdout)


@contextmanager
def backends(cluster: Cluster) -> Iterator[dict[str, Callable[[], SlurmBackend]]]:
    """Offer what makes each way in: Slurm's commands, slurmrestd, and pyslurm where there is one."""
    rest_url = f"unix:{cluster.rest_socket}"
    settings = SlurmSettings(conf=cluster.conf, command_timeout=300, rest_url=rest_url)
    clock = SystemClock()
    opened: list[PyslurmBackend] = []

    def pyslurm() -> SlurmBackend:
        while opened:
            opened.pop().close()
        environment = {**cluster.environment, "PYTHONPATH": _pyslurm_site()}
        commands = CliBackend(settings, clock, environment)
        opened.append(PyslurmBackend(settings, clock, commands, environment))
        return opened[0]

    offered: dict[str, Callable[[], SlurmBackend]] = {
        "commands": lambda: CliBackend(settings, clock, cluster.environment),
        "slurmrestd": lambda: RestBackend(settings, clock),
    }
    if _pyslurm_site():
        offered["pyslurm"] = pyslurm
    try:
        yield offered
    finally:
        for backend in opened:
            backend.close()


def _pyslurm_site() -> str:
    python = os.environ.get("PYSLURM_PYTHON")
    return str(next(Path(python).parent.parent.glob("lib/python3.*/site-packages"))) if python else ""


def ours(ways_in: Mapping[str, Callable[[], SlurmBackend]]) -> dict[str, Callable[[], object]]:
    """Return our ways to read: with nothing known before, and by what the last one told."""
    ways: dict[str, Callable[[], object]] = {}
    for name, connect in ways_in.items():
        last: list[SlurmBackend] = []
        ways[f"esagent, {name}: first snapshot"] = partial(_first, connect, last)
        ways[f"esagent, {name}: following snapshot"] = partial(_following, last)
    return ways


def _first(connect: Callable[[], SlurmBackend], last: list[SlurmBackend]) -> None:
    last[:] = [connect()]
    _following(last)


def _following(last: list[SlurmBackend]) -> None:
    last[0].snapshot()


def others(cluster: Cluster) -> dict[str, Callable[[], object]]:
    """Return the raw reads, and what other systems read with."""
    raw = Raw(clean_environment(cluster.environment))
    squeue = ("squeue", "-h", "-a", "--local", "--noconvert")
    same = (*squeue, "-O", JobFormat(cluster.release).argument)
    short = (*squeue, "-o", _SHORT)
    return {
        "raw: squeue -O (our fields), then scontrol show nodes": lambda: raw.discard(same, _NODES),
        "raw: squeue -o (20 fields), then scontrol show nodes": lambda: raw.discard(short, _NODES),
        "raw: squeue -o beside scontrol show nodes": lambda: raw.discard(short, _NODES, together=True),
        "jobs: scontrol -o show jobs (slurm-gcp)": lambda: raw.discard(("scontrol", "-o", "show", "jobs")),
        "jobs: squeue -r -o (rivosinc's exporter)": lambda: raw.discard((*squeue, "-r", "-o", _SHORT)),
        "jobs: squeue --json, json.loads (Slurm-web)": lambda: raw.load("squeue", "--json"),
        "nodes: scontrol show nodes (aws-parallelcluster, cyclecloud)": lambda: raw.discard(_NODES),
        "nodes: sinfo -N -o (vpenso's exporter)": lambda: raw.discard(
            ("sinfo", "-h", "-N", "-o", "%N|%T|%w|%f|%E")
        ),
        "nodes: sinfo --json, json.loads": lambda: raw.load("sinfo", "--json"),
    }


def measure(ways: Mapping[str, Callable[[], object]], rounds: int) -> list[Cost]:
    """Take all ways in turn, so that what else the machine does meets them alike."""
    walls: dict[str, list[float]] = {what: [] for what in ways}
    cpus: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(rounds):
        for what, read in ways.items():
            time.sleep(_PAUSE)
            gc.collect()
            cpu, wall = _cpu(), time.perf_counter()
            read()
            walls[what].append(time.perf_counter() - wall)
            cpus[what].append(_cpu() - cpu)
    return [Cost(what, statistics.median(walls[what]), statistics.median(cpus[what])) for what in ways]


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident() -> float:
    """Return this process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def watch_memory(connect: Callable[[], SlurmBackend], snapshots: int) -> list[float]:
    """Take snapshots, every tenth with nothing known before; return this process's memory in MB."""
    backend = connect()
    kept = backend.snapshot()
    memory = [_resident()]
    for number in range(1, snapshots + 1):
        if number % 10 == 0:
            backend = connect()
        kept = backend.snapshot()
        if number % max(snapshots // 10, 1) == 0:
            memory.append(_resident())
            print(f"{number} snapshots: {memory[-1]:.0f} MB, {len(kept.jobs)} records", file=sys.stderr)
    return memory


@faults_told("bench.read_slurm")
def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=50_000, help="job records")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--ways",
        default="^(?!.*slurmrestd)",
        help="measure the ways whose name matches this expression; slurmrestd takes minutes for a long queue",
    )
    parser.add_argument(
        "--snapshots", type=int, default=1_000, help="how many to take while memory is watched"
    )
    parser.add_argument("--memory-of", default="commands", help="the way in whose memory is watched")
    parser.add_argument(
        "--slurm", type=Path, help="where a Slurm was built from source to; the machine's own otherwise"
    )
    parser.add_argument("--first", action="store_true", help="run before the machine's other processes")
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="esagent-bench-") as place,
        running(Path(place), wanted.nodes, wanted.slurm) as cluster,
        backends(cluster) as ways_in,
    ):
        print(f"submitting {wanted.jobs} held jobs", file=sys.stderr)
        cluster.fill(wanted.jobs)
        if wanted.first:
            cluster.hurry()
        ways = {
            what: read
            for what, read in (ours(ways_in) | others(cluster)).items()
            if re.search(wanted.ways, what)
        }
        costs = measure(ways, wanted.rounds) if wanted.rounds else []
        memory = watch_memory(ways_in[wanted.memory_of], wanted.snapshots) if wanted.snapshots else []
        read = ways_in["commands"]().snapshot()
        release = cluster.run("squeue", "--version").strip()
    fastest = min((cost.wall for cost in costs if cost.what.startswith("raw")), default=math.nan)
    title = (
        f"{release}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; "
        f"{len(read.nodes)} nodes, {len(read.jobs)} job records; medians of {wanted.rounds}"
    )
    lines = [
        title,
        "",
        f"{'':62} {'wall s':>8} {'CPU s':>8} {'/ fastest raw':>14}",
        *(f"{c.what:62} {c.wall:8.2f} {c.cpu:8.2f} {c.wall / fastest:14.2f}" for c in costs),
        "",
        f"memory in MB over {wanted.snapshots} snapshots, {wanted.memory_of}: "
        + " ".join(f"{mb:.0f}" for mb in memory),
    ]
    print("\n".join(lines))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "read_slurm.txt").write_text("\n".join(lines) + "\n")
    figures = {"costs": [asdict(cost) for cost in costs], "memory": memory}
    (OUTPUT / "read_slurm.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
