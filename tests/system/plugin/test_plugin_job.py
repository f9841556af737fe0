"""What a job on a borrowed machine is told, and the agent that says so."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from testbed.waiting import PATIENCE, wait_for

LEASE = "/run/esagent/lease"


def output_of(plugged, script: str) -> str:
    slurm = plugged.bed.slurm
    job = slurm.submit(script, "--nodelist=n1")
    slurm.wait_for_job(job, "COMPLETED")
    return (slurm.directory / f"job-{job}.out").read_text()


@pytest.fixture
def lent(plugged) -> Iterator[int]:
    """n1 has the file of a borrowed machine; gives the end of its lease."""
    end = int(time.time()) + 7200
    text = f"version 1\\nlease_end {end}\\nnotice 600\\n"
    plugged.bed.machines.run("n1", f"mkdir -p /run/esagent; printf '{text}' > {LEASE}", timeout=PATIENCE)
    yield end
    plugged.bed.machines.run("n1", f"rm {LEASE}", timeout=PATIENCE)


def test_a_job_on_a_borrowed_machine_is_told_and_warned_once(plugged, lent: int) -> None:
    text = output_of(plugged, "env | grep ELASTIC_DEADLINE; srun sh -c 'echo step $SLURM_ELASTIC_DEADLINE'")
    assert f"SLURM_ELASTIC_DEADLINE={lent}\n" in text
    assert f"step {lent}\n" in text
    assert text.count("esagent: this machine is borrowed until") == 1
    assert "with 10 minutes of notice" in text


def test_only_the_first_task_of_an_srun_warns(plugged, lent: int) -> None:
    done = plugged.run("srun", "-n2", "sh", "-c", "echo $SLURM_ELASTIC_DEADLINE")
    assert done.stdout.split() == [str(lent)] * 2
    assert done.stderr.count("borrowed until") == 1


def test_a_job_on_the_sites_own_machine_is_told_nothing(plugged) -> None:
    assert output_of(plugged, "env | grep ELASTIC_DEADLINE || echo nothing") == "nothing\n"


@pytest.mark.usefixtures("lua")
def test_the_agent_tells_slurm_and_its_machines_what_is_borrowed(agent, plugged) -> None:
    bed = plugged.bed
    agent.change(
        "[join]\n",
        f'[plugin]\nfeature = "cloudlab"\nown_feature = "owned"\ntable = "{plugged.table}"\n'
        f'lease = "{LEASE}"\norphan_after = "30m"\n[join]\n',
    )
    agent.change("[demand]\n", '[demand]\nfeatures = ["cloudlab"]\n')
    agent.change('renew_when_left = "9m"', 'renew_when_left = "590s"')
    agent.start()
    wait_for("the table is written", lambda: "feature cloudlab\n" in plugged.table.read_text())
    plugged.reread()
    # No node has the feature yet: slurm.conf makes it known.
    node, job = agent.borrow("env | grep ELASTIC_DEADLINE; sleep 600", "--elastic=only", "--time=5")
    output = bed.slurm.directory / f"job-{job}.out"
    wait_for(
        "the job speaks",
        lambda: output.exists() and "SLURM_ELASTIC_DEADLINE=" in output.read_text(),
    )
    assert "this machine is borrowed until" in output.read_text()

    def lease_end() -> int:
        found = re.search(r"lease_end (\d+)", bed.ssh(node, f"cat {LEASE}").stdout)
        return int(found[1]) if found else 0

    first = lease_end()
    assert "orphan_after 1800" in bed.ssh(node, f"cat {LEASE}").stdout
    wait_for("the machine hears of the renewal", lambda: lease_end() > first)

    # The agent falls silent for longer than it said it would be.
    agent.stop()
    bed.ssh(node, f"sed -i 's/^written .*/written 1000/' {LEASE}")
    bed.slurm.wait_for_node(node, "DRAIN")
    assert bed.slurm.job_state(job) == "RUNNING"
    agent.start()
    wait_for("the drain is lifted", lambda: "DRAIN" not in bed.slurm.node_state(node))
    assert bed.slurm.job_state(job) == "RUNNING"
