"""Two head nodes: two slurmctld, of which one serves, and an agent beside each, of which one acts."""

from __future__ import annotations

import socket
import time

import pytest

from testbed.slurm import BACKUP_HEAD
from testbed.waiting import wait_for


def acts(agent) -> bool:
    return bool(agent.status().get("slice"))


def saved_since(bed, start: float) -> bool:
    files = [bed.slurm.directory / "state" / name for name in ("node_state", "job_state")]
    return all(file.exists() and file.stat().st_mtime > start for file in files)


@pytest.mark.timeout(900)
def test_when_slurmctld_moves_the_other_agent_finishes_the_drain_before_its_deadline(two_heads) -> None:
    bed, one, two = two_heads
    here = socket.gethostname().partition(".")[0]
    for agent in (one, two):
        agent.change("[slurm]\n", '[slurm]\nact = "primary"\nping_interval = "2s"\n')
        # Cloudlab calls one address, which nothing moves to the other head node here.
        agent.change("[drain]\n", '[drain]\nrelease = "delete"\n')
        agent.change('requeue_lead = "25s"', 'requeue_lead = "60s"')
        agent.start()
    wait_for("the agent beside the primary acts", lambda: acts(one))
    why = f"slurmctld is primary on {here}"
    wait_for("the other one stands by", lambda: two.status().get("standby") == why)
    refused = two.ask("pause")
    assert refused.returncode != 0
    assert f"{why}: ask the agent there" in refused.stderr

    node, job = one.borrow()
    bed.cloudlab.revoke(node, 120)
    reasons = wait_for("the drain", lambda: reason(bed, node))
    # slurmctld saves what changes. It may have saved the job before the drain already, and does so no more.
    changed = time.time()
    bed.slurm.run("scontrol", "update", f"NodeName={node}", "Extra=saved")
    bed.slurm.run("scontrol", "update", f"JobId={job}", "Comment=saved")
    wait_for("slurmctld has saved it", lambda: saved_since(bed, changed))
    bed.slurm.kill_slurmctld()
    wait_for("the other agent acts", lambda: acts(two))
    why = f"slurmctld is primary on {BACKUP_HEAD}"
    wait_for("the first one stands by", lambda: one.status().get("standby") == why)
    wait_for("it says so", lambda: two.told(f"this agent acts: slurmctld is primary on {BACKUP_HEAD}"))
    wait_for("the drain is taken over", lambda: two.told("found as an earlier run left it"))
    assert two.told(reasons)
    given_back = wait_for("it is given back", lambda: bed.cloudlab.journal.held(node)[0].cause)
    # By the agent itself: with its sliver, while no machine is there for the requeued job yet.
    assert given_back in {"DeleteNodes", "DeleteSlice"}
    assert bed.slurm.job_state(job) in {"PENDING", "CONFIGURING", "RUNNING"}, "it was requeued"

    bed.slurm.start_slurmctld()
    wait_for("the first one acts again", lambda: acts(one))
    wait_for("the other one stands by", lambda: two.status().get("standby"))


def reason(bed, node: str) -> str:
    said: str = bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E").strip()
    return said if "revoked by Cloudlab" in said else ""
