"""What Slurm's accounting tells of earlier jobs, whatever their users call them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmRefusedError
from agent.slurm.cli import sacct
from agent.slurm.cli.command import Finished
from agent.slurm.model import EarlierRun

MARK = "<mark>"
NAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r")) | st.sampled_from(
    ["wrap", "a|b", "two\nlines", "9<mar", "\n5<other>bob<other>x<other>COMPLETED\n", "COMPLETED"]
)


def row(run: EarlierRun) -> str:
    return MARK.join((f"{run.seconds:.0f}", run.user, run.name, "COMPLETED")) + "\n"


@given(st.lists(st.builds(EarlierRun, st.sampled_from(["eve", "bob"]), NAMES, st.integers(0, 10**7))))
def test_every_job_is_read_and_no_name_makes_another(runs: Sequence[EarlierRun]) -> None:
    assert sacct.parse("".join(map(row, runs)), MARK) == tuple(runs)


def test_the_mark_of_each_question_is_one_that_nobody_knew() -> None:
    asked: list[tuple[str, ...]] = []

    def run(*argv: str) -> Finished:
        asked.append(argv)
        (mark,) = (each.partition("=")[2] for each in argv if each.startswith("--delimiter="))
        return Finished(argv, 0, mark.join(("12", "eve", "fit", "FAILED")) + "\n", "")

    assert sacct.earlier_runs(run) == sacct.earlier_runs(run) == (EarlierRun("eve", "fit", 12),)
    assert asked[0] != asked[1]


def test_a_slurm_without_accounts_says_so() -> None:
    refusal = "Slurm accounting storage is disabled"
    with pytest.raises(SlurmRefusedError, match=refusal):
        sacct.earlier_runs(lambda *argv: Finished(argv, 1, "", refusal))
