"""Another slice in agent.conf while a job runs on a machine of the one before, on a real Slurm."""

from __future__ import annotations

import re
import signal

from testbed.up import TestBed
from testbed.waiting import wait_for


def test_what_the_former_slice_holds_is_told_and_left_alone_until_it_is_back(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    (machine,) = (m for m in bed.cloudlab.machines() if m.slice_urn)
    agent.stop(signal.SIGKILL)
    text = agent.conf.read_text()
    agent.conf.write_text(re.sub(r'\nslice = ".*"\n', '\nslice = "another"\n', text))
    agent.start()
    assert f"for another slice, {machine.slice_urn}" in agent.ask("status").stdout
    assert machine.slice_urn in agent.ask("check", "--config", str(agent.conf)).stdout
    assert agent.told(f"{machine.cm} holds {machine.client_id}")
    agent.let_it_look_again()
    assert bed.slurm.job_state(job) == "RUNNING"
    assert "DRAIN" not in bed.slurm.node_state(node)

    later = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(later, "RUNNING")
    held = {m.client_id: m.slice_urn for m in bed.cloudlab.machines() if m.slice_urn}
    assert len(held) == 2, "they have two names"
    assert bed.slurm.job_state(job) == "RUNNING"

    agent.stop()
    agent.conf.write_text(text)
    agent.start()
    agent.let_it_look_again()
    (left,) = agent.status()["left_behind"]
    assert "+slice+another" in left
    assert bed.slurm.job_state(later) == "RUNNING"
    bed.slurm.run("scancel", str(job))
    assert agent.ask("teardown", "--yes", "--cm", machine.cm).returncode == 0
    wait_for(
        "it is given back",
        lambda: machine.slice_urn not in {m.slice_urn for m in bed.cloudlab.machines()},
    )
    assert bed.slurm.job_state(later) == "RUNNING"
