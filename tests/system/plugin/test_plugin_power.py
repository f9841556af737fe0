"""Slurm's own power saving decides when machines come and go, and the agent obeys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = "node-[1-3]"


@pytest.fixture
def saving(bed: TestBed, built, tmp_path) -> Iterator[TestBed]:
    """A Slurm with power saving, whose programs are ours."""
    conf = bed.slurm.conf.read_text()
    readme = (built / "README.md").read_text()
    match = re.search(r"```slurm\.conf power saving\n(.*?)```", readme, re.DOTALL)
    assert match is not None
    programs = bed.slurm.directory / "power"
    programs.mkdir()
    for name in ("esagent-resume", "esagent-suspend", "esagent-resume-fail"):
        (programs / f"{name}-real").mkdir()
        real = programs / f"{name}-real" / name
        real.hardlink_to(built / "build/esagent-poke")
        wrapper = programs / name
        wrapper.write_text(f'#!/bin/sh\nESAGENT_SOCKET={tmp_path}/admin.sock exec {real} "$@"\n')
        wrapper.chmod(0o755)
    text = match[1].replace("/usr/local/libexec/esagent", str(programs))
    text = text.replace("SuspendTime=600", "SuspendTime=5").replace("SuspendTimeout=120", "SuspendTimeout=3")
    text = text.replace("SuspendExcNodes=owned[1-100]", "SuspendExcNodes=n1")
    text = text.replace("node-[1-50] CPUs=16", f"{NODES} NodeAddr=127.0.0.1 CPUs=2")
    assert f"NodeName={NODES}" in text
    bed.slurm.conf.write_text(conf + text)
    bed.slurm.restart_slurmctld()
    yield bed
    bed.slurm.conf.write_text(conf)
    bed.slurm.restart_slurmctld()
    for path in programs.rglob("*/*"):
        path.unlink()
    for name in ("esagent-resume", "esagent-suspend", "esagent-resume-fail"):
        (programs / name).unlink()
        (programs / f"{name}-real").rmdir()
    programs.rmdir()


@pytest.fixture
def obedient(agent, saving: TestBed):
    """An agent that leaves growth to Slurm."""
    agent.change('slurmd -Z -N {node_name} --conf \\"CPUs=2 Feature=cloudlab\\"', "slurmd -b -N {node_name}")
    agent.change(
        "[join]\n",
        f'[join]\nmode = "cloud"\nnode_name = "client_id"\npower_nodes = "{NODES}"\npower_retry = "1s"\n',
    )
    # Only what Slurm's programs say makes it look.
    agent.change("get_system_state = 1\n", "get_system_state = 5\n")
    agent.start()
    return agent


def is_asleep(bed: TestBed, name: str) -> bool:
    state = bed.slurm.node_state(name)
    return state >= {"IDLE", "POWERED_DOWN"} and "DRAIN" not in state


def wait_until_given_back(agent, bed: TestBed, job: int) -> None:
    """End a job, and wait until Slurm has let its machine go and the agent has given it back."""
    bed.slurm.run("scancel", str(job))
    wait_for("it is given back", lambda: agent.said("gave back"), timeout=90)


def test_machines_come_and_go_as_slurm_says(obedient, saving: TestBed) -> None:
    bed = saving
    assert all(is_asleep(bed, f"node-{n}") for n in (1, 2, 3))
    job = bed.slurm.submit("sleep 600", "--nodelist=node-2")
    bed.slurm.wait_for_job(job, "RUNNING", timeout=60)
    assert [m.client_id for m in bed.cloudlab.machines() if m.slice_urn] == ["node-2"]
    wait_until_given_back(obedient, bed, job)
    wait_for("Slurm may wake it again", lambda: is_asleep(bed, "node-2"), timeout=60)


def test_slurm_is_told_at_once_that_no_machine_comes(obedient, saving: TestBed) -> None:
    bed = saving
    assert obedient.ask("pause").returncode == 0
    job = bed.slurm.submit("sleep 600", "--nodelist=node-1")
    obedient.wait_for_log("Slurm was told that no machine comes: pause", timeout=60)
    bed.slurm.wait_for_job(job, "PENDING")
    obedient.wait_for_log("Slurm may ask for it again", timeout=60)
    assert obedient.ask("unpause").returncode == 0
    bed.slurm.wait_for_job(job, "RUNNING", timeout=120)
    wait_until_given_back(obedient, bed, job)
