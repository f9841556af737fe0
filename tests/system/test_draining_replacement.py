"""The whole agent asks for a machine at the notice, for the job that will have to move."""

from __future__ import annotations

import ssl
import xmlrpc.client

from testbed.up import TestBed
from testbed.waiting import wait_for


def test_a_machine_is_asked_for_at_the_notice_though_as_many_are_held_as_may_be(agent, bed: TestBed) -> None:
    agent.change("max_nodes = 3", "max_nodes = 1")
    agent.start()
    node, job = agent.borrow("sleep 600", "--cpus-per-task=2", "--time=30")

    def others() -> set[str]:
        return bed.slurm.nodes().keys() - {"n1", node}

    asked = len(bed.cloudlab.journal.calls("AddNodes"))
    pki = bed.directory / "pki"
    context = ssl.create_default_context(cafile=str(bed.bedfile.callback.ca))
    context.load_cert_chain(pki / "cm-cluster.example.net.pem", pki / "cm-cluster.example.net.key")
    client_id = agent.nodes()[node]["client_id"]
    revoked = {"node_id": node, "client_id": client_id, "max_wait_time": 900}
    with xmlrpc.client.ServerProxy(bed.bedfile.callback_url, context=context) as cm:
        cm.NotifyDeletePending({"nodelist": [revoked]})
    wait_for("another machine is asked for", lambda: len(bed.cloudlab.journal.calls("AddNodes")) > asked)
    assert bed.slurm.job_state(job) == "RUNNING"
    (why,) = [each["why"] for each in agent.look("/v1/plan")["jobs"] if each["job"] == str(job)]
    assert why.startswith("has to move")
    wait_for("it has joined", lambda: any("IDLE" in bed.slurm.nodes()[n] for n in others()))
    agent.let_it_look_again()
    assert len(bed.cloudlab.journal.calls("AddNodes")) == asked + 1, "one job wants one machine"


def test_a_job_that_no_node_fits_any_more_has_a_machine_borrowed_and_runs_again(agent, bed: TestBed) -> None:
    agent.change("node_cpus = 2", 'node_cpus = 2\nfeatures = ["cloudlab"]')
    agent.start()
    node, first = agent.borrow()
    job = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30", "--constraint=cloudlab")
    bed.slurm.run("scancel", str(first))
    bed.slurm.wait_for_job(job, "RUNNING")
    assert agent.ask("pause").returncode == 0
    bed.cloudlab.revoke(node, 0)
    wait_for("its record is gone", lambda: node not in bed.slurm.nodes())
    # Slurm looks whether a node fits only where one is free.
    for blocker in bed.slurm.run("squeue", "-h", "-w", "n1", "-o", "%A").split():
        bed.slurm.run("scancel", blocker)
    wait_for("no node fits it", lambda: reason(bed, job) == "BadConstraints")
    assert agent.ask("unpause").returncode == 0
    bed.slurm.wait_for_job(job, "RUNNING")
    assert bed.slurm.job_nodes(job) not in {node, "n1"}


def reason(bed: TestBed, job: int) -> str:
    return bed.slurm.run("squeue", "-h", "-j", str(job), "-o", "%r").strip()
