"""``python -m bench.replay --out bench/replay.md``: replay a queue with this version and the first one."""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from bench.plan_growth import FIRST_VERSION, ROOT, take_out
from bench.replay.run import MOST, Outcome, Replay
from bench.replay.workload import draw
from testbed.told import faults_told

OUTPUT = Path("build/bench/replay")


def table(outcomes: list[Outcome]) -> str:
    """Write them as a table in Markdown."""
    lines = [
        "| seed and version | jobs | tasks started | borrowed | hours | for nothing | hours | never | wait |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in outcomes:
        wait = f"{mean(each.waited):.0f} min" if each.waited else "-"
        never = sum(len(lines) for kind, lines in each.never.items() if kind not in {"never", "held"})
        lines.append(
            f"| {each.name} | {each.submitted} | {each.tasks} | {each.borrowed} "
            f"| {each.machine_minutes / 60:.0f} | **{each.for_nothing.total()}** "
            f"| {each.nothing_minutes / 60:.1f} | {never} | {wait} |"
        )
    return "\n".join(lines)


@faults_told("bench.replay")
def main() -> None:
    """Replay, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--hours", type=int, default=48)
    parser.add_argument("--every", type=float, default=10, help="minutes from one look at Slurm to the next")
    parser.add_argument("--per-hour", type=float, default=14, help="jobs that come in a busy hour")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--against", default=FIRST_VERSION, help="the commit beside it; - for none")
    parser.add_argument("--out", type=Path, default=OUTPUT.with_suffix(".md"))
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="esagent-replay-") as place:
        versions = {"now": ROOT}
        if options.against != "-":
            take_out(options.against, Path(place))
            versions = {"first version": Path(place), **versions}
        for seed in options.seeds:
            outcomes += _replay(versions, seed, options)
            print(table(outcomes), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(_text(table(outcomes), options))
    for each in outcomes:
        print(f"{each.name}: {each.took:.0f} s, refused {each.refused}, never {each.never}")


def _replay(versions: dict[str, Path], seed: int, options: argparse.Namespace) -> list[Outcome]:
    """Replay with all versions at the same time."""
    queue = draw(seed, options.hours, options.per_hour)
    numbers = (queue, options.hours, options.every, seed)
    replays = []
    for version, agent in versions.items():
        directory = (OUTPUT / f"{seed}-{version.replace(' ', '-')}").resolve()
        directory.mkdir(parents=True, exist_ok=True)
        replays.append(Replay(f"{seed}, {version}", agent, directory, *numbers))
    with ThreadPoolExecutor(max_workers=len(replays)) as pool:
        return list(pool.map(Replay.run, replays))


def _text(rows: str, options: argparse.Namespace) -> str:
    return f"""\
# What two days of a mixed queue borrow

{options.hours} hours of a mixed queue, replayed on a real slurmctld with the agent's first version
and as it is now.

{rows}

Load at the end: {os.getloadavg()[0]:.0f}; at most {MOST} machines.
Again: `python -m bench.replay --seeds {" ".join(map(str, options.seeds))}` (root).
"""


if __name__ == "__main__":
    main()
