"""Machines that Cloudlab takes while no agent runs: the next one tells Slurm, and their jobs are free."""

from __future__ import annotations

import signal

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("patient_slurm")


def held(bed: TestBed) -> list[str]:
    return [machine.node_id for machine in bed.cloudlab.machines() if machine.slice_urn]


def lose_the_ledger(agent) -> None:
    for part in agent.ledger.parent.glob("ledger.db*"):
        part.unlink()


@pytest.mark.parametrize("by", ["ledger", "reason"])
def test_a_machine_that_went_meanwhile_is_told_to_slurm_with_its_jobs(agent, bed: TestBed, by: str) -> None:
    agent.start()
    node, job = agent.borrow()
    if by == "reason":
        bed.cloudlab.revoke(node, 300)
        wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    agent.stop(signal.SIGKILL)
    bed.cloudlab.revoke(node, 0)
    wait_for("it is taken", lambda: node not in held(bed))
    if by == "reason":
        lose_the_ledger(agent)
    agent.start()
    wait_for("its record is gone", lambda: not bed.slurm.node_state(node))
    assert bed.slurm.job_state(job) == "PENDING"
    assert agent.told(f"job {job} lost its machine")


def test_a_record_that_a_crashed_slurmctld_brings_back_goes_again(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.slurm.run("scontrol", "update", f"NodeName={node}", "Comment=looked at by ada")
    saved = bed.slurm.directory / "state/node_state"
    wait_for("its state is saved", lambda: b"looked at by ada" in saved.read_bytes())
    bed.slurm.run("scancel", str(job))
    bed.cloudlab.revoke(node, 0)
    wait_for("its record is gone", lambda: not bed.slurm.node_state(node))
    bed.slurm.kill_slurmctld()
    bed.slurm.start_slurmctld()
    agent.let_it_look_again()
    wait_for("it is gone again", lambda: not bed.slurm.node_state(node))
    assert bed.slurm.node_state("n1")
