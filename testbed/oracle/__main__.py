"""``python -m testbed.oracle``: hold the planner against a real slurmctld, and print where it is wrong."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from testbed.oracle.asking import Oracle
from testbed.oracle.comparing import Case, Result, compare
from testbed.oracle.controller import Controller
from testbed.oracle.grammar import draw
from testbed.oracle.picked import PICKED
from testbed.oracle.planning import Reader
from testbed.oracle.recorded import record
from testbed.oracle.shapes import CONFIGURATIONS, Configuration
from testbed.release import find_release, wanted
from testbed.told import faults_told


def run(
    configuration: Configuration,
    lines: list[str],
    out: Path,
    *,
    known: bool = False,
    verbose: bool = False,
    kept: Path | None = None,
) -> list[Case]:
    """Compare in one configuration.

    Args:
        configuration: how Slurm chooses nodes.
        lines: the submissions.
        out: where answers are kept, and slurmctld has its files.
        known: leave out the submissions that slurmctld was not asked about before.
        verbose: print those that sbatch takes nowhere.
        kept: a folder for a file of what the planner was right about.
    """
    release = find_release(wanted())
    name = f"{release.version}-{configuration.name}".replace(":", "_")
    with Controller((out / "run").resolve(), configuration, release) as controller:
        oracle = Oracle(controller, out / f"{name}.json")
        reader = Reader(controller)
        reader.read([line for line in lines if not known or oracle.knows(line)])
        if verbose:
            for line, words in reader.refused.items():
                print(f"no submission: {line!r}: {words}")
        cases = compare(reader.lines, oracle, reader)
        if kept is not None:
            record(release.version, configuration.name, reader, cases, kept / f"{name}.json")
        return cases


@faults_told("oracle")
def main() -> int:
    """Ask, compare and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testbed.oracle", description=__doc__)
    parser.add_argument(
        "--config", action="append", metavar="NAME", help="one of them: %(default)s; none: all"
    )
    parser.add_argument("--line", action="append", metavar="OPTIONS", help="ask about this submission alone")
    parser.add_argument("--seed", type=int, default=1, help="of the submissions that are drawn; %(default)s")
    parser.add_argument(
        "--count", type=int, default=0, help="submissions to draw, besides those picked by hand; %(default)s"
    )
    parser.add_argument("--drawn-only", action="store_true", help="leave those out that were picked by hand")
    parser.add_argument(
        "--known", action="store_true", help="only submissions of which it is known what Slurm does with them"
    )
    parser.add_argument("--out", type=Path, default=Path("build/oracle"))
    parser.add_argument("--record", type=Path, help="a folder: keep there what the planner was right about")
    parser.add_argument("--quiet", action="store_true", help="rates alone")
    options = parser.parse_args()
    chosen = [c for c in CONFIGURATIONS if not options.config or c.name in options.config]
    if not chosen:
        parser.error(f"expected one of {', '.join(c.name for c in CONFIGURATIONS)}")
    picked = () if options.drawn_only else PICKED
    lines = list(dict.fromkeys(options.line or (*picked, *draw(options.seed, options.count))))
    totals: Counter[Result] = Counter()
    for configuration in chosen:
        cases = run(
            configuration,
            lines,
            options.out,
            known=options.known,
            verbose=not options.quiet,
            kept=options.record,
        )
        if not options.quiet:
            for case in cases:
                if case.result is not Result.RIGHT or options.line:
                    print(f"{configuration.name}: {case}")
        counts = Counter(case.result for case in cases)
        totals += counts
        print(f"{configuration.name}: {_rates(counts)}", flush=True)
    print(f"all: {_rates(totals)}")
    return 0


def _rates(counts: Counter[Result]) -> str:
    total = counts.total()
    told = ", ".join(f"{counts[result]} {result}" for result in Result)
    return f"{100 * counts[Result.RIGHT] / max(total, 1):.1f} % of {total}: {told}"


if __name__ == "__main__":
    sys.exit(main())
