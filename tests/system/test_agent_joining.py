"""How machines come into a real Slurm, and how their records leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for


def test_a_machine_whose_probe_fails_is_kept_for_a_look_and_then_given_back(agent, bed: TestBed) -> None:
    agent.change(
        "[join]\n", '[join]\nprobe = ["echo no scratch disk; false"]\nattempts = 1\nkeep_failed = "5s"\n'
    )
    agent.change('retry_interval = "10s"', 'retry_interval = "1s"')
    agent.start()
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    # It starts at once on what has just joined, and ends: only then the machine can go.
    bed.slurm.submit("sleep 1", "--cpus-per-task=2")
    agent.wait_for_log("the join commands have run")
    agent.wait_for_log("given up: .*the probe does not pass.*status 1")
    assert agent.said("no scratch disk")
    agent.wait_for_log("gave back")


def test_the_record_of_a_machine_that_is_taken_stays_while_a_pending_job_names_it(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.slurm.run("scancel", str(job))
    named = bed.slurm.submit("sleep 600", f"--nodelist={node}", "--hold")
    bed.cloudlab.revoke(node, 0)

    def kept() -> bool:
        reason = bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")
        return "DOWN" in bed.slurm.node_state(node) and "esagent: no machine behind it" in reason

    wait_for("the record is down with our reason", kept)
    bed.slurm.run("scontrol", "reconfigure")
    assert bed.slurm.job_state(named) == "PENDING"
    bed.slurm.run("scancel", str(named))
    wait_for("the record is gone", lambda: node not in bed.slurm.nodes())


@pytest.fixture
def _reboots(bed: TestBed) -> Iterator[None]:
    """Slurm has a RebootProgram: one that leaves it to the test."""
    text = bed.slurm.conf.read_text()
    bed.slurm.conf.write_text(f"{text}RebootProgram=/bin/true\n")
    bed.slurm.restart_slurmctld()
    yield
    bed.slurm.conf.write_text(text)
    bed.slurm.restart_slurmctld()


@pytest.mark.usefixtures("_reboots")
def test_a_machine_that_is_rebooted_through_slurm_is_waited_for(agent, bed: TestBed) -> None:
    agent.change("[join]\n", '[join]\nattempts = 1\ntimeout = "3s"\n')
    agent.change('retry_interval = "10s"', 'retry_interval = "1s"')
    agent.start()
    node, job = agent.borrow()
    bed.slurm.run("scontrol", "reboot", "ASAP", "nextstate=RESUME", node)
    bed.slurm.run("scancel", str(job))
    bed.slurm.wait_for_node(node, "REBOOT_ISSUED")
    bed.machines.run(node, "pkill -x slurmd; while pgrep -x slurmd; do sleep 0.1; done", timeout=PATIENCE)
    agent.let_it_look_again()
    again = bed.slurm.submit("sleep 600", f"--nodelist={node}")
    start = f"SLURM_CONF={bed.slurm.conf} slurmd -b -Z -N {node} --conf 'CPUs=2 Feature=cloudlab'"
    bed.machines.run(node, start, timeout=PATIENCE)
    bed.slurm.wait_for_job(again, "RUNNING")
    assert not agent.said("given up")


@pytest.fixture(params=["CLOUD", "FUTURE"])
def predeclared(request: pytest.FixtureRequest, predeclare: Callable[..., str]) -> str:
    """Names of Cloudlab's machines, which Slurm's slurm.conf declares."""
    return predeclare(request.param)


def test_a_machine_takes_over_the_node_that_slurm_conf_declares_for_it(
    agent, bed: TestBed, predeclared: str
) -> None:
    agent.change('slurmd -Z -N {node_name} --conf \\"CPUs=2 Feature=cloudlab\\"', "slurmd -b -N {node_name}")
    agent.change("[join]\n", f'[join]\nmode = "cloud"\npredeclared = "{predeclared}"\n')
    agent.start()
    agent.wait_for_log("predeclared nodes have no machine: set down")
    node, job = agent.borrow()
    assert node in bed.slurm.nodes()
    bed.cloudlab.revoke(node, 0)
    wait_for("it has no machine any more", lambda: "DOWN" in bed.slurm.node_state(node))
    bed.slurm.run("scancel", str(job))
