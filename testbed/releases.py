"""``make test-releases``: the Slurm part of the system tests, on every release that can be had here.

``make test`` runs on the machine's own release. This ends with a table of what ran and what did not, and why,
and exits non-zero when a test failed or a release that Debian has could not be set up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defusedxml import ElementTree
from rich.console import Console
from rich.table import Table

from testbed.needs import require_rights
from testbed.registry import BedError
from testbed.release import VARIABLE, find_release
from testbed.told import faults_told

PREFIX_VARIABLE = "SLURM_PREFIX"
"""Environment variable that names where a Slurm 25.11, the release of pyslurm, is installed."""
DEBIAN_SUITES = {"24.11": "trixie", "26.05": "forky"}
"""Slurm release -> the suite of Debian that has it."""
PYSLURM_RELEASE = "25.11"
TESTS = (
    *("test_slurm_*.py", "test_bed_slurm.py", "test_agent_plan.py", "test_agent_joining.py"),
    *("test_draining_agent.py", "test_demand_oracle.py", "test_demo.py", "plugin/test_*.py"),
)
"""What in tests/system depends on Slurm's release: ways in, reading, weights, demand, joining and leaving,
and what is installed into Slurm.

How the daemon starts, stops and brakes is the same on all, and `make test` shows it.
"""
_ROOT = Path(__file__).resolve().parent.parent
_SETUP_TIMEOUT = 1800.0


@dataclass(frozen=True)
class Outcome:
    """What became of the tests on one release."""

    release: str
    passed: int = 0
    failed: Sequence[str] = ()
    """The tests that failed; or why none could run, though they should have."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many tests."""

    @classmethod
    def of_report(cls, release: str, report: Path) -> Outcome:
        """Count the tests in a JUnit report of pytest."""
        passed = 0
        failed: list[str] = []
        skipped: Counter[str] = Counter()
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            elif skip is not None:
                skipped[skip.get("message") or "no reason given"] += 1
            else:
                passed += 1
        return cls(release, passed, failed, skipped)


def run_debian(release: str, out: Path) -> Outcome:
    """Run the tests on a release that a suite of Debian has; the chroot is made when it is missing."""
    tree = out / DEBIAN_SUITES[release]
    made = subprocess.run(
        [_ROOT / "tools/setup-release", DEBIAN_SUITES[release], tree], check=False, timeout=_SETUP_TIMEOUT
    )
    if made.returncode != 0:
        return Outcome(release, failed=[f"Debian {DEBIAN_SUITES[release]} could not be set up, see above"])
    return run_tests(release, tree, out)


def run_prefix(out: Path) -> Outcome:
    """Run the tests on the Slurm that ``SLURM_PREFIX`` names, where there is one."""
    prefix = os.environ.get(PREFIX_VARIABLE)
    if not prefix:
        return Outcome(
            PYSLURM_RELEASE, skipped={f"{PREFIX_VARIABLE} is not set: pyslurm needs its release": 0}
        )
    return run_tests(PYSLURM_RELEASE, Path(prefix), out)


def run_tests(release: str, directory: Path, out: Path) -> Outcome:
    """Run the tests with the Slurm of a directory, as ``find_release`` takes it."""
    try:
        found = find_release(directory)
    except BedError as error:
        return Outcome(release, failed=[str(error)])
    print(f"test-releases: Slurm {found.version}, from {directory}", flush=True)
    report = out / f"{release}.xml"
    report.unlink(missing_ok=True)
    tests = sorted({path for pattern in TESTS for path in (_ROOT / "tests/system").glob(pattern)})
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"),
            *(f"--junitxml={report}", *map(str, tests)),
        ],
        env={**os.environ, VARIABLE: str(directory.resolve())},
        cwd=_ROOT,
        check=False,
    )
    if not report.exists():
        return Outcome(found.version, failed=["pytest left no report, see above"])
    return Outcome.of_report(found.version, report)


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the closing table."""
    table = Table("Slurm", "passed", "failed", "skipped, and why", title="The Slurm tests, by release")
    for outcome in outcomes:
        reasons = [f"{count or 'all'}: {reason}" for reason, count in outcome.skipped.items()]
        table.add_row(
            outcome.release, str(outcome.passed), "\n".join(outcome.failed) or "0", "\n".join(reasons) or "0"
        )
    Console(width=118, highlight=False, markup=False).print(table)


@faults_told("test-releases")
def main() -> int:
    """Run every release that was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testbed.releases", description=__doc__)
    parser.add_argument(
        "releases",
        nargs="*",
        metavar="RELEASE",
        help=f"{', '.join([*DEBIAN_SUITES, PYSLURM_RELEASE])}; none: all of them",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/releases"), help="where the chroots and the reports are"
    )
    options = parser.parse_args()
    known = sorted([*DEBIAN_SUITES, PYSLURM_RELEASE])
    if unknown := set(options.releases) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    require_rights()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = [
        run_debian(release, out) if release in DEBIAN_SUITES else run_prefix(out)
        for release in options.releases or known
    ]
    show(outcomes)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
