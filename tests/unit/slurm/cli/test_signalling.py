"""Signals through scancel, over one that tries again what Slurm says it cannot do now."""

from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.slurm.cli.backend import CliBackend
from agent.slurm.cli.reader import JOBS_AT_ONCE
from agent.slurm.model import SignalTarget
from tests.unit.slurm.cli.conftest import backend

STATES = "1|RUNNING\\n2|RUNNING\\n3|SUSPENDED\\n4_1|RUNNING\\n4_[2-3]|PENDING\\n6+0|RUNNING\\n6+1|RUNNING\\n"
TRIES_AGAIN = """\
case " $*" in *" 4_"*)
    echo "scancel: Signal 10 to job 4_1" >&2
    echo "scancel: Job is in transitional state, retrying" >&2
    exec sleep 60
esac
"""


def old(directory: Path, scancel: str) -> CliBackend:
    return backend(directory, scancel=scancel, squeue=f"printf '{STATES}'")


def test_an_old_scancel_that_tries_again_is_ended_and_the_signal_counts_as_sent(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    said = "echo 'scancel: Signal 10 to batch job 6' >&2"
    words = "echo 'scancel: error: Kill job error on job id 2: Job script not specified' >&2; exit 1"
    slurm = old(tmp_path, f"echo $* >> {asked}; {TRIES_AGAIN}{said}; {words}")
    refused = slurm.signal_all(["1", "2", "3", "4_1", "5", "6+1"], "USR1", SignalTarget.BATCH)
    assert sorted(asked.read_text().splitlines()) == [
        "--batch -v --signal=USR1 1 2 6",
        "--batch -v --signal=USR1 4_1",
    ]
    assert sorted(refused) == ["1", "2", "3", "5"]
    assert "not sent in time" in str(refused["1"])
    assert "Job script not specified" in str(refused["2"])
    assert "it is SUSPENDED" in str(refused["3"])
    assert "Invalid job id" in str(refused["5"])


def test_an_old_scancel_that_cannot_be_started_sent_nothing(tmp_path: Path) -> None:
    slurm = old(tmp_path, "")
    (tmp_path / "scancel").unlink()
    assert list(slurm.signal_all(["1", "4_1"], "USR1")) == ["1", "4_1"]


@pytest.mark.parametrize("release", ["22.05.8", "24.11.5"])
def test_a_controller_that_does_not_answer_is_told_from_one_that_refuses(
    tmp_path: Path, release: str
) -> None:
    said = "echo 'scancel: error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    slurm = backend(tmp_path, scancel=said, squeue=f"printf '{STATES}'", release=release)
    with pytest.raises(SlurmDownError, match="scancel"):
        slurm.signal_all(["1"], "USR1")


def test_who_got_the_signal_is_not_among_those_whom_it_did_not_reach(tmp_path: Path) -> None:
    said = "echo 'scancel: error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    slurm = old(tmp_path, f'case "$*" in *4_1*) {said} ;; esac; echo "scancel: Signal 10 to batch job 1" >&2')
    assert sorted(slurm.signal_all(["1", "4_1"], "USR1")) == ["4_1"]


def test_after_one_request_without_an_answer_the_others_are_not_tried_and_not_sent(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    down = "echo 'scancel: error: Zero Bytes were transmitted or received' >&2; exit 1"
    slurm = backend(tmp_path, scancel=f"echo >> {asked}; {down}", release="24.11.5")
    jobs = [str(number) for number in range(1, JOBS_AT_ONCE + 3)]
    assert sorted(slurm.signal_all(jobs, "USR1")) == jobs[JOBS_AT_ONCE:]
    assert asked.read_text() == "\n"


def test_a_new_scancel_asks_once_for_all_and_each_refusal_is_told_from_the_others(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    complaint = "scancel: error: Kill job error on job id"
    words = f"{complaint} 2: Invalid job id specified\\n{complaint} 4_[7]: Job can not be altered now\\n"
    script = f"echo $* >> {asked}; printf '{words}' >&2"
    slurm = backend(tmp_path, scancel=script, release="26.05.1")
    refused = slurm.signal_all(["1", "2", "4_1", "4_7", "6+1"], "USR1", SignalTarget.STEPS)
    assert asked.read_text() == "--ctld -v --signal=USR1 1 2 4_1 4_7 6\n"
    assert sorted(refused) == ["2", "4_7"]


def test_what_is_no_job_or_no_signal_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    slurm = old(tmp_path, f"touch {asked}")
    for jobs, signal in ((["1", "../2"], "USR1"), (["1"], "USR1 9")):
        with pytest.raises(SlurmRefusedError):
            slurm.signal_all(jobs, signal)
    assert not asked.exists()
