"""Three sites whose machines have the same node_ids, an agent that borrows from all of them, and its jobs."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator

import pytest

from testbed import release
from testbed.cloudlab import RACKS
from testbed.cloudlab.journal import Call, Held
from testbed.cloudlab.simulator import MachineInfo
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

FAST = {
    "[request]\n": "[request]\npercent_available_minimum = 0\n",
    'idle_timeout = "25s"\nmin_hold = "25s"': 'idle_timeout = "2s"\nmin_hold = "3s"',
    'retry_for = "10s"': 'retry_for = "2s"\nconnect_timeout = "2s"\nread_timeout = "3s"',
    "update_sliver_status = 2": "update_sliver_status = 1",
    "update_available = 10": "update_available = 2",
    "add_nodes = 2": "add_nodes = 1",
    "delete_nodes = 2": "delete_nodes = 1",
}
_slices = itertools.count(1)


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """A running test bed of the sites ``RACKS``."""
    directory = tmp_path_factory.mktemp("racks")
    with (
        TestBed(directory, speed=300, sites=RACKS, slurm=release.wanted()) as bed,
        pytest.MonkeyPatch.context() as patch,
    ):
        if bed.slurm.bin_dir is not None:
            patch.setenv("PATH", str(bed.slurm.bin_dir), prepend=os.pathsep)
        yield bed


@pytest.fixture
def agent(agent):
    """An agent with a slice of its own, which borrows from the sites in their order; not started yet."""
    for old, new in FAST.items():
        agent.change(old, new)
    agent.change('slice = "elastic"', f'slice = "racks-{next(_slices)}"')
    return agent


class Racks:
    """The sites, and what the agent under test has of them."""

    def __init__(self, agent) -> None:
        self.agent = agent
        self.bed: TestBed = agent.bed
        self._began = time.time()
        self._is_full = False
        self._ends = agent.conf.parent / "ends"
        self._ends.mkdir()

    # --- agent.conf

    def drop(self, cm_urn: str) -> None:
        """Take a CM out of agent.conf."""
        text = self.agent.conf.read_text()
        section = re.search(rf'\[\[cloudlab\.cms\]\]\nurn = "{re.escape(cm_urn)}"\nurl = .*\n\n?', text)
        assert section is not None, f"{cm_urn} is not in agent.conf"
        self.agent.conf.write_text(text.replace(section[0], ""))

    # --- jobs

    def submit(self, count: int = 1) -> list[int]:
        """Fill the permanent node, and submit jobs that need a machine each and go on until ``end``."""
        slurm = self.bed.slurm
        if not self._is_full:
            self._is_full = True
            blocker = slurm.submit("sleep 3600", "--cpus-per-task=2", "--nodelist=n1")
            slurm.wait_for_job(blocker, "RUNNING")
        script = f"while [ ! -e {self._ends}/$SLURM_JOB_ID ]; do sleep 0.2; done"
        return [slurm.submit(script, "--cpus-per-task=2", "--time=60") for _ in range(count)]

    def run(self, count: int = 1) -> list[int]:
        """The same, and wait until they run."""
        jobs = self.submit(count)
        for job in jobs:
            self.bed.slurm.wait_for_job(job, "RUNNING")
        return jobs

    def end(self, *jobs: int) -> None:
        """Let jobs end by themselves; they have run once, from their start to now."""
        for job in jobs:
            (self._ends / str(job)).touch()
        for job in jobs:
            self.bed.slurm.wait_for_job(job, "COMPLETED")
            assert "Restarts=0" in self.bed.slurm.run("scontrol", "-o", "show", "job", str(job))

    def goes_on(self, job: int) -> bool:
        """Tell whether a job runs, and has never been begun anew."""
        shown = self.bed.slurm.run("scontrol", "-o", "show", "job", str(job))
        return "JobState=RUNNING" in shown and "Restarts=0" in shown

    # --- machines

    def held(self, domain: str = "") -> list[str]:
        """List the machines that are lent, of all sites or of one."""
        return sorted(m.name for m in self.bed.cloudlab.machines() if m.slice_urn and domain in m.cm)

    def machine_of(self, job: int) -> MachineInfo:
        """Find the machine that a job runs on, by its address in Slurm."""
        node = self.bed.slurm.job_nodes(job)
        address = re.search(r"NodeAddr=(\S+)", self.bed.slurm.run("scontrol", "-o", "show", "node", node))
        assert address is not None
        (found,) = (m for m in self.bed.cloudlab.machines() if m.address == address[1])
        return found

    def slurmd(self, machine: MachineInfo) -> str:
        """Tell the process of a machine's slurmd: another one after a restart of it."""
        out = self.bed.machines.machine(machine.name).log.parent / f"{machine.name}.slurmd"
        self.bed.machines.run(machine.name, f"pgrep -o -x slurmd > {out}", timeout=PATIENCE)
        return out.read_text()

    # --- what was asked at Cloudlab

    def calls(self, method: str, cm_urn: str | None = None) -> list[Call]:
        """List the calls of this test."""
        every = self.bed.cloudlab.journal.calls(method, authority=cm_urn)
        return [call for call in every if call.time >= self._began]

    def loans(self, cm_urn: str | None = None) -> list[Held]:
        """List the loans of this test: those that are over, and those that last."""
        every = self.bed.cloudlab.journal.held(authority=cm_urn)
        return [loan for loan in every if loan.start >= self._began]

    def look_on(self, cm_urn: str | None = None) -> None:
        """Give the agent every chance to do something wrong: it reads the manifests of a CM a few times."""
        before = len(self.calls("Resolve", cm_urn))
        wait_for("a few looks", lambda: len(self.calls("Resolve", cm_urn)) >= before + 8)


@pytest.fixture
def racks(agent) -> Racks:
    """The sites, as the agent under test meets them."""
    return Racks(agent)
