"""Policies for jobs of a QOS, on a Slurm with accounting: a slurmdbd and a MariaDB of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from testbed.accounting import missing_programs
from testbed.emptying import Emptying
from testbed.instance import Claim
from testbed.machines import Machines
from testbed.registry import BedError
from testbed.release import find_release, wanted
from testbed.slurm import PERMANENT_NODE, SlurmCluster
from testbed.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
    pytest.mark.skipif(wanted() is not None, reason="slurmdbd is there in this machine's own release alone"),
]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[SlurmCluster]:
    """A Slurm where root may use the QOS urgent."""
    with ExitStack() as parts:
        claim = parts.enter_context(Claim(tmp_path))
        slurmctld, slurmd, slurmdbd, database = claim.free_ports(4)
        release = find_release(None)
        machines = Machines(claim.instance, tmp_path / "machines", release)
        parts.callback(machines.close)
        slurm = SlurmCluster(
            tmp_path / "slurm",
            claim.instance,
            machines,
            (slurmctld, slurmd),
            release,
            accounting=(slurmdbd, database),
        )
        parts.callback(slurm.stop)
        slurm.start()
        wait_for("the cluster in the accounts", lambda: "testbed" in sacctmgr(slurm, "show", "cluster"))
        sacctmgr(slurm, "add", "qos", "urgent")
        sacctmgr(slurm, "add", "account", "lab")
        sacctmgr(slurm, "add", "user", "root", "account=lab", "qos=normal,urgent", "defaultqos=normal")
        yield slurm


def sacctmgr(slurm: SlurmCluster, *arguments: str) -> str:
    return slurm.run("sacctmgr", "--immediate", "--noheader", "--parsable2", *arguments)


def test_jobs_of_a_qos_are_only_to_finish_while_others_are_requeued_at_once(slurm: SlurmCluster) -> None:
    settings = DrainSettings(
        tick=1,
        policies=(DrainPolicy(qos=("urgent",), method="finish"), DrainPolicy(method="requeue-now")),
    )
    urgent = wait_for("the QOS is known", lambda: submit(slurm, "--qos=urgent"))
    other = submit(slurm)
    for job in (urgent, other):
        slurm.wait_for_job(job, "RUNNING")
    with Emptying(slurm.conf, [PERMANENT_NODE], settings) as emptying:
        jobs = {job.id: job.qos for job in emptying.backend.snapshot().jobs}
        assert jobs == {str(urgent): "urgent", str(other): "normal"}
        emptying.revoke([PERMANENT_NODE], 5)
        slurm.wait_for_job(other, "PENDING")
        wait_for("the deadline is past", lambda: emptying.told("warn") == [str(urgent)])
        assert slurm.job_state(urgent) == "RUNNING"
        slurm.run("scancel", str(urgent), str(other))
        emptying.wait_until_left([PERMANENT_NODE])


def submit(slurm: SlurmCluster, *options: str) -> int:
    """Submit a job; 0 where Slurm does not take it yet."""
    try:
        return slurm.submit("sleep 300", "--account=lab", *options)
    except BedError:
        return 0
