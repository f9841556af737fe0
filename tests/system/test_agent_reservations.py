"""What a real Slurm keeps free for others: the agent promises no job room there, and borrows what helps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from testbed.up import TestBed
from testbed.waiting import wait_for


@contextmanager
def maintenance(bed: TestBed, *, nodes: str, start: str) -> Iterator[None]:
    """A maintenance that lasts two hours."""
    reserve = (
        "scontrol",
        "create",
        "reservation",
        "ReservationName=maint",
        "Users=root",
        "Flags=MAINT,IGNORE_JOBS",
    )
    bed.slurm.run(*reserve, f"StartTime={start}", "Duration=120", f"Nodes={nodes}")
    try:
        yield
    finally:
        bed.slurm.run("scontrol", "delete", "ReservationName=maint")


def wait_for_verdict(agent, job: int, counts: bool, why: str) -> None:
    """Wait until the plan says this of a job."""

    def is_told() -> bool:
        done = agent.ask("plan", "--json")
        jobs = json.loads(done.stdout)["jobs"] if done.returncode == 0 else []
        said = [(each["counts"], each["why"]) for each in jobs if each["job"] == str(job)]
        return any(counted == counts and words.startswith(why) for counted, words in said)

    wait_for(f"the plan says of job {job}: {why}", is_told)


def test_no_machine_is_borrowed_for_a_job_that_runs_into_a_maintenance_of_all_nodes(
    agent, bed: TestBed
) -> None:
    submit, wait = bed.slurm.submit, bed.slurm.wait_for_job
    agent.start()
    with maintenance(bed, nodes="ALL", start="now+60minutes"):
        long, short = submit("sleep 600", "--time=90"), submit("sleep 600", "--time=30")
        wait(short, "RUNNING")
        wait_for_verdict(agent, long, False, "reservation maint begins at ")
    with maintenance(bed, nodes="ALL", start="now"):
        inside = submit("sleep 600", "--time=1")
        wait_for_verdict(agent, inside, False, "reservation maint keeps it off until ")
        assert not any(machine.slice_urn for machine in bed.cloudlab.machines())
        bed.slurm.run("scancel", str(inside))
    wait(long, "RUNNING")


def test_a_job_gets_a_machine_where_the_free_node_is_reserved_before_it_would_end(
    agent, bed: TestBed
) -> None:
    with maintenance(bed, nodes="n1", start="now+60minutes"):
        agent.start()
        job = bed.slurm.submit("sleep 600", "--time=90")
        bed.slurm.wait_for_job(job, "RUNNING")
        assert bed.slurm.job_nodes(job) != "n1"
