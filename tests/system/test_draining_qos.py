"""Policies for jobs of a QOS, and earlier run times, on a Slurm with accounting: a slurmdbd and a MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
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


def test_the_accounts_tell_how_long_jobs_ran_that_ended_by_themselves(slurm: SlurmCluster) -> None:
    name = "two\nlines|x"
    ends = wait_for("the account is known", lambda: submit(slurm, "--job-name", name, script="sleep 1"))
    slurm.wait_for_job(ends, "COMPLETED")
    fails = submit(slurm, "--job-name=fails", script="exit 3")
    slurm.wait_for_job(fails, "FAILED")
    cancelled = submit(slurm, "--job-name=cancelled")
    slurm.wait_for_job(cancelled, "RUNNING")
    slurm.run("scancel", str(cancelled))
    slurm.wait_for_job(cancelled, "CANCELLED")
    commands = CliBackend(SlurmSettings(conf=slurm.conf), SystemClock())
    wait_for("the last of them", lambda: f"{cancelled}|CANCELLED" in accounts(slurm))
    first, second = commands.earlier_runs()
    assert (first.user, first.name, second.name) == ("root", name, "fails")
    assert 1 <= first.seconds < 300


def accounts(slurm: SlurmCluster) -> str:
    return slurm.run("sacct", "-anXP", "-o", "JobID,State", "-S", "now-1hour")


def submit(slurm: SlurmCluster, *options: str, script: str = "sleep 300") -> int:
    """Submit a job; 0 where Slurm does not take it yet."""
    try:
        return slurm.submit(script, "--account=lab", *options)
    except BedError:
        return 0
