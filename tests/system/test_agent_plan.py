"""What the agent wants for a real queue of mixed jobs, counted by hand; and what it does with its nodes."""

from __future__ import annotations

import json
from contextlib import closing

from agent.ledger.ledger import Ledger
from testbed.registry import BedError
from testbed.up import TestBed
from testbed.waiting import wait_for


def plan(agent) -> dict[str, list[dict[str, object]]]:
    done = agent.ask("plan", "--json")
    told: dict[str, list[dict[str, object]]] = json.loads(done.stdout) if done.returncode == 0 else {}
    return told


def test_a_real_queue_of_mixed_jobs_is_counted_as_by_hand(agent, bed: TestBed) -> None:
    agent.change("max_nodes = 3", "max_nodes = 8")
    agent.start()
    agent.ask("pause")
    submit = bed.slurm.submit
    blocker = submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    expected = {
        submit("sleep 600", "--cpus-per-task=2"): (True, 1),
        submit("sleep 600", "--array=0-9%2", "--cpus-per-task=2"): (True, 2),
        submit("sleep 600", "--cpus-per-task=2", "--hold"): (False, 0),
        submit("sleep 600", f"--dependency=afterok:{blocker}"): (False, 0),
        submit("sleep 600", "--nodelist=n1", "--cpus-per-task=2"): (False, 0),
        submit("sleep 600", "--begin=now+5hours"): (False, 0),
    }
    try:
        expected[submit("sleep 600", "--nodes=2", "--ntasks=2", "--exclusive")] = (True, 2)
    except BedError:
        # It refuses a job over more nodes than there are; the other releases let it wait.
        assert bed.slurm.release.number == (24, 11)

    def counted() -> bool:
        found = {str(j["job"]).partition("_")[0]: (j["counts"], j["machines"]) for j in plan(agent)["jobs"]}
        return found == {str(job): verdict for job, verdict in expected.items()}

    wait_for("the queue is counted as by hand", counted)
    assert json.loads(agent.ask("status", "--json").stdout)["wanted"] == sum(n for _, n in expected.values())
    assert "pause" in agent.ask("plan").stdout
    assert plan(agent)["steps"] == []


def saw(agent) -> dict[str, int]:
    """Return what the agent remembers of each type: its CPUs."""
    with closing(Ledger(agent.ledger)) as ledger:
        return {kind: json.loads(shape)["cpus"] for kind, shape in ledger.machine_types().items()}


TYPES = """
[[demand.types]]
hardware_type = "m510"
cms = ["urn:publicid:IDN+cluster.example.net+authority+cm"]
cpus = 2
features = ["m510"]
max_nodes = 1

[[demand.types]]
hardware_type = "d430"
cms = ["urn:publicid:IDN+east.example.net+authority+cm"]
cpus = 2
features = ["d430"]
"""


def test_a_job_gets_a_machine_of_the_type_that_alone_offers_what_it_asks_for(agent, bed: TestBed) -> None:
    agent.change("node_cpus = 2\n", "")
    agent.change("CPUs=2 Feature=cloudlab", "CPUs=2 Feature={hardware_type}")
    agent.conf.write_text(agent.conf.read_text() + TYPES)
    kind = {m.node_id: m.type for m in bed.cloudlab.machines()}
    # sbatch takes only features that some node has.
    bed.slurm.run("scontrol", "update", "NodeName=n1", "AvailableFeatures=m510,d430")
    try:
        blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
        bed.slurm.wait_for_job(blocker, "RUNNING")
        picky = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--constraint=d430")
        either = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--constraint=m510|d430")
        agent.start()
        for job, expected in ((picky, "d430"), (either, "m510")):
            bed.slurm.wait_for_job(job, "RUNNING")
            assert kind[bed.slurm.job_nodes(job)] == expected
        # The one m510 that is allowed is held: the next one of either kind is a d430.
        another = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--constraint=m510|d430")
        bed.slurm.wait_for_job(another, "RUNNING")
        assert kind[bed.slurm.job_nodes(another)] == "d430"
        wait_for("what came is known of both types", lambda: saw(agent) == {"m510": 2, "d430": 2})
    finally:
        bed.slurm.run("scontrol", "update", "NodeName=n1", "ActiveFeatures=", "AvailableFeatures=")


def test_a_job_gets_a_machine_of_the_type_that_has_the_memory_it_asks_for(agent, bed: TestBed) -> None:
    agent.change("node_cpus = 2\n", "")
    agent.change("CPUs=2 Feature=cloudlab", "CPUs=2 RealMemory=4000")
    types = TYPES.replace('features = ["m510"]', "memory = 1000").replace(
        'features = ["d430"]', "memory = 4000"
    )
    agent.conf.write_text(agent.conf.read_text() + types)
    # sbatch takes only what some node has; this one is never up.
    bed.slurm.run("scontrol", "create", "NodeName=big1", "CPUs=2", "RealMemory=4000", "State=CLOUD")
    try:
        bed.slurm.run("scontrol", "update", "NodeName=big1", "State=DOWN", "Reason=there is none")
        hungry = bed.slurm.submit("sleep 600", "--mem=3000")
        agent.start()
        bed.slurm.wait_for_job(hungry, "RUNNING")
        kinds = {m.node_id: m.type for m in bed.cloudlab.machines()}
        assert kinds[bed.slurm.job_nodes(hungry)] == "d430"
    finally:
        bed.slurm.run("scontrol", "delete", "NodeName=big1")
        # slurmctld 22.05 takes the next node in its place for one that boots, and starts no job there.
        bed.slurm.restart_slurmctld()


def test_jobs_go_to_what_cloudlab_wants_least_also_after_slurm_forgot_the_weights(
    agent, bed: TestBed
) -> None:
    agent.start()
    first, job = agent.borrow()
    other = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    bed.slurm.wait_for_job(other, "RUNNING")
    second = bed.slurm.job_nodes(other)
    bed.cloudlab.value(first, 0.9)
    bed.cloudlab.value(second, 0.1)

    def steered() -> bool:
        return weight(bed, first) > 500 > weight(bed, second)

    wait_for("the weights follow the values", steered)
    for forget in (lambda: bed.slurm.run("scontrol", "reconfigure"), bed.slurm.restart_slurmctld):
        bed.slurm.run("scontrol", "update", f"NodeName={first},{second}", "Weight=1")
        forget()
        wait_for("the weights are right again", steered)
    for each in (job, other):
        bed.slurm.run("scancel", str(each))
    wait_for("both are empty", lambda: not bed.slurm.run("squeue", "-h", "-w", f"{first},{second}"))
    chosen = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    bed.slurm.wait_for_job(chosen, "RUNNING")
    assert bed.slurm.job_nodes(chosen) == second


def weight(bed: TestBed, node: str) -> int:
    return int(bed.slurm.run("sinfo", "-h", "-N", "-n", node, "-o", "%w").split()[0])
