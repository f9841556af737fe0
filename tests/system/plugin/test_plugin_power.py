"""Slurm's own power saving decides when machines come and go, and the agent obeys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = "node-[1-2],big-1"
TYPES = """\
[[demand.types]]
hardware_type = "d430"
cpus = 2
features = ["big"]

[[demand.types]]
hardware_type = "m510"
cpus = 2

"""


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
    for stated, here in {"es-[1-50] CPUs=16": "node-[1-2]", "big-[1-4] CPUs=32": "big-1"}.items():
        assert stated in text
        text = text.replace(stated, f"{here} NodeAddr=127.0.0.1 CPUs=2")
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
def willing(agent, saving: TestBed):
    """An agent that leaves growth to Slurm, and is not started yet."""
    agent.change('slurmd -Z -N {node_name} --conf \\"CPUs=2 Feature=cloudlab\\"', "slurmd -b -N {node_name}")
    agent.change(
        "[join]\n",
        f'[join]\nmode = "cloud"\nnode_name = "client_id"\npower_nodes = "{NODES}"\npower_retry = "1s"\n',
    )
    agent.change("node_cpus = 2\n", "")
    agent.change("[drain]\n", f"{TYPES}[drain]\n")
    # Only what Slurm's programs say makes it look.
    agent.change("get_system_state = 1\n", "get_system_state = 5\n")
    return agent


@pytest.fixture
def obedient(willing):
    """An agent that leaves growth to Slurm."""
    willing.start()
    return willing


def is_asleep(bed: TestBed, name: str) -> bool:
    state = bed.slurm.node_state(name)
    return state >= {"IDLE", "POWERED_DOWN"} and "DRAIN" not in state


def test_machines_come_and_go_as_slurm_says_each_of_the_type_of_its_node(obedient, saving: TestBed) -> None:
    bed = saving
    names = ("node-2", "big-1")
    assert all(is_asleep(bed, name) for name in ("node-1", *names))
    jobs = {name: bed.slurm.submit("sleep 600", f"--nodelist={name}") for name in names}
    for job in jobs.values():
        bed.slurm.wait_for_job(job, "RUNNING")
    held = {m.client_id: m.type for m in bed.cloudlab.machines() if m.slice_urn}
    assert held == {"node-2": "m510", "big-1": "d430"}
    for job in jobs.values():
        bed.slurm.run("scancel", str(job))
    for name in names:
        wait_for(f"Slurm may wake {name} again", lambda n=name: is_asleep(bed, n))
    assert not [m for m in bed.cloudlab.machines() if m.slice_urn]


def test_power_saving_as_the_readme_has_it_is_found_fine(willing) -> None:
    told = json.loads(willing.ask("check", "--json", "--config", str(willing.conf)).stdout)
    grades = {f["subject"]: f["grade"] for f in told["findings"]}
    assert grades["[join] power_nodes"] == "ok"
    assert not grades.keys() & {"ResumeProgram", "SuspendProgram", "predeclared nodes"}


def test_slurm_is_told_at_once_that_no_machine_comes(obedient, saving: TestBed) -> None:
    assert obedient.ask("pause").returncode == 0
    job = saving.slurm.submit("sleep 600", "--nodelist=node-1")
    obedient.wait_for_log("Slurm was told that no machine comes: pause")
    saving.slurm.wait_for_job(job, "PENDING")


def test_slurm_is_told_at_once_of_a_boot_that_fails_and_of_one_that_never_ends(
    willing, saving: TestBed
) -> None:
    slurm = saving.slurm
    willing.change("[cycle]\n", '[cycle]\nboot_timeout = "15s"\n')
    willing.change('type_backoff = "20s"', 'type_backoff = "1s"')
    willing.start()
    saving.cloudlab.fault("*", "boot-fails")
    saving.cloudlab.fault("*", "boot-never-ends")
    job = slurm.submit("sleep 600", "--nodelist=node-1")
    told = "Slurm was told that no machine comes: its machine failed"
    # ResumeTimeout is half an hour.
    willing.wait_for_log(f"TBFAILED(?s:.*){told}")
    slurm.wait_for_job(job, "PENDING")
    willing.wait_for_log(f"not ready after 15s(?s:.*){told}")
    slurm.wait_for_job(job, "RUNNING")
