"""What the agent learns where a real Slurm does not start what should fit."""

from __future__ import annotations

from testbed.up import TestBed
from testbed.waiting import wait_for


def test_a_machine_that_slurm_does_not_use_for_its_job_goes_back_and_no_other_is_borrowed(
    agent, bed: TestBed
) -> None:
    """One component of a heterogeneous job fits, the other finds no room within max_nodes: neither starts."""
    agent.change("max_nodes = 3", "max_nodes = 1")
    agent.change('idle_timeout = "25s"', 'idle_timeout = "5s"\nsettle = "5s"')
    agent.change('min_hold = "25s"', 'min_hold = "5s"')
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    script = bed.slurm.directory / "components.sh"
    script.write_text("#!/bin/sh\nsleep 600\n")
    options = ("--parsable", "--output=/dev/null", "--cpus-per-task=2", ":", "--cpus-per-task=2")
    job = bed.slurm.run("sbatch", *options, str(script)).strip()
    agent.start()
    wait_for("a machine is borrowed for it", lambda: agent.told(f"; for job {job}+0"))
    wait_for("it is found that it is of no use", lambda: agent.told("Slurm says Resources"))
    (told,) = [each for each in agent.look("/v1/plan")["jobs"] if each["job"] == f"{job}+0"]
    assert told["why"] == "Slurm does not start it on a borrowed machine: says Resources"
    wait_for("it went back", lambda: not agent.nodes())
    agent.let_it_look_again()
    events = agent.look("/v1/events?subject=&newest=500")["events"]
    assert len([event for event in events if event["kind"] in {"add", "create"}]) == 1
    assert bed.slurm.job_state(int(job)) == "PENDING"
