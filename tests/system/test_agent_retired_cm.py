"""A CM that is taken out of agent.conf while a job runs on its machine, on a real Slurm."""

from __future__ import annotations

import re
import signal

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for


@pytest.fixture
def taken_out(agent, bed: TestBed):
    """A CM whose machine a job runs on, its node and the job, while the agent has been started without it."""
    agent.start()
    node, job = agent.borrow()
    (machine,) = (m for m in bed.cloudlab.machines() if m.slice_urn)
    urn = machine.cm
    agent.stop(signal.SIGKILL)
    text = agent.conf.read_text()
    agent.conf.write_text(
        re.sub(rf'\n\[\[cloudlab\.cms\]\]\nurn = "{re.escape(urn)}"\nurl = .*\n', "\n", text)
    )
    assert f'urn = "{urn}"' not in agent.conf.read_text()
    agent.start()
    return urn, node, job


def held(bed: TestBed) -> list[str]:
    return [m.node_id for m in bed.cloudlab.machines() if m.slice_urn]


def test_its_machine_is_told_and_used_until_a_person_has_it_emptied(agent, bed: TestBed, taken_out) -> None:
    urn, node, job = taken_out
    assert f"{urn} is not in agent.conf, and holds node-1 for us" in agent.ask("status").stdout
    assert f"esagent teardown --cm {urn}" in agent.ask("check", "--config", str(agent.conf)).stdout
    wait_for("it is heard", lambda: agent.status()["retired"][0]["heard"])
    agent.let_it_look_again()
    assert bed.slurm.job_state(job) == "RUNNING"
    assert "DRAIN" not in bed.slurm.node_state(node)

    assert agent.ask("teardown", "--yes", "--cm", urn).returncode == 0
    wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    agent.let_it_look_again()
    assert bed.slurm.job_state(job) == "RUNNING", "it may run to its end"
    agent.stop(signal.SIGKILL)
    agent.start()
    bed.slurm.run("scancel", str(job))
    wait_for("it is given back", lambda: not held(bed))
    wait_for("nothing is held there", lambda: not agent.status()["retired"])
    wait_for("the order is struck", lambda: not agent.status()["teardowns"])
    assert agent.told(f"{urn} is not in agent.conf, and nothing is held there for us")

    later = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(later, "RUNNING")
    (other,) = (m for m in bed.cloudlab.machines() if m.slice_urn)
    assert other.node_id != node, "it is borrowed elsewhere"


def test_put_back_into_agent_conf_it_is_a_cm_as_any_other(agent, bed: TestBed, taken_out) -> None:
    urn, node, job = taken_out
    agent.stop()
    (url,) = (cm.url for cm in bed.bedfile.cms if cm.urn == urn)
    agent.change("\n[callback]", f'\n[[cloudlab.cms]]\nurn = "{urn}"\nurl = "{url}"\n\n[callback]')
    agent.start()
    agent.let_it_look_again()
    assert agent.status()["retired"] == []
    assert bed.slurm.job_state(job) == "RUNNING"
    assert "DRAIN" not in bed.slurm.node_state(node)
