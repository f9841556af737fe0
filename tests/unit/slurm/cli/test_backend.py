"""The way in through Slurm's commands, over commands that misbehave."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.slurm.reservation import Reservation
from tests.unit.slurm.cli.conftest import FixedClock, backend


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
    listing = f"echo '7|{state}|0|'" if state else ""
    slurm = backend(tmp_path, scontrol=f"touch {asked}", squeue=listing)
    with pytest.raises(SlurmRefusedError, match="requeue of job 7"):
        slurm.requeue("7")
    assert not asked.exists()


def test_a_job_that_is_back_in_the_queue_is_left_alone(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    backend(tmp_path, scontrol=f"touch {asked}", squeue="echo '7|PENDING|1|'").requeue("7")
    assert not asked.exists()


def before_and_after(directory: Path, before: str, after: str) -> str:
    """Make a squeue that lists one text until scontrol was asked, and another one then."""
    return f"if [ -e {directory}/asked ]; then printf '{after}'; else printf '{before}'; fi"


def test_many_jobs_are_requeued_by_one_command_and_each_refusal_is_told_from_the_others(
    tmp_path: Path,
) -> None:
    words = "Requested operation is presently disabled for job 2\\n4_[1]: Access/permission denied\\n"
    squeue = before_and_after(
        tmp_path,
        "1|RUNNING|0|\\n2|RUNNING|0|\\n3|COMPLETING|0|\\n4_1|RUNNING|3|\\n6+0|RUNNING|0|\\n6+1|RUNNING|0|\\n"
        "7|RUNNING|0|\\n8|RUNNING|2|\\n9|RUNNING|0|\\n",
        "1|COMPLETING|1|\\n2|RUNNING|0|\\n4_1|RUNNING|3|\\n6+0|PENDING|1|\\n6+1|PENDING|1|\\n"
        "7|COMPLETING|0|\\n8|RUNNING|3|\\n",
    )
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f"echo $* >> {asked}; printf '{words}' >&2; exit 1", squeue=squeue)
    refused = slurm.requeue_all(["1", "2", "3", "4_1", "5", "6+1", "7", "8", "9"])
    assert asked.read_text() == "requeue incomplete 1,2,4_1,6,7,8,9\n"
    assert sorted(refused) == ["2", "3", "4_1", "5", "7", "9"]
    assert "presently disabled" in str(refused["2"])
    assert "permission denied" in str(refused["4_1"])
    assert "it is over" in str(refused["5"])
    for ended in ("7", "9"):
        assert "it ended by itself" in str(refused[ended])


def test_a_job_that_slurm_says_nothing_of_and_leaves_running_was_not_requeued(tmp_path: Path) -> None:
    squeue = before_and_after(tmp_path, "1|RUNNING|0|\\n", "1|RUNNING|0|\\n")
    slurm = backend(tmp_path, scontrol=f"touch {tmp_path}/asked", squeue=squeue)
    with pytest.raises(SlurmRefusedError, match="left it running"):
        slurm.requeue("1", hold=True)


def test_no_job_counts_as_done_where_it_is_not_known_of_which_a_refusal_is(tmp_path: Path) -> None:
    slurm = backend(tmp_path, scontrol="printf '1: denied\\nsomething else\\n' >&2; exit 1")
    refused = slurm.comment_all(["1", "2"], "x")
    assert sorted(refused) == ["1", "2"]
    assert "denied" in str(refused["1"])
    slurm = backend(tmp_path, scontrol="printf '1: denied\\n' >&2; exit 1")
    assert list(slurm.comment_all(["1", "2"], "x")) == ["1"]


def test_a_cancel_that_was_refused_of_nobody_in_particular_is_looked_at(tmp_path: Path) -> None:
    slurm = backend(
        tmp_path,
        scancel="echo 'scancel: error: something' >&2; exit 1",
        squeue="printf '1|RUNNING|0|\\n2|COMPLETING|0|\\n'",
    )
    assert list(slurm.cancel_all(["1", "2", "3"])) == ["1"]


def test_a_reservation_that_is_still_there_was_not_removed_whatever_slurm_says(tmp_path: Path) -> None:
    said = "echo 'delete_reservation x: Requested reservation is invalid' >&2; exit 1"
    backend(tmp_path, scontrol=f"case $1 in delete) {said};; esac").remove_reservation("esagent-x")
    listing = (
        "echo 'ReservationName=esagent-x StartTime=1795350000 EndTime=1795353600 Duration=01:00:00 Nodes=n1 "
        "NodeCnt=1 CoreCnt=2 Features=(null) PartitionName=(null) Flags=MAINT,SPEC_NODES TRES=cpu=2'"
    )
    slurm = backend(tmp_path, scontrol=f"case $1 in delete) {said};; *) {listing};; esac")
    with pytest.raises(SlurmRefusedError, match="is invalid"):
        slurm.remove_reservation("esagent-x")
    slurm.remove_reservation("esagent-y")


@pytest.mark.parametrize("weight", [-1, 4294967281])
def test_a_weight_out_of_range_is_refused_before_anything_is_sent(tmp_path: Path, weight: int) -> None:
    with pytest.raises(SlurmRefusedError, match="expected 0 to 4294967280"):
        backend(tmp_path).set_weight(["n1"], weight)


def test_of_a_reservation_that_has_begun_slurm_takes_no_start(tmp_path: Path) -> None:
    told = tmp_path / "told"
    slurm = backend(tmp_path, scontrol=f'echo "$@" >> {told}')
    now = FixedClock().now()
    for starts in (now - timedelta(minutes=1), now + timedelta(minutes=1)):
        slurm.reserve(Reservation("fence", frozenset({"n1"}), starts, now + timedelta(hours=1)))
    assert ["StartTime" in line for line in told.read_text().splitlines()] == [False, True]


def test_only_what_slurm_itself_keeps_back_is_let_go(tmp_path: Path) -> None:
    listed = (
        "1|PENDING|BeginTime\\n2|PENDING|BadConstraints\\n3|PENDING|JobHeldUser\\n4_[1-3%%1]|PENDING|BadConstraints\\n"
        "5+0|PENDING|BeginTime\\n5+1|PENDING|BeginTime\\n6|RUNNING|None\\n7|PENDING|JobHeldAdmin\\n"
    )
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f"echo $* >> {asked}", squeue=f"printf '{listed}'")
    assert slurm.let_start(["1", "2", "3", "4_[1-3]", "5+0", "6", "7", "8"]) == {}
    assert asked.read_text().splitlines() == ["update JobId=1,5 StartTime=now", "release 2,4_[1-3]"]


def test_which_job_was_not_let_go_is_told(tmp_path: Path) -> None:
    complain = "echo 'Access/permission denied for job 2' >&2; exit 1"
    slurm = backend(
        tmp_path, scontrol=complain, squeue="printf '1|PENDING|BeginTime\\n2|PENDING|BeginTime\\n'"
    )
    assert list(slurm.let_start(["1", "2"])) == ["2"]
