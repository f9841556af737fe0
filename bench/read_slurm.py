"""What a snapshot of Slurm costs, beside raw reads and beside the ways in which other systems read.

``python -m bench.read_slurm`` sets up a controller of its own, prints a table and writes it to build/bench.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.core.ports import SystemClock
from agent.slurm.backends.cli import CliBackend
from agent.slurm.command import clean_environment
from agent.slurm.joblist import JobFormat
from agent.slurm.settings import SlurmSettings
from agent.slurm.text import parse_release
from bench.cluster import Cluster, running

OUTPUT = Path("build/bench")
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


def readers(
    cluster: Cluster, connect: Callable[[], CliBackend], backend: CliBackend
) -> dict[str, Callable[[], object]]:
    """Return the ways to read: ours, with nothing known before and by what is known, raw, and others'."""
    raw = Raw(clean_environment(cluster.environment))
    squeue = ("squeue", "-h", "-a", "--local", "--noconvert")
    ours = (*squeue, "-O", JobFormat(parse_release(cluster.run("squeue", "--version"))).argument)
    short = (*squeue, "-o", _SHORT)
    ways: dict[str, Callable[[], object]] = {
        "esagent, first snapshot": lambda: connect().snapshot(),
        "esagent, following snapshots": backend.snapshot,
        "raw: squeue -O (our fields), then scontrol show nodes": lambda: raw.discard(ours, _NODES),
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
    return ways


def measure(ways: Mapping[str, Callable[[], object]], rounds: int) -> list[Cost]:
    """Take all ways in turn, so that what else the machine does meets them alike."""
    walls: dict[str, list[float]] = {what: [] for what in ways}
    cpus: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(rounds):
        for what, read in ways.items():
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


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=50_000, help="job records")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--snapshots", type=int, default=1_000, help="how many to take while memory is watched"
    )
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="esagent-bench-") as place,
        running(Path(place), wanted.nodes) as cluster,
    ):
        print(f"submitting {wanted.jobs} held jobs", file=sys.stderr)
        cluster.fill(wanted.jobs)
        settings = SlurmSettings(conf=cluster.conf, command_timeout=300)

        def connect() -> CliBackend:
            return CliBackend(settings, SystemClock(), cluster.environment)

        backend = connect()
        backend.snapshot()
        costs = measure(readers(cluster, connect, backend), wanted.rounds)
        memory = [_resident()]
        for number in range(wanted.snapshots):
            backend.snapshot()
            if (number + 1) % max(wanted.snapshots // 10, 1) == 0:
                memory.append(_resident())
        read = backend.snapshot()
        release = cluster.run("squeue", "--version").strip()
    fastest = min(cost.wall for cost in costs if cost.what.startswith("raw"))
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
        f"memory in MB over {wanted.snapshots} snapshots: {' '.join(f'{mb:.0f}' for mb in memory)}",
    ]
    print("\n".join(lines))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "read_slurm.txt").write_text("\n".join(lines) + "\n")
    figures = {"costs": [asdict(cost) for cost in costs], "memory": memory}
    (OUTPUT / "read_slurm.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
