"""``python -m bench.revocations --out bench/revocations.md``: run all ways, write a table and a plot."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.revocations.plan import make_workload
from bench.revocations.run import WAYS, Result, machine_words, run

NODES = ("pc1", "pc2", "pc3")
_BAR, _ROW, _LABEL = 360, 26, 130


def table(results: Sequence[Result]) -> str:
    """Write the results as a table in Markdown."""
    head = "| | jobs lost | CPU-seconds lost | machines taken by force | median release before the deadline |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: |"]
    for result in results:
        early = f"{median(result.early):.0f} s" if result.early else "never"
        lines.append(
            f"| {result.way} | {result.lost} of {result.jobs} | {result.cpu_seconds_lost:.0f} "
            f"| {result.late} of {result.revoked} | {early} |"
        )
    return "\n".join(lines)


def plot(results: Sequence[Result]) -> str:
    """Draw the CPU-seconds lost as bars, in SVG."""
    most = max(r.cpu_seconds_lost for r in results) or 1.0
    rows = []
    for number, result in enumerate(results):
        y, width = 30 + number * _ROW, _BAR * result.cpu_seconds_lost / most
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{result.way}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.0f}" height="18" fill="#4477aa"/>'
            f'<text x="{_LABEL + width + 6:.0f}" y="{y + 13}">{result.cpu_seconds_lost:.0f}</text>'
        )
    width, height = _LABEL + _BAR + 60, 40 + len(results) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="10" y="18">CPU-seconds lost to revocations</text>{"".join(rows)}</svg>\n'
    )


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(prog="bench.revocations", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--revocations", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("bench/revocations.md"))
    arguments = parser.parse_args()
    workload = make_workload(arguments.seed, NODES, arguments.jobs, arguments.revocations)
    results = []
    for way in WAYS:
        with tempfile.TemporaryDirectory(prefix="revocations-") as directory:
            results.append(run(way, workload, NODES, Path(directory)))
        print(table(results), flush=True)
    arguments.out.with_suffix(".svg").write_text(plot(results))
    arguments.out.write_text(
        "# What revocations cost\n\n"
        "The same random queue and the same random revocations on a real Slurm, with nobody who hears\n"
        "Cloudlab, with a script that only drains, and with esagent. One second stands for about a minute:\n"
        "jobs of 2 to 48 s, notices of 8 to 16 s, SlurmdTimeout 30 s.\n\n"
        f"Seed {arguments.seed}, {arguments.jobs} jobs (a fifth with `--no-requeue`), "
        f"{arguments.revocations} revocations, {len(NODES)} nodes of 2 CPUs.\n\n"
        f"{table(results)}\n\n![CPU-seconds lost]({arguments.out.with_suffix('.svg').name})\n\n"
        "A CPU-second is lost when a job held the CPU without a result: run time thrown away by a requeue,\n"
        "a cancellation or a dead machine, and the time until Slurm noticed.\n\n"
        f"Machine: {machine_words()}. Again: `python -m bench.revocations --seed {arguments.seed}` (root).\n"
    )


if __name__ == "__main__":
    main()
