"""Jobs that cannot end in time, on a real Slurm: they start over at once, or are left to try."""

from __future__ import annotations

import pytest

from agent.cluster.settings.drain import DrainSettings
from testbed.emptying import Emptying
from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nodes_alone", "idle_again")

LEAVES, FREE = NODES = ("pc915", "pc916")
CPUS = 2


def start(bed: TestBed, script: str = "sleep 600") -> int:
    """Start a job on the node that leaves, which could run on the other one as well."""
    bed.slurm.run("scontrol", "update", f"NodeName={FREE}", "State=DRAIN", "Reason=test")
    job = bed.slurm.submit(script, "--cpus-per-task=2", "--time=60")
    bed.slurm.wait_for_job(job, "RUNNING")
    bed.slurm.run("scontrol", "update", f"NodeName={FREE}", "State=UNDRAIN")
    return job


def emptying(bed: TestBed, foresight: str = "limits") -> Emptying:
    return Emptying(bed.slurm.conf, NODES, DrainSettings(tick=1, foresight=foresight))


def expected(empty: Emptying, words: str) -> bool:
    return any(words in outlook.expected for outlook in empty.drainer.outlooks)


def test_a_doomed_job_is_requeued_at_the_notice_and_runs_again_on_the_free_node(bed: TestBed) -> None:
    job = start(bed, 'test "$SLURM_RESTART_COUNT" && exit 0; sleep 600')
    with emptying(bed) as empty:
        empty.revoke([LEAVES], 900)
        empty.wait_until_left([LEAVES])
        assert empty.told("requeue") == [str(job)]
        (told,) = [event.message for event in empty.events if event.kind == "requeue"]
        assert "by its limit; starting over now loses" in told
        bed.slurm.wait_for_job(job, "COMPLETED")
        assert bed.slurm.job_nodes(job) == FREE


def test_without_a_place_it_is_left_to_try_until_one_becomes_free(bed: TestBed) -> None:
    job = start(bed)
    other = bed.slurm.submit("sleep 600", f"--nodelist={FREE}", "--cpus-per-task=2", "--no-requeue")
    bed.slurm.wait_for_job(other, "RUNNING")
    with emptying(bed) as empty:
        empty.revoke([LEAVES], 900)
        wait_for("a look", lambda: expected(empty, "there is no place for it now"))
        assert bed.slurm.job_state(job) == "RUNNING"
        bed.slurm.run("scancel", str(other))
        bed.slurm.wait_for_job(job, "PENDING")


def test_a_job_whose_like_ends_long_before_its_limit_is_left_to_try_and_ends(bed: TestBed) -> None:
    end = bed.slurm.directory / "end-of-a-short-job"
    job = start(bed, f"until test -e {end}; do sleep 0.1; done")
    with emptying(bed, "history") as empty:
        empty.run_times = [300] * 5
        empty.revoke([LEAVES], 900)
        wait_for("a look", lambda: expected(empty, "from 5 earlier jobs of the same user and name"))
        assert bed.slurm.job_state(job) == "RUNNING"
        end.touch()
        empty.wait_until_left([LEAVES])
        wait_for("its end is told", lambda: empty.told("finish") == [str(job)])
        assert empty.told("requeue") == []
    assert bed.slurm.job_state(job) == "COMPLETED"


def test_a_job_whose_like_never_ends_in_time_starts_over_and_one_that_nobody_knows_does_not(
    bed: TestBed,
) -> None:
    job = start(bed)
    with emptying(bed, "history") as empty:
        empty.revoke([LEAVES], 900)
        wait_for("a look", lambda: empty.drainer.outlooks)
        empty.drainer.tick()
        assert bed.slurm.job_state(job) == "RUNNING"
        empty.run_times = [3000] * 5
        empty.desk.look_at_drains()
        bed.slurm.wait_for_job(job, "PENDING")
