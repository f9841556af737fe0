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
    parser.add_argument("--every", type=float, default=15, help="minutes from one look at Slurm to the next")
    parser.add_argument("--per-hour", type=float, default=10, help="jobs that come in a busy hour")
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
    hours, every, per_hour = options.hours, options.every, options.per_hour
    seeds, load = " ".join(map(str, options.seeds)), os.getloadavg()[0]
    return f"""\
# What {hours} hours of a mixed queue borrow

The same random queue on a real slurmctld, with machines that the agent's first version borrows and gives
back, and this one. Time is simulated, in steps of {every:g} minutes. In an hour of the day {per_hour:g}
jobs or arrays come, and a fifth of that at night. At most {MOST} machines of four types are held.

{rows}

*For nothing* are machines that went without a job having been on them, and the hours for which they were
held: one comes 5 to 10 minutes after it was asked for, and its job may have found room elsewhere by then.
*Never* are jobs that some machines would have run and that were given up after 12 hours, or had waited for
3 at the end, without those that ask for more than any machine has. *Wait* is the mean from submission to
start, of those that started.

Load at the end: {load:.0f}. Again: `python -m bench.replay --hours {hours} --every {every:g}
--per-hour {per_hour:g} --seeds {seeds}` (root). What it is: [README.md](README.md).
"""


if __name__ == "__main__":
    main()
