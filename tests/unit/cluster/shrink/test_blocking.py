"""Which machine is missed least where one has to go for the lease of the others, and how it goes."""

from datetime import UTC, datetime

from agent.cluster.shrink.blocking import loss_of
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import a_machine, a_moment

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_what_goes_anyhow_goes_first_then_what_has_no_job_and_then_what_has_fewest():
    machines = [a_machine(n) for n in range(1, 6)]
    nodes = [Node("pc1", "ALLOCATED"), Node("pc2", "ALLOCATED"), Node("pc3", "IDLE"), Node("pc4", "IDLE")]
    jobs = [Job("1", "RUNNING", nodes={"pc1"}), Job("2", "RUNNING", nodes={"pc1"})]
    jobs.append(Job("3", "RUNNING", nodes={"pc2"}))
    moment = a_moment(*nodes, machines=machines, jobs=jobs, chosen=frozenset({"pc4"}))
    ordered = sorted(machines, key=lambda machine: loss_of(machine, moment))
    assert [machine.node_id for machine in ordered] == ["pc4", "pc5", "pc3", "pc2", "pc1"]
