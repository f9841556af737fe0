"""The dead-man switch of a borrowed machine, run by a real slurmd as its HealthCheckProgram."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from testbed.waiting import wait_for

Write = Callable[[str], None]
REASON = "esagent: silent for too long"


@pytest.fixture
def write(plugged) -> Iterator[Write]:
    """Write n1's file; afterwards n1 is as it was."""
    run = plugged.bed.machines.run

    def put(text: str) -> None:
        assert run("n1", f"mkdir -p /run/esagent; printf '{text}' > /run/esagent/lease", 10) == 0

    yield put
    run("n1", "rm -f /run/esagent/lease", 10)
    plugged.bed.slurm.run("scontrol", "update", "NodeName=n1", "State=UNDRAIN")
    wait_for("n1 serves again", lambda: "DRAIN" not in plugged.bed.slurm.node_state("n1"))


def reason(plugged) -> str:
    return str(plugged.bed.slurm.run("sinfo", "-h", "-n", "n1", "-o", "%E"))


def test_a_machine_whose_agent_is_silent_takes_no_new_jobs_and_keeps_the_old(plugged, write: Write) -> None:
    slurm = plugged.bed.slurm
    job = slurm.submit("sleep 600", "--nodelist=n1")
    slurm.wait_for_job(job, "RUNNING")
    write("written 1000\\norphan_after 60\\n")
    slurm.wait_for_node("n1", "DRAIN")
    assert REASON in reason(plugged)
    assert slurm.job_state(job) == "RUNNING"
    slurm.run("scancel", str(job))
    slurm.wait_until_idle()


@pytest.mark.parametrize(
    "text",
    [
        f"written {int(time.time())}\\norphan_after 3600\\n",
        "written 1000\\n",
        "orphan_after 1\\n",
        "written x\\norphan_after 1; reboot\\n",
        "written 1000 1000\\norphan_after -5\\n",
        "\\n\\n \\n",
    ],
    ids=["speaks", "no limit", "no time", "hostile", "two times", "nothing"],
)
def test_a_machine_whose_agent_speaks_or_asks_for_nothing_is_left_alone(
    plugged, write: Write, text: str
) -> None:
    write(text)
    program = f"SLURM_CONF={plugged.bed.slurm.conf} SLURMD_NODENAME=n1 {plugged.bin}/esagent-orphan"
    assert plugged.bed.machines.run("n1", program, 20) == 0
    assert "DRAIN" not in plugged.bed.slurm.node_state("n1")


def test_the_words_of_an_administrator_stay(plugged, write: Write) -> None:
    plugged.bed.slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=a new disk")
    write("written 1000\\norphan_after 60\\n")
    program = f"SLURM_CONF={plugged.bed.slurm.conf} SLURMD_NODENAME=n1 {plugged.bin}/esagent-orphan"
    assert plugged.bed.machines.run("n1", program, 20) == 0
    assert "a new disk" in reason(plugged)
