"""Slurm's words, and ours on their way to it."""

import pytest

from agent.slurm.words import main_reason, means_no_answer, one_line, printable


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ("Resources", "Resources"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "ReqNodeNotAvail"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority", "Resources"),
        ("", ""),
    ],
)
def test_why_a_job_waits_is_one_word(told: str, word: str) -> None:
    assert main_reason(told) == word


def test_no_answer_is_told_from_a_refusal() -> None:
    assert means_no_answer("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert not means_no_answer("Invalid node name specified")


def test_text_that_people_read_in_slurm_is_one_line_of_limited_length() -> None:
    assert one_line(" due\nState=DOWN\x1b[2J\n") == "due State=DOWN [2J"
    assert len(one_line("x" * 5000)) == 1000
    assert printable("x\ty" * 500, 4) == "x yx"
