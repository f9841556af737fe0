"""The way in through Slurm's commands, over commands that misbehave."""

from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.slurm.model import SignalTarget
from tests.unit.slurm.cli.conftest import backend


@pytest.mark.parametrize(
    "said",
    [
        "slurm_load_nodes error: Unable to contact slurm controller (connect failure)",
        "slurm_load_nodes error: Socket timed out on send/recv operation",
    ],
)
def test_no_answer_of_the_controller_is_told_from_a_refusal(tmp_path: Path, said: str) -> None:
    with pytest.raises(SlurmDownError, match="scontrol"):
        backend(tmp_path, scontrol=f"echo '{said}' >&2; exit 1").snapshot()


def test_hidden_control_characters_in_slurms_words_do_not_reach_the_log(tmp_path: Path) -> None:
    with pytest.raises(SlurmRefusedError) as caught:
        backend(tmp_path, scontrol=r"printf 'bad \033[2J name\nnext' >&2; exit 1").drain(["n1"], "x")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("state", ["COMPLETING", "COMPLETED", "NODE_FAIL", ""])
def test_a_job_that_does_not_run_is_never_requeued(tmp_path: Path, state: str) -> None:
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f"touch {asked}", squeue=f"echo '7|{state}'")
    with pytest.raises(SlurmRefusedError, match="requeue of job 7"):
        slurm.requeue("7")
    assert not asked.exists()


def test_a_job_that_is_back_in_the_queue_is_left_alone(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    backend(tmp_path, scontrol=f"touch {asked}", squeue="echo '7|PENDING'").requeue("7")
    assert not asked.exists()


def test_many_jobs_are_requeued_by_one_command_and_each_refusal_is_told_from_the_others(
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    words = "Requested operation is presently disabled for job 2\\n4_1: Job is pending execution\\n"
    slurm = backend(
        tmp_path,
        scontrol=f"echo $* >> {asked}; printf '{words}' >&2; exit 1",
        squeue="printf '1|RUNNING\\n2|RUNNING\\n3|COMPLETING\\n4_1|RUNNING\\n6+0|RUNNING\\n6+1|RUNNING\\n'",
    )
    refused = slurm.requeue_all(["1", "2", "3", "4_1", "5", "6+1"])
    assert asked.read_text() == "requeue 1,2,4_1,6\n"
    assert sorted(refused) == ["2", "3", "4_1", "5"]
    assert "presently disabled" in str(refused["2"])
    assert "it is over" in str(refused["5"])


def test_many_jobs_are_signalled_by_one_command_and_each_refusal_is_told_from_the_others(
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    words = "scancel: error: Kill job error on job id 2: Invalid job id specified\\n"
    slurm = backend(tmp_path, scancel=f"echo $* >> {asked}; printf '{words}' >&2; exit 1")
    refused = slurm.signal_all(["1", "2", "4_1", "6+1"], "USR1", SignalTarget.BATCH)
    assert asked.read_text() == "--batch --signal=USR1 1 2 4_1 6\n"
    assert list(refused) == ["2"]


def test_what_administrators_wrote_into_jobs_is_read_for_many_at_once(tmp_path: Path) -> None:
    listing = "printf '1|esagent: x|\\n2_1|(null)|\\n7|not asked for|\\n'"
    assert backend(tmp_path, squeue=listing).comments(["1", "2_1", "9"]) == {"1": "esagent: x"}


@pytest.mark.parametrize("weight", [-1, 4294967281])
def test_a_weight_out_of_range_is_refused_before_anything_is_sent(tmp_path: Path, weight: int) -> None:
    with pytest.raises(SlurmRefusedError, match="expected 0 to 4294967280"):
        backend(tmp_path).set_weight(["n1"], weight)
