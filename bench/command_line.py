"""What `esagent status` costs beside a bare interpreter, in one run.

``python -m bench.command_line`` answers on a socket of its own, runs each command in turn, prints a table.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cheroot import wsgi

from agent.admin.answers import StatusAnswer
from testbed.told import faults_told

OUTPUT = Path("build/bench/command_line.txt")
_STATUS = StatusAnswer(
    slice="urn:publicid:IDN+example.net+slice+demo",
    slice_expires=None,
    sliver_expires={},
    lease_warnings=(),
    machines=0,
    states={},
    wanted=0,
    growing=None,
    paused="",
    growth_stopped="",
    reasons=(),
    said="",
)


@contextmanager
def answering(path: Path) -> Iterator[None]:
    """Answer every call on a unix socket with a status."""
    payload = _STATUS.model_dump_json().encode()

    def answer(_: Mapping[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(payload)))])
        return [payload]

    server = wsgi.Server(str(path), answer, numthreads=2)
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield
    finally:
        server.stop()


def measure(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, tuple[float, float]]:
    """Run all commands in turn; return what -> seconds on the clock and of processor, medians."""
    walls: dict[str, list[float]] = {what: [] for what in commands}
    cpus: dict[str, list[float]] = {what: [] for what in commands}
    for _ in range(rounds):
        for what, command in commands.items():
            cpu, wall = _cpu(), time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, timeout=60, check=True)
            walls[what].append(time.perf_counter() - wall)
            cpus[what].append(_cpu() - cpu)
    return {what: (statistics.median(walls[what]), statistics.median(cpus[what])) for what in commands}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@faults_told("bench.command_line")
def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="esagent-bench-") as place:
        path = Path(place) / "admin.sock"
        esagent = str(Path(sys.executable).with_name("esagent"))
        bare = "python -c pass"
        commands = {
            bare: [sys.executable, "-c", "pass"],
            "python -c 'import typer'": [sys.executable, "-c", "import typer"],
            "python -c 'import pydantic.main'": [sys.executable, "-c", "import pydantic.main"],
            "esagent --version": [esagent, "--version"],
            "esagent status": [esagent, "status", "--socket", str(path)],
            "esagent status --json": [esagent, "status", "--json", "--socket", str(path)],
        }
        with answering(path):
            found = measure(commands, rounds)
    wall, cpu = found[bare]
    where = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    lines = [
        f"{where}, load {os.getloadavg()[0]:.0f}; medians of {rounds}",
        "",
        f"{'':34} {'wall s':>8} {'CPU s':>8} {'wall / bare':>12} {'CPU / bare':>12}",
        *(f"{what:34} {w:8.3f} {c:8.3f} {w / wall:12.1f} {c / cpu:12.1f}" for what, (w, c) in found.items()),
    ]
    print("\n".join(lines))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
