"""The planner against a real slurmctld: what it borrows for a submission is what Slurm starts it on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.oracle.asking import Oracle
from testbed.oracle.comparing import Case, Result, compare
from testbed.oracle.controller import Controller, Seen
from testbed.oracle.grammar import draw
from testbed.oracle.picked import PICKED, QUICK
from testbed.oracle.planning import Reader
from testbed.oracle.shapes import ALONE, CONFIGURATIONS, Configuration, configuration
from testbed.release import find_release, wanted

LONG = bool(os.environ.get("ESAGENT_LONG_TESTS"))
RIGHT = 0.98
"""The least part of all cases in which the planner is right."""
SEED = 17
DRAWN = 40
"""Submissions that are drawn for each configuration."""
PROMISED: dict[str, str] = {}
"""Submissions that are promised room that Slurm does not give -> why that is not modelled."""
_QUICK = ("CR_CPU", "CR_Core_Memory", "CR_Core_Memory+DefMemPerCPU=1000", "linear+CR_Memory")


def hold_against_slurm(lines: Sequence[str], chosen: Configuration, directory: Path) -> list[Case]:
    """Plan for each submission, and ask Slurm."""
    with Controller(directory / "slurm", chosen, find_release(wanted())) as controller:
        reader = Reader(controller)
        reader.read(lines)
        return compare(reader.lines, Oracle(controller, directory / "answers.json"), reader)


def check(cases: Sequence[Case], least: float) -> None:
    """Check that most are right, and that no job is promised what it never gets."""
    wrong = [case for case in cases if case.result is not Result.RIGHT]
    told = "\n".join(map(str, wrong))
    promised = [case for case in wrong if case.result is Result.TOO_FEW and case.line not in PROMISED]
    assert not promised, "promised too much:\n" + "\n".join(map(str, promised))
    assert len(cases) - len(wrong) >= least * len(cases), f"{len(wrong)} of {len(cases)} wrong:\n{told}"


@pytest.mark.parametrize("name", _QUICK)
def test_a_plan_borrows_what_slurm_starts_a_submission_on(name: str, tmp_path: Path) -> None:
    lines = QUICK[_QUICK.index(name) :: len(_QUICK)]
    check(hold_against_slurm(lines, configuration(name), tmp_path), RIGHT)


@pytest.mark.skipif(not LONG, reason="many minutes: make test-long")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chosen", CONFIGURATIONS, ids=lambda chosen: chosen.name)
def test_a_plan_is_right_for_what_somebody_may_submit(chosen: Configuration, tmp_path: Path) -> None:
    number = list(CONFIGURATIONS).index(chosen)
    lines = [*PICKED, *draw(SEED + number, DRAWN)]
    check(hold_against_slurm(lines, chosen, tmp_path), RIGHT)


def test_what_slurm_was_asked_before_changes_no_answer(tmp_path: Path) -> None:
    lines = [
        "-n4 --gpus=4",
        "--exclusive -N2",
        "--array=1-3 --mem=0",
        "-n9",
        "-N1 : -N1",
        "-c4 --gres=gpu:a100:1",
    ]
    questions = [(line.split(), combination) for line in lines for combination in ALONE]
    with Controller(
        tmp_path / "slurm", configuration("CR_Core_Memory"), find_release(wanted())
    ) as controller:
        first = controller.ask(questions)
        again = controller.ask(questions[::-1])[::-1]
    assert [_outcome(seen) for seen in first] == [_outcome(seen) for seen in again]


def _outcome(seen: Seen | str) -> tuple[int, int, int]:
    return (0, 0, 0) if isinstance(seen, str) else (seen.started, seen.waiting, len(seen.nodes))
