"""How a job came to its end."""

from dataclasses import replace

import pytest

from agent.cluster.drain.ended import (
    How,
    died_of,
    has_begun_anew,
    how_it_ended,
    in_words,
    runs_anew,
)
from agent.cluster.reasons import must_be_empty, requeue_comment, signal_comment
from agent.slurm.model import JobEnd
from agent.slurm.names import signal_number
from tests.unit.cluster.drain.conftest import NOW, at, running

JOB = replace(running("7", "pc1"), started=at(-60), restarts=0)


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (JobEnd("COMPLETED"), How.COMPLETED),
        (JobEnd("FAILED", 3), How.FAILED),
        (JobEnd("FAILED", 0, 11), How.FAILED),
        (JobEnd("FAILED", 0, 10), How.KILLED),
        (JobEnd("FAILED", 138), How.KILLED),
        (JobEnd("FAILED", 1, step_signal=10), How.KILLED),
        (JobEnd("FAILED", 1, step_exit_code=138), How.KILLED),
        (JobEnd("FAILED", 1, step_exit_code=1), How.FAILED),
        (JobEnd("COMPLETED", step_signal=10), How.COMPLETED),
        (JobEnd("CANCELLED", 0, 15), How.CANCELLED),
        (JobEnd("CANCELLED", 0, 10), How.CANCELLED),
        (JobEnd("TIMEOUT", 0, 15), How.TIMED_OUT),
        (JobEnd("DEADLINE"), How.TIMED_OUT),
        (JobEnd("OUT_OF_MEMORY", 0, 125), How.OUT_OF_MEMORY),
        (JobEnd("PREEMPTED"), How.PREEMPTED),
        (JobEnd("NODE_FAIL", 1), How.LOST),
        (JobEnd("BOOT_FAIL"), How.LOST),
        (JobEnd("SOME_DAY", 1), None),
        (JobEnd("COMPLETING", 0, 10, restarts=1), None),
        (JobEnd("RUNNING", restarts=0), None),
        (JobEnd("RUNNING", restarts=1), How.REQUEUED),
        (JobEnd("PENDING", restarts=1), How.REQUEUED),
        (None, How.UNKNOWN),
    ],
)
def test_slurm_says_how_a_job_ended(end: JobEnd | None, how: How | None) -> None:
    assert how_it_ended(JOB, end, signal="USR1", gone=False) is how


def test_a_signal_that_we_did_not_send_is_not_ours() -> None:
    for end in (JobEnd("FAILED", 0, 10), JobEnd("FAILED", 138)):
        assert how_it_ended(JOB, end, signal="", gone=False) is How.FAILED
        assert how_it_ended(JOB, end, signal="USR2", gone=False) is How.FAILED


def test_what_slurm_threw_away_with_the_machine_is_lost() -> None:
    for end in (JobEnd("PENDING", restarts=1), JobEnd("RUNNING", restarts=1), None):
        assert how_it_ended(JOB, end, signal="", gone=True) is How.LOST
    assert how_it_ended(JOB, JobEnd("COMPLETED"), signal="", gone=True) is How.COMPLETED


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("USR1", 10),
        ("SIGUSR1", 10),
        ("10", 10),
        ("URG", 23),
        ("RTMIN+1", 35),
        ("RTMAX", 64),
        ("NONE", 0),
        ("", 0),
    ],
)
def test_signals_have_the_numbers_of_this_kernel(name: str, number: int) -> None:
    assert signal_number(name) == number
    assert not died_of(JobEnd("FAILED", 0, 0), name)


def test_a_job_runs_anew_where_slurm_counts_a_restart_or_else_began_it_later() -> None:
    assert not runs_anew(JOB, JOB)
    assert runs_anew(JOB, replace(JOB, restarts=1))
    assert runs_anew(JOB, replace(JOB, state="PENDING"))
    assert not runs_anew(JOB, replace(JOB, state="COMPLETING", restarts=1))
    unknown = replace(JOB, restarts=None)
    assert runs_anew(unknown, replace(unknown, started=at(5)))
    assert not runs_anew(JOB, replace(JOB, started=at(5))), "a job that was suspended, or resized"


def test_an_end_is_told_in_words() -> None:
    assert in_words(How.COMPLETED, JobEnd("COMPLETED")) == "ended by itself"
    assert in_words(How.FAILED, JobEnd("FAILED", 3)) == "failed by itself, with exit code 3"
    assert in_words(How.FAILED, JobEnd("FAILED", 0, 11)) == "failed by itself, by signal 11"
    assert "cancelled by its user" in in_words(How.CANCELLED, JobEnd("CANCELLED", 0, 15))
    assert "does not know" in in_words(How.UNKNOWN, None)
    assert all(in_words(how, None) for how in How)


def test_our_words_tell_whether_a_job_lost_its_machine_while_nobody_looked() -> None:
    told = signal_comment("USR1", at(-500), must_be_empty(at(-100)))
    waiting = replace(JOB, state="PENDING", restarts=1)
    assert has_begun_anew(told, waiting, NOW)
    assert has_begun_anew(told, replace(JOB, restarts=1), NOW)
    assert not has_begun_anew(told, replace(JOB, started=at(-900)), NOW)
    assert not has_begun_anew(told, waiting, at(-200)), "its machine is there still"
    assert not has_begun_anew(requeue_comment(must_be_empty(at(-100))), waiting, NOW)
    assert not has_begun_anew("", waiting, NOW)
