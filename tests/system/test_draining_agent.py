"""The whole agent under a revocation: a hanging Slurm, a release of its own, early taking, administrators."""

from __future__ import annotations

import json
import signal
import ssl
import xmlrpc.client

from testbed.up import TestBed
from testbed.waiting import wait_for


def cloudlab(bed: TestBed) -> xmlrpc.client.ServerProxy:
    """Speak to the agent as a CM does."""
    pki = bed.directory / "pki"
    context = ssl.create_default_context(cafile=str(bed.bedfile.callback.ca))
    context.load_cert_chain(pki / "cm-cluster.example.net.pem", pki / "cm-cluster.example.net.key")
    assert bed.bedfile.callback_url is not None
    return xmlrpc.client.ServerProxy(bed.bedfile.callback_url, context=context)


def notice(agent, node: str, wait: float) -> dict[str, object]:
    client_id = agent.nodes()[node]["client_id"]
    return {"nodelist": [{"node_id": node, "client_id": client_id, "max_wait_time": wait}]}


def reason(bed: TestBed, node: str) -> str:
    return bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")


def drains(agent) -> list[dict]:
    done = agent.ask("drains", "--json")
    return json.loads(done.stdout)["drains"] if done.returncode == 0 else []


def test_the_reply_to_cloudlab_comes_from_memory_while_slurm_hangs_and_the_drain_follows(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    words = notice(agent, node, 300)
    bed.slurm.hang_slurmctld()
    with cloudlab(bed) as cm:
        # Slurm's commands would not answer within the time limit of a call.
        assert cm.NotifyDeletePending(words) == {"code": 0, "value": 0, "output": ""}
    bed.slurm.resume_slurmctld()
    wait_for("the drain", lambda: "revoked by Cloudlab" in reason(bed, node))
    (drain,) = [d for d in drains(agent) if d["node"] == node]
    assert drain["cause"] == "revoked"
    wait_for("its job is known", lambda: drains(agent)[0]["jobs"])
    (held,) = drains(agent)[0]["jobs"]
    assert (held["job"], held["fate"]) == (str(job), "is requeued")


def test_with_release_delete_a_machine_is_back_seconds_after_its_last_job(agent, bed: TestBed) -> None:
    agent.change("[drain]\n", '[drain]\nrelease = "delete"\n')
    agent.start()
    node, job = agent.borrow("sleep 600", "--cpus-per-task=2", "--time=30")
    with cloudlab(bed) as cm:  # behind the back of the simulated CM, which would take it by itself
        cm.NotifyDeletePending(notice(agent, node, 3000))
    wait_for("the drain", lambda: "revoked by Cloudlab" in reason(bed, node))
    assert bed.slurm.job_state(job) == "RUNNING"
    bed.slurm.run("scancel", str(job))
    agent.ask("poke")
    wait_for("it is given back", lambda: node not in held(bed))


def test_a_machine_that_is_empty_after_the_last_notice_is_given_back_before_its_deadline(
    agent, bed: TestBed
) -> None:
    agent.change('notice_interval = "2s"', 'notice_interval = "10m"')
    agent.start()
    node, job = agent.borrow("sleep 600", "--cpus-per-task=2", "--time=30")
    with cloudlab(bed) as cm:  # once, where the simulated CM would go on asking
        cm.NotifyDeletePending(notice(agent, node, 800))
    wait_for("the drain", lambda: "revoked by Cloudlab" in reason(bed, node))
    bed.slurm.run("scancel", str(job))
    wait_for("it is given back", lambda: node not in held(bed))


def held(bed: TestBed) -> list[str]:
    return [m.node_id for m in bed.cloudlab.machines() if m.slice_urn]


def test_a_machine_that_is_taken_early_leaves_no_job_hanging_and_gets_no_new_one(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.cloudlab.revoke(node, 300)
    wait_for("the drain", lambda: "revoked by Cloudlab" in reason(bed, node))
    bed.cloudlab.revoke(node, 0)
    bed.slurm.wait_for_job(job, "PENDING")
    agent.wait_for_log("Slurm was told|requeued")
    wait_for("its record is gone", lambda: not bed.slurm.node_state(node))


def test_how_long_jobs_run_is_learnt_from_those_that_the_agent_saw_end(agent, bed: TestBed) -> None:
    agent.change("[drain]\n", '[drain]\nforesight = "history"\n')
    agent.start()
    usual = ("--time=30", "--job-name=usual")
    # Two on n1, and two on a machine that is borrowed for them.
    jobs = [bed.slurm.submit("sleep 20", "--cpus-per-task=1", *usual) for _ in range(4)]
    for job in jobs:
        bed.slurm.wait_for_job(job, "COMPLETED")
    job = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--exclude=n1", *usual)
    bed.slurm.wait_for_job(job, "RUNNING")
    bed.cloudlab.revoke(bed.slurm.job_nodes(job), 300)
    wait_for("its job is known", lambda: [d for d in drains(agent) if d["jobs"]])
    ((held,),) = [d["jobs"] for d in drains(agent)]
    assert "from 4 earlier jobs of the same user and name; starting over now loses" in held["expected"]
    assert bed.slurm.job_state(job) == "RUNNING"


def test_an_administrator_takes_a_drain_over_and_has_the_machine_given_back_across_a_kill(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=mine")
    wait_for("it is seen", lambda: agent.nodes()[node]["state"] == "draining")
    assert "already drained: mine" in agent.ask("drain", node).stderr
    asked = agent.ask("drain", node, "--force", "--release", "--deadline", "10m", "--reason", "old")
    assert asked.stdout == f"draining: {node}\n"
    wait_for("our reason", lambda: "to be given back" in reason(bed, node))
    agent.stop(signal.SIGKILL)
    agent.start()
    wait_for("it is known", lambda: [d for d in drains(agent) if d["jobs"]])
    bed.slurm.run("scancel", str(job))
    wait_for("it is given back", lambda: node not in held(bed))
