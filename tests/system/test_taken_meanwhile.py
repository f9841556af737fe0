"""Machines that Cloudlab takes while no agent runs: the next one tells Slurm, and their jobs are free."""

from __future__ import annotations

import signal

import pytest

from agent.cluster.desk import Desk
from agent.cluster.join.records import Records
from agent.cluster.moment import Moment
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.ports import SystemClock
from agent.core.slice.facts import SliceFacts
from agent.ledger.ledger import Ledger
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
from testbed.emptying import add_nodes
from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("patient_slurm")


def held(bed: TestBed) -> list[str]:
    return [machine.node_id for machine in bed.cloudlab.machines() if machine.slice_urn]


def lose_the_ledger(agent) -> None:
    for part in agent.ledger.parent.glob("ledger.db*"):
        part.unlink()


@pytest.mark.parametrize("by", ["ledger", "reason"])
def test_a_machine_that_went_meanwhile_is_told_to_slurm_with_its_jobs(agent, bed: TestBed, by: str) -> None:
    agent.start()
    node, job = agent.borrow()
    if by == "reason":
        bed.cloudlab.revoke(node, 300)
        wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    agent.stop(signal.SIGKILL)
    bed.cloudlab.revoke(node, 0)
    wait_for("it is taken", lambda: node not in held(bed))
    if by == "reason":
        lose_the_ledger(agent)
    agent.start()
    wait_for("its record is gone", lambda: not bed.slurm.node_state(node))
    assert bed.slurm.job_state(job) == "PENDING"
    assert agent.told(f"job {job} lost its machine")


def test_a_record_that_a_crashed_slurmctld_brings_back_goes_again(bed: TestBed) -> None:
    """Slurm 22.05 brings it back, idle: it sends jobs there."""
    clock, name = SystemClock(), "pc920"
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf, bin_dir=bed.slurm.bin_dir), clock)
    settings = ClusterSettings(DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings())
    records = Records(Desk(settings, clock, Ledger(":memory:")), backend)

    def look() -> None:
        facts = SliceFacts(all_read=True)
        records.find(Moment(clock.now(), settings, facts, snapshot=backend.snapshot()))
        records.step(ours=())

    add_nodes(bed.machines, bed.slurm, [name])
    bed.slurm.run("scontrol", "update", f"NodeName={name}", "Comment=looked at by ada")
    saved = bed.slurm.directory / "state/node_state"
    wait_for("its state is saved", lambda: saved.exists() and b"looked at by ada" in saved.read_bytes())
    bed.machines.power_off(name)
    records.lose(name, name)
    look()
    bed.slurm.kill_slurmctld()
    bed.slurm.start_slurmctld()
    is_back = bool(bed.slurm.node_state(name))
    assert is_back or bed.slurm.release.number > (22, 5), "where it does not come back nothing is tested"
    look()
    assert not bed.slurm.node_state(name)
    bed.slurm.wait_until_usable()
