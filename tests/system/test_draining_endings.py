"""How jobs on draining nodes ended, and what the site wrote into them, on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.cluster.settings.drain import DrainSettings
from agent.core.events import Event, JobLost
from agent.slurm.model import SignalTarget
from testbed.emptying import Emptying
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

NODES = ("pc910", "pc911")
CPUS = 8
REVOKED, SPARE = NODES
ON = (f"--nodelist={REVOKED}", "--ntasks=1")
SAVING = DrainSettings(
    tick=1,
    checkpoint_signal="USR1",
    checkpoint_to=SignalTarget.BATCH,
    checkpoint_lead=1000,
    requeue_lead=60,
    kill_lead=60,
    cleanup_lead=5,
)


@pytest.fixture(autouse=True)
def _left_as_found(bed: TestBed, nodes_alone: None) -> Iterator[None]:
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.machines.run(REVOKED, "pkill -CONT -x slurmd", timeout=PATIENCE)
    bed.slurm.wait_until_idle()
    for name in NODES:
        if bed.slurm.nodes()[name] & {"DOWN", "DRAIN"}:
            bed.slurm.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
    wait_for("all nodes idle", lambda: all("IDLE" in bed.slurm.node_state(n) for n in NODES))


def emptying(bed: TestBed, settings: DrainSettings = SAVING) -> Emptying:
    return Emptying(bed.slurm.conf, NODES, settings)


def comment(empty: Emptying, job: int) -> str:
    return empty.backend.comments([str(job)]).get(str(job), "")


def of_job(empty: Emptying, kind: str, job: int) -> Event:
    """Wait for what is told of a job."""
    wait_for(f"{kind} of job {job}", lambda: str(job) in empty.told(kind))
    (event,) = [e for e in empty.events if e.kind == kind and e.fields["job"] == str(job)]
    return event


def test_a_job_that_dies_of_the_signal_is_told_as_work_lost_and_the_next_one_of_its_user_gets_none(
    bed: TestBed,
) -> None:
    job = bed.slurm.submit("exec sleep 600", "--time=60", *ON)
    bed.slurm.wait_for_job(job, "RUNNING")
    worked = ("squeue", "-h", "-j", str(job), "-o", "%M")
    wait_for("some seconds of work", lambda: bed.slurm.run(*worked).strip() >= "0:02")
    with emptying(bed) as empty:
        empty.revoke([REVOKED], 900)
        event = of_job(empty, "killed", job)
        assert isinstance(event.data, JobLost)
        assert event.data.lost_cpu_seconds > 0
        assert "died of USR1" in event.message
        told = bed.slurm.run("scontrol", "-o", "show", "job", str(job))
        assert "AdminComment=esagent: USR1 at" in told, "it was told before it died"
        assert not empty.told("finish")
        empty.withdraw([REVOKED])
        wait_for("the drain is lifted", lambda: "DRAIN" not in bed.slurm.nodes()[REVOKED])
        another = bed.slurm.submit("exec sleep 600", "--time=60", *ON)
        bed.slurm.wait_for_job(another, "RUNNING")
        empty.revoke([REVOKED], 900)
        wait_for("a look at it", lambda: [o.job.id for o in empty.drainer.outlooks] == [str(another)])
        assert [o.signal for o in empty.drainer.outlooks] == [""]
        empty.revoke([REVOKED], 50)
        of_job(empty, "requeue", another)
        assert empty.told("signal") == [str(job)]


def test_a_job_that_knows_the_signal_and_ends_is_no_loss(bed: TestBed, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    tmp_path.chmod(0o755)
    job = bed.slurm.submit(
        f"trap 'exit 0' USR1; touch {ready}; while :; do sleep 0.2; done", "--time=60", *ON
    )
    wait_for("the script's trap", ready.exists)
    with emptying(bed) as empty:
        empty.revoke([REVOKED], 900)
        assert "ended by itself" in of_job(empty, "finish", job).message
        assert empty.told("signal") == [str(job)]


def test_what_users_and_slurm_end_themselves_is_told_so(bed: TestBed) -> None:
    cancelled, requeued, lost = (bed.slurm.submit("sleep 600", "--time=60", *ON) for _ in range(3))
    failed = bed.slurm.submit("sleep 3; exit 7", "--time=60", *ON)
    for job in (cancelled, requeued, lost, failed):
        bed.slurm.wait_for_job(job, "RUNNING")
    with emptying(bed, DrainSettings(tick=1)) as empty:
        empty.revoke([REVOKED], 900)
        wait_for("a look at all", lambda: len(empty.drainer.outlooks) >= 3)
        bed.slurm.run("scancel", str(cancelled))
        bed.slurm.run("scontrol", "requeue", str(requeued))
        assert "was cancelled by its user" in of_job(empty, "finish", cancelled).message
        assert "exit code 7" in of_job(empty, "finish", failed).message
        assert "by somebody else" in of_job(empty, "requeue", requeued).message
        # As slurmctld does when the slurmd of a machine that is gone says nothing.
        assert bed.machines.run(REVOKED, "pkill -STOP -x slurmd", timeout=PATIENCE) == 0
        bed.slurm.run("scontrol", "update", f"NodeName={REVOKED}", "State=DOWN", "Reason=Not responding")
        event = of_job(empty, "lost", lost)
        assert isinstance(event.data, JobLost)
        assert event.data.lost_cpu_seconds > 0


def test_the_sites_comment_is_there_all_the_time_and_alone_again_when_the_job_runs_elsewhere(
    bed: TestBed,
) -> None:
    sites = "project 'x' | run 7\nof 9 [see wiki] "
    job = bed.slurm.submit("sleep 600", "--time=60", "--ntasks=1", f"--nodelist={REVOKED}")
    bed.slurm.wait_for_job(job, "RUNNING")
    with emptying(bed, DrainSettings(tick=1, checkpoint_signal="URG", checkpoint_lead=1000)) as empty:
        empty.backend.comment_all([str(job)], sites)
        empty.revoke([REVOKED], 900)
        wait_for("the signal", lambda: empty.told("signal"))
        assert comment(empty, job).startswith(f"{sites} [esagent: URG at ")
        bed.slurm.run("scontrol", "update", f"JobId={job}", f"AdminComment={comment(empty, job)} later")
        empty.revoke([REVOKED], 50)
        of_job(empty, "requeue", job)
        wait_for("why", lambda: "[requeued by esagent: " in comment(empty, job))
        assert comment(empty, job).startswith(f"{sites} later ")
        bed.slurm.run("scontrol", "update", f"JobId={job}", f"ReqNodeList={SPARE}", "StartTime=now")
        bed.slurm.wait_for_job(job, "RUNNING")
        wait_for("the site's words alone", partial(_is, empty, job, f"{sites} later"))


def test_a_withdrawn_revocation_leaves_no_words_behind(bed: TestBed) -> None:
    job = bed.slurm.submit("sleep 600", "--time=60", *ON)
    bed.slurm.wait_for_job(job, "RUNNING")
    settings = DrainSettings(tick=1, checkpoint_signal="URG", checkpoint_lead=1000)
    with emptying(bed, settings) as empty:
        empty.revoke([REVOKED], 900)
        wait_for("the signal", lambda: empty.told("signal"))
        assert "URG at" in comment(empty, job)
    # The next run of the agent finds what this one left.
    with emptying(bed, settings):
        wait_for("no words of ours", partial(_is, empty, job, ""))
        assert bed.slurm.job_state(job) == "RUNNING"


def _is(empty: Emptying, job: int, text: str) -> bool:
    return comment(empty, job) == text
