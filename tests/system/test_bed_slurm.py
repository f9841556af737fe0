"""The test bed's Slurm: real daemons in a private place, one permanent node, and whatever joins."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.slurm import PERMANENT_NODE
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

NAME = "pc901"
JOIN = 'slurmd -Z --conf "CPUs=2 RealMemory=1000 Feature=cloudlab"'


@pytest.fixture
def joined(bed: TestBed) -> Iterator[str]:
    """A machine that joined Slurm over SSH as the agent's join commands do it; gone after the test."""
    bed.machines.power_on(NAME, bed.boot(NAME))
    done = bed.ssh(NAME, f"export SLURM_CONF={bed.slurm.conf}; {JOIN}")
    assert done.returncode == 0, done.stderr
    bed.slurm.wait_for_node(NAME, "IDLE")
    yield NAME
    bed.slurm.run("scancel", "--full", "--user=root")
    if not bed.machines.machine(NAME).is_on():
        # Slurm would wait for half a minute for news of the jobs on it.
        bed.slurm.run("scontrol", "update", f"NodeName={NAME}", "State=DOWN", "Reason=off")
    bed.slurm.wait_until_idle()
    bed.machines.power_off(NAME)
    bed.slurm.run("scontrol", "delete", f"NodeName={NAME}")


def output(bed: TestBed, job: int) -> str:
    return (bed.slurm.directory / f"job-{job}.out").read_text()


def test_a_job_runs_on_the_permanent_node(bed: TestBed) -> None:
    job = bed.slurm.submit("hostname")
    bed.slurm.wait_for_job(job, "COMPLETED")
    assert (bed.slurm.job_nodes(job), output(bed, job)) == (PERMANENT_NODE, f"{PERMANENT_NODE}\n")


def test_a_machine_that_joins_over_ssh_runs_jobs(bed: TestBed, joined: str) -> None:
    assert bed.slurm.node_state(joined) == {"IDLE", "DYNAMIC_NORM"}
    job = bed.slurm.submit("hostname", "--constraint=cloudlab")
    bed.slurm.wait_for_job(job, "COMPLETED")
    assert output(bed, job) == f"{joined}\n"


def test_a_job_over_several_nodes_runs(bed: TestBed, joined: str) -> None:
    assert sorted(bed.slurm.run("srun", "--nodes=2", "hostname").split()) == sorted([PERMANENT_NODE, joined])


def test_the_permanent_node_is_used_before_the_others(bed: TestBed, joined: str) -> None:
    bed.slurm.run("scontrol", "update", f"NodeName={joined}", "Weight=1")
    first = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    bed.slurm.wait_for_job(first, "RUNNING")
    second = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    bed.slurm.wait_for_job(second, "RUNNING")
    assert [bed.slurm.job_nodes(job) for job in (first, second)] == [PERMANENT_NODE, joined]


def test_slurm_notices_when_a_machine_is_gone(bed: TestBed, joined: str) -> None:
    bed.machines.power_off(joined)
    # A job that is sent there makes Slurm look at once, instead of at its next round.
    job = bed.slurm.submit("hostname", f"--nodelist={joined}")
    bed.slurm.wait_for_node(joined, "NOT_RESPONDING")
    bed.slurm.run("scancel", str(job))


def test_jobs_and_nodes_outlive_a_restart_of_slurmctld(bed: TestBed, joined: str) -> None:
    job = bed.slurm.submit("sleep 600", f"--nodelist={joined}")
    bed.slurm.wait_for_job(job, "RUNNING")
    bed.slurm.restart_slurmctld()
    assert bed.slurm.job_state(job) == "RUNNING"
    assert set(bed.slurm.wait_for_node(joined, "MIXED")) == {"MIXED", "DYNAMIC_NORM"}
    bed.slurm.wait_for_node(PERMANENT_NODE, "IDLE")


def test_a_slurmctld_made_to_hang_answers_nobody_until_it_is_resumed(bed: TestBed) -> None:
    bed.slurm.hang_slurmctld()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            bed.slurm.run("squeue", timeout=1)
    finally:
        bed.slurm.resume_slurmctld()
    assert bed.slurm.run("squeue", "--noheader") == ""


def ask_rest(bed: TestBed, path: str) -> tuple[str, dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(bed.slurm.rest_socket))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    # 22.05 may send a NUL after the text.
    return head.decode().splitlines()[0], json.JSONDecoder().raw_decode(body.decode())[0]


def test_slurmrestd_answers_root_on_its_socket(bed: TestBed) -> None:
    _, api = ask_rest(bed, "/openapi/v3")
    newest = max(path for path in api["paths"] if re.fullmatch(r"/slurm/v[\d.]+/ping/?", path))
    status, answer = ask_rest(bed, newest)
    assert status.startswith("HTTP/1.1 200")
    (ping,) = answer["pings"]
    assert ping.get("responding") or "UP" in ping.values()


def test_no_slurm_of_the_test_bed_is_found_without_its_environment(bed: TestBed) -> None:
    assert "SLURM_CONF" not in os.environ
    plain = subprocess.run(
        ["scontrol", "show", "config"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"PATH": os.environ["PATH"]},
    )
    assert str(bed.slurm.directory) not in plain.stdout


def test_nothing_of_slurm_reaches_the_cgroups_of_the_host(bed: TestBed, joined: str) -> None:
    bed.slurm.run("srun", f"--nodelist={joined}", "true")
    seen = bed.ssh(joined, "find /sys/fs/cgroup -mindepth 1")
    assert (seen.returncode, seen.stdout) == (0, "")


def test_a_drained_node_takes_no_jobs(bed: TestBed, joined: str) -> None:
    bed.slurm.run("scontrol", "update", f"NodeName={joined}", "State=DRAIN", "Reason=test")
    job = bed.slurm.submit("hostname", f"--nodelist={joined}")
    wait_for("its reason", lambda: "ReqNodeNotAvail" in bed.slurm.run("squeue", "-h", "-o", "%r"))
    bed.slurm.run("scontrol", "update", f"NodeName={joined}", "State=UNDRAIN")
    bed.slurm.wait_for_job(job, "COMPLETED")
