"""What planning the growth of a long queue costs, beside the agent's first version.

``python -m bench.plan_growth`` takes that out of git's history, lets both plan the same queue in turn, each
in a process of its own, prints a table and writes it to build/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testbed.told import faults_told

OUTPUT = Path("build/bench")
ROOT = Path(__file__).parent.parent
FIRST_VERSION = "494a043"
"""The commit whose packing of jobs went by CPUs, memory and one list of generic resources alone."""


class Planning:
    """A process that plans when it is told to."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        told = self._read()
        expected = str(directory / "agent")
        if told["agent"] != expected:
            raise RuntimeError(f"expected the agent of {expected}, got {told['agent']}")

    def plan(self) -> dict[str, Any]:
        """Have it plan once; return what it took and found."""
        assert self._process.stdin is not None
        self._process.stdin.write("plan\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise subprocess.SubprocessError(f"{self._process.args!r} ended; its error is above")
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def planning(directory: Path, *numbers: int) -> Iterator[Planning]:
    """Start a process with the agent of a directory, and end it afterwards.

    Args:
        directory: has a folder ``agent``.
        numbers: jobs, nodes, machines that may be borrowed, seed, kinds of jobs.
    """
    # What stands in the working directory is imported first; the rest of this repository after it.
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.growth.worker", *map(str, numbers)],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Planning(process, directory)
    finally:
        process.kill()
        process.wait(30)


def take_out(commit: str, directory: Path) -> None:
    """Write the folder ``agent`` of a commit into a directory."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "agent"], check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)


@faults_told("bench.plan_growth")
def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=50_000, help="records of waiting jobs")
    parser.add_argument(
        "--more", type=int, nargs="+", default=[100, 4_000], help="machines to borrow at most"
    )
    parser.add_argument(
        "--kinds", type=int, nargs="+", default=[500, 0], help="kinds of jobs; 0: each is drawn by itself"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--against", default=FIRST_VERSION, help="the commit beside which it is measured")
    wanted = parser.parse_args()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}"
    size = f"{wanted.nodes} nodes, {wanted.jobs} waiting jobs; medians of {wanted.rounds} after the first"
    columns = f"{'wall s':>8} {'CPU s':>8} {'first':>8} {'machines':>9} {'counted':>8} {'MB':>5}"
    lines = [f"{machine}; {size}", "", f"{'':40} {columns}"]
    with tempfile.TemporaryDirectory(prefix="esagent-bench-") as place:
        take_out(wanted.against, Path(place))
        for kinds in wanted.kinds:
            lines += ["", f"{kinds or 'any number of'} kinds of jobs"]
            for more in wanted.more:
                numbers = (wanted.jobs, wanted.nodes, more, wanted.seed, kinds)
                lines += compare(Path(place), wanted.rounds, *numbers)
    print("\n".join(lines))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "plan_growth.txt").write_text("\n".join(lines) + "\n")


def compare(earlier: Path, rounds: int, *numbers: int) -> list[str]:
    """Have both plan in turn, so that what else the machine does meets them alike; return a table."""
    with ExitStack() as stack:
        ways = {
            "first version": stack.enter_context(planning(earlier, *numbers)),
            "now": stack.enter_context(planning(ROOT, *numbers)),
        }
        plans: dict[str, list[dict[str, Any]]] = {what: [] for what in ways}
        for _ in range(rounds + 1):
            for what, way in ways.items():
                plans[what].append(way.plan())
    lines, medians = [], {}
    for what, (first, *others) in plans.items():
        wall, cpu = (statistics.median(plan[key] for plan in others) for key in ("wall", "cpu"))
        medians[what] = cpu
        name = f"{what}, at most {numbers[2]} more"
        told = f"{first['cpu']:8.2f} {first['machines']:9} {first['counted']:8} {first['memory']:5.0f}"
        lines.append(f"{name:40} {wall:8.2f} {cpu:8.2f} {told}")
    lines.append(f"{'now / first version':40} {'':8} {medians['now'] / medians['first version']:8.2f}")
    return lines


if __name__ == "__main__":
    main()
