"""Words in jobs' comments, against a Slurm in memory."""

import pytest

from agent.cluster.drain.comments import Comments
from agent.cluster.drain.hands import Hands
from agent.slurm.model import Job, Node
from tests.unit.cluster.drain.conftest import Slurm

JOB = Job("7", "RUNNING", nodes=frozenset({"pc1"}))


@pytest.mark.parametrize(("fails", "left"), [(False, "project 7 [esagent: three]"), (True, "project 7")])
def test_of_words_that_follow_one_another_while_slurm_hangs_the_last_ones_are_written(
    fails: bool, left: str
) -> None:
    slurm, hands = Slurm([Node("pc1", "MIXED")], [JOB]), Hands(lambda: None, patience=0.02)
    comments = Comments(slurm, hands)
    slurm.notes["7"] = "project 7"
    slurm.hold_at = "comments"
    slurm.hang_at = "comments" if fails else ""
    for words in ("esagent: one", "esagent: two", "esagent: three"):
        comments.write([JOB], words)
        hands.gather()
    assert slurm.said("comments") == [("7",)]
    slurm.go_on.set()
    while hands.is_at(("comment", "7")):
        hands.gather()
    assert slurm.said("comments") == [("7",)] * 2
    assert slurm.notes["7"] == left
