"""``python -m bench.revocations --out bench/revocations.md``: run all ways, write a table and a plot."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from functools import reduce
from operator import add
from pathlib import Path
from statistics import median

from bench.revocations.plan import make_workload
from bench.revocations.run import Result, WayName, machine_words, run_all
from testbed.told import faults_told

NODES = ("pc1", "pc2", "pc3")
_BAR, _ROW, _LABEL = 360, 26, 130
_COLOURS = {WayName.NO_AGENT: "#bb5566", WayName.PLAIN_DRAIN: "#ddaa33", WayName.ESAGENT: "#004488"}

Results = Mapping[WayName, Result]


def table(seeds: Mapping[int, Results]) -> str:
    """Write the results as a table in Markdown: each seed, and their sum."""
    lines = [
        "| seed | | jobs lost | needlessly | restarts | CPU-seconds lost | back late | margin | all took |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for seed, results in seeds.items():
        lines += [_row(str(seed), way, result) for way, result in results.items()]
    if len(seeds) > 1:
        lines += [_row("all", way, result) for way, result in total(seeds).items()]
    return "\n".join(lines)


def _row(seed: str, way: WayName, result: Result) -> str:
    early = f"{median(result.early):.0f} s" if result.early else "never"
    share = 100 * result.cpu_seconds_lost / result.cpu_seconds
    return (
        f"| {seed} | {way} | {result.lost} of {result.jobs} | {result.needless} | {result.restarts} "
        f"| {result.cpu_seconds_lost:.0f} ({share:.0f} %) | {result.late} of {result.revoked} "
        f"| {early} | {result.took:.0f} s |"
    )


def total(seeds: Mapping[int, Results]) -> Results:
    """Add the seeds up."""
    return {way: reduce(add, (results[way] for results in seeds.values())) for way in WayName}


def plot(seeds: Mapping[int, Results]) -> str:
    """Draw the CPU-seconds lost, and the machines that were back late, as bars in SVG."""
    sums = total(seeds)
    panels = (
        ("jobs lost", {way: float(r.lost) for way, r in sums.items()}),
        ("jobs lost needlessly", {way: float(r.needless) for way, r in sums.items()}),
        ("CPU-seconds lost", {way: r.cpu_seconds_lost for way, r in sums.items()}),
        ("machines back late", {way: float(r.late) for way, r in sums.items()}),
    )
    rows, y = [], 20
    for title, values in panels:
        rows.append(f'<text x="10" y="{y}" font-weight="bold">{title}</text>')
        most = max(values.values()) or 1.0
        for way, value in values.items():
            y += _ROW
            width = _BAR * value / most
            rows.append(
                f'<text x="{_LABEL - 8}" y="{y}" text-anchor="end">{way}</text>'
                f'<rect x="{_LABEL}" y="{y - 13}" width="{width:.0f}" height="18" fill="{_COLOURS[way]}"/>'
                f'<text x="{_LABEL + width + 6:.0f}" y="{y}">{value:.0f}</text>'
            )
        y += _ROW + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL + _BAR + 60}" height="{y}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(rows)}</svg>\n"
    )


@faults_told("bench.revocations")
def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(prog="bench.revocations", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--revocations", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("bench/revocations.md"))
    arguments = parser.parse_args()
    seeds: dict[int, Results] = {}
    loads = []
    for seed in arguments.seeds:
        workload = make_workload(seed, NODES, arguments.jobs, arguments.revocations)
        with tempfile.TemporaryDirectory(prefix="revocations-") as directory:
            seeds[seed] = run_all(workload, NODES, Path(directory))
        loads.append(os.getloadavg()[1])
        print(table(seeds), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".svg").write_text(plot(seeds))
    arguments.out.write_text(
        "# What revocations cost\n\n"
        "The same random queue and the same random revocations on a real Slurm, with nobody who hears\n"
        "Cloudlab; with a script that drains at the notice, lets jobs end and gives back what is empty; and\n"
        "with esagent. One second stands for ten: jobs of 4 to 96 s, notices of 20 to 60 s,\n"
        "SlurmdTimeout 30 s, leads of 18 (checkpoint), 12 (requeue), 4.5 (cancel) and 3 s (delete\n"
        "commands). The three ways run at the same time.\n\n"
        f"For each seed {arguments.jobs} jobs (half begin anew after a requeue, three in ten save their\n"
        f"work at USR1, two in ten are `--no-requeue`; half tell a time limit), {arguments.revocations}\n"
        f"revocations, {len(NODES)} nodes of 2 CPUs.\n\n"
        f"{table(seeds)}\n\n"
        f"![Jobs lost, CPU-seconds lost, machines back late]({arguments.out.with_suffix('.svg').name})\n\n"
        "A CPU-second is lost when a job held the CPU without a result: run time thrown away by a requeue,\n"
        "a cancellation or a dead machine, and the time until Slurm noticed; in brackets as a share of the\n"
        "work in the queue. It is counted by looking twice a second. A machine is back late when it was not\n"
        "released before its deadline, and the margin, of which the median is told, is by how much it was.\n"
        "A job is lost when it did not complete in the end, and needlessly so where it might have been\n"
        "requeued, or would have ended before its machine was taken. The others are\n"
        "`--no-requeue` jobs that need more time than their machine had: nobody can save them.\n\n"
        f"Machine: {machine_words()}, load (5 minutes) {', '.join(f'{load:.1f}' for load in loads)} at the\n"
        f"end of each seed. Again: `python -m bench.revocations --seeds "
        f"{' '.join(map(str, arguments.seeds))}` (root).\n"
    )


if __name__ == "__main__":
    main()
