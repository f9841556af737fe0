"""What each way in does about jobs that Slurm itself keeps back: after a requeue, and where no node fits."""

from __future__ import annotations

import re

import pytest

from agent.slurm.model import SlurmBackend
from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = ("pc924", "pc925")
pytestmark = pytest.mark.usefixtures("nodes_as_found")


def waits(bed: TestBed, job: int, *reasons: str) -> bool:
    told = bed.slurm.run("scontrol", "-o", "show", "job", str(job))
    found = re.search(r"JobState=PENDING Reason=(\w+)", told)
    return found is not None and found[1] in reasons


def test_a_requeued_job_starts_again_before_younger_ones(bed: TestBed, each_way_in: SlurmBackend) -> None:
    alike = (f"--nodelist={NODES[0]}", "--exclusive")
    job = bed.slurm.submit("sleep 600", *alike)
    bed.slurm.wait_for_job(job, "RUNNING")
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "State=DRAIN", "Reason=test")
    bed.slurm.run("scontrol", "requeue", str(job))
    wait_for("Slurm holds it", lambda: waits(bed, job, "BeginTime"))
    # Of jobs of one priority, that comes first that was submitted, or requeued, first.
    younger = bed.slurm.submit("sleep 600", *alike, "--hold")
    assert each_way_in.let_start([str(job), str(younger)]) == {}
    wait_for("it does so no more", lambda: not waits(bed, job, "BeginTime"))
    assert waits(bed, younger, "JobHeldAdmin", "JobHeldUser"), "what a person holds stays held"
    bed.slurm.run("scontrol", "release", str(younger))
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "State=UNDRAIN")
    bed.slurm.wait_for_job(job, "RUNNING")
    assert bed.slurm.job_state(younger) == "PENDING"


def test_a_job_that_a_node_fits_again_starts(bed: TestBed, each_way_in: SlurmBackend) -> None:
    features(bed, "test,x")
    job = bed.slurm.submit("sleep 600", "--constraint=test", "--hold")
    array = bed.slurm.submit("sleep 600", "--constraint=test", "--array=1-2", "--hold")
    features(bed, "small,x")
    bed.slurm.run("scontrol", "release", f"{job},{array}")
    # Slurm tries again now and then, and shows them without a reason until then.
    wait_for("no node fits them", lambda: all(waits(bed, j, "BadConstraints") for j in (job, array)))
    features(bed, "test,x")
    ids = [j.id for j in each_way_in.snapshot().jobs if j.reason == "BadConstraints"]
    assert each_way_in.let_start(ids) == {}
    bed.slurm.wait_for_job(job, "RUNNING")
    wait_for("each task runs", lambda: states(bed, array) == ["RUNNING", "RUNNING"])
    features(bed, "small,x")


def states(bed: TestBed, job: int) -> list[str]:
    return bed.slurm.run("squeue", "-h", "-j", str(job), "-o", "%T").split()


def features(bed: TestBed, words: str) -> None:
    listed = ",".join(NODES)
    both = f"AvailableFeatures={words}", f"ActiveFeatures={words}"
    bed.slurm.run("scontrol", "update", f"NodeName={listed}", *both)
