"""The SA, slurmctld or the ledger's disk hangs, on real parts: what does not need it goes on meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from testbed.up import TestBed
from testbed.waiting import wait_for
from tests.system.conftest import held

HOUR = 3600.0


def test_an_sa_that_hangs_keeps_no_job_waiting(agent, bed: TestBed) -> None:
    agent.start()
    first, _ = agent.borrow()
    bed.cloudlab.fault("*", "slow", times=1000, at="sa", seconds=HOUR)
    journal = bed.cloudlab.journal
    asked = len(journal.calls("GetCredential"))
    wait_for("the SA is asked", lambda: len(journal.calls("GetCredential")) > asked)
    job = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(job, "RUNNING")
    assert bed.slurm.job_nodes(job) != first
    assert not agent.said("ensure_slice failed"), "the SA still hangs"


def test_a_slurmctld_that_hangs_keeps_neither_cloudlab_nor_people_from_an_answer(agent, bed: TestBed) -> None:
    agent.start()
    name, _ = agent.borrow()
    bed.slurm.hang_slurmctld()
    agent.let_it_look_again()
    bed.cloudlab.revoke(held(bed), 600)
    wait_for("the notice is known", lambda: agent.told("Cloudlab takes it"))
    agent.let_it_look_again()
    assert name in agent.nodes()
    assert float(agent.figure("esagent_nodes_wanted")) >= 0


def test_a_ledger_that_cannot_be_written_holds_up_no_revocation(agent, bed: TestBed) -> None:
    agent.start()
    name, job = agent.borrow("sleep 600", "--cpus-per-task=2", "--time=30", "--requeue")
    with closing(sqlite3.connect(agent.ledger, isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        bed.cloudlab.revoke(held(bed), 600)
        wait_for("its node is drained", lambda: "DRAIN" in bed.slurm.node_state(name))
        assert name in agent.nodes()
        assert agent.status()
        refused = agent.ask("pause")
        assert refused.returncode != 0
        assert "ledger" in refused.stderr
        bed.slurm.run("scancel", str(job))
        wait_for("the machine is released", lambda: not held(bed))
        backup.execute("ROLLBACK")
    wait_for("orders are taken again", lambda: agent.ask("pause").returncode == 0)
