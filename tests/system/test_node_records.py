"""The records of nodes whose machines are gone, on a real Slurm."""

from __future__ import annotations

import pytest

from agent.cluster.desk import Desk
from agent.cluster.join.records import Records
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.ports import SystemClock
from agent.ledger.ledger import Ledger
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
from testbed.emptying import add_nodes
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("patient_slurm")


def test_slurmctld_outlives_that_a_machine_goes_while_a_job_of_it_still_completes_elsewhere(
    bed: TestBed,
) -> None:
    """Slurm 22.05 crashes where the record is deleted before the job is off its other node."""
    clock, names = SystemClock(), ("pc930", "pc931")
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf, bin_dir=bed.slurm.bin_dir), clock)
    settings = ClusterSettings(DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings())
    records = Records(Desk(settings, clock, Ledger(":memory:")), backend)
    add_nodes(bed.machines, bed.slurm, names)
    job = bed.slurm.submit("sleep 600", "--nodes=2-2", "--ntasks=2", "--nodelist=pc930,pc931")
    bed.slurm.wait_for_job(job, "RUNNING")
    assert bed.machines.run("pc931", "pkill -STOP -x slurmd", timeout=PATIENCE) == 0
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(names)}", "State=DRAIN", "Reason=test")
    bed.slurm.run("scontrol", "requeue", str(job))
    wait_for("it is off one of them", lambda: bed.slurm.job_nodes(job) == "pc931")
    bed.machines.power_off("pc930")
    records.lose("pc930", "pc930")
    records.step(ours=("pc931",))
    backend.set_down(["pc931"], "test")
    bed.slurm.wait_for_job(job, "PENDING")
    bed.machines.power_off("pc931")
    records.lose("pc931", "pc931")
    bed.slurm.run("scancel", str(job))
    records.step(ours=())
    assert not bed.slurm.nodes().keys() & set(names)
    bed.slurm.wait_until_usable()


def test_a_requeued_job_outlives_a_restart_of_slurmctld_after_its_silent_machine_went(bed: TestBed) -> None:
    """Slurm 22.05 has it complete for ever where the record of that node is gone."""
    clock, name = SystemClock(), "pc932"
    backend = CliBackend(SlurmSettings(conf=bed.slurm.conf, bin_dir=bed.slurm.bin_dir), clock)
    settings = ClusterSettings(DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings())
    records = Records(Desk(settings, clock, Ledger(":memory:")), backend)
    add_nodes(bed.machines, bed.slurm, [name])
    job = bed.slurm.submit("sleep 600", f"--nodelist={name}")
    bed.slurm.wait_for_job(job, "RUNNING")
    assert bed.machines.run(name, "pkill -STOP -x slurmd", timeout=PATIENCE) == 0
    bed.slurm.run("scontrol", "requeue", str(job))
    bed.machines.power_off(name)
    records.lose(name, name)
    records.step(ours=())
    bed.slurm.wait_for_job(job, "PENDING")
    bed.slurm.run("scontrol", "update", f"JobId={job}", "ReqNodeList=")
    records.step(ours=())
    bed.slurm.restart_slurmctld()
    assert bed.slurm.job_state(job) == "PENDING"
    bed.slurm.run("scancel", str(job))
    records.step(ours=())
    wait_for("its record is gone", lambda: not bed.slurm.node_state(name))
    bed.slurm.wait_until_usable()
