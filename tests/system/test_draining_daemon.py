"""The whole agent under revocations that go wrong: machines that hang, withdrawals, kills, a fence."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

import pytest

from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

LEAVES = "echo left > /var/spool/slurmd/farewell"
HANG = 'for pid in $(pgrep -x sshd); do kill -STOP "$pid"; done'


def borrow_three(agent, bed: TestBed) -> dict[str, int]:
    """Fill n1 and three borrowed machines; return node name -> its job."""
    _, first = agent.borrow()
    jobs = [first, *(bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30") for _ in range(2))]
    for job in jobs:
        bed.slurm.wait_for_job(job, "RUNNING")
    return {bed.slurm.job_nodes(job): job for job in jobs}


def cause(bed: TestBed, node: str) -> str:
    """Tell how Cloudlab got a machine back; "" while it is ours."""
    return bed.cloudlab.journal.held(node)[-1].cause


def state(bed: TestBed, node: str) -> frozenset[str]:
    return bed.slurm.node_state(node)


def test_machines_that_hang_or_never_stop_talking_do_not_delay_the_others_and_are_released(
    agent, bed: TestBed
) -> None:
    agent.change(LEAVES, f"{LEAVES}; test ! -e /var/spool/slurmd/endless || yes")
    agent.start()
    silent, endless, well = borrow_three(agent, bed)
    assert bed.machines.run(endless, "touch /var/spool/slurmd/endless", timeout=PATIENCE) == 0
    assert bed.machines.run(silent, HANG, timeout=PATIENCE) == 0
    # Else their jobs leave one by one, as machines come in their place.
    assert agent.ask("pause").returncode == 0
    bed.cloudlab.revoke([silent, endless, well], 60)
    wait_for("the machine that is well", lambda: cause(bed, well))
    wait_for("all of them", lambda: cause(bed, silent) and cause(bed, endless))
    assert [cause(bed, node) for node in (silent, endless, well)] == ["released"] * 3
    ends = {node: bed.cloudlab.journal.held(node)[-1].end for node in (silent, endless, well)}
    assert ends[well] < min(ends[silent], ends[endless])
    for node in (silent, endless):
        (told,) = [
            e["message"]
            for e in agent.look(f"/v1/events?subject={node}&newest=100")["events"]
            if e["kind"] == "leave"
        ]
        assert "the delete commands failed" in told


def test_a_withdrawn_machine_comes_back_to_service_with_its_weight(agent, bed: TestBed) -> None:
    agent.change('withdrawn_grace = "30s"', 'withdrawn_grace = "5s"')
    agent.change('idle_timeout = "25s"', 'idle_timeout = "1h"')
    agent.start()
    node, job = agent.borrow()
    before = weight(bed, node)
    bed.cloudlab.value(node, 0.25)
    wait_for("a weight of its own", lambda: weight(bed, node) != before)
    own = weight(bed, node)
    bed.cloudlab.revoke(node, 12)
    wait_for("the drain", lambda: "DRAIN" in state(bed, node))
    bed.cloudlab.withdraw(node)
    bed.slurm.wait_for_job(job, "PENDING")
    wait_for("it is at work", lambda: is_at_work(bed, node))
    assert weight(bed, node) == own
    assert not cause(bed, node)
    # Of those that are kept from work; else 24.11 still tells the last reason there was.
    assert bed.slurm.run("sinfo", "-h", "-R", "-n", node, "-o", "%E").strip() == ""


def is_at_work(bed: TestBed, node: str) -> bool:
    return state(bed, node) >= {"IDLE"} and not state(bed, node) & {"DRAIN", "DOWN", "NOT_RESPONDING"}


def weight(bed: TestBed, node: str) -> str:
    return bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%w").strip()


def test_without_any_time_jobs_are_requeued_at_once_and_the_machine_is_given_back(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.cloudlab.revoke(node, 0)
    bed.slurm.wait_for_job(job, "PENDING")
    wait_for("its record is gone", lambda: not state(bed, node))


def test_a_fence_keeps_a_revoked_machine_at_work_for_short_jobs(agent, bed: TestBed) -> None:
    bed.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=60")
    try:
        agent.change("[drain]\n", '[drain]\nfence = true\nfence_min = "60s"\n')
        agent.change('idle_timeout = "25s"', 'idle_timeout = "1h"')
        agent.start()
        node, job = agent.borrow("sleep 600", "--cpus-per-task=1", "--time=3")
        wait_for("a fence for its lease", lambda: fences(bed, node))
        lease = fences(bed, node)
        bed.cloudlab.revoke(node, 280)
        wait_for("the fence moved", lambda: fences(bed, node) not in ([], lease))
        short = bed.slurm.submit("sleep 1", "--time=1", f"--nodelist={node}")
        long = bed.slurm.submit("sleep 1", "--time=30", f"--nodelist={node}")
        bed.slurm.wait_for_job(short, "COMPLETED")
        assert bed.slurm.job_state(long) == "PENDING"
        assert "DRAIN" not in state(bed, node)
        assert agent.ask("pause").returncode == 0  # else the machine comes back for its job, with a new fence
        bed.cloudlab.revoke(node, 45)
        wait_for("the drain", lambda: "DRAIN" in state(bed, node) or cause(bed, node))
        wait_for("it is given back", lambda: cause(bed, node))
        assert bed.slurm.job_state(job) == "PENDING"
        wait_for("its fence is gone", lambda: not fences(bed, node))
    finally:
        bed.slurm.run("scontrol", "update", "PartitionName=main", "MaxTime=UNLIMITED")


def fences(bed: TestBed, node: str) -> list[str]:
    """List the fences of a node, by name."""
    listing = bed.slurm.run("scontrol", "-o", "show", "reservations").splitlines()
    return [x.split()[0] for x in listing if x.startswith("ReservationName=esagent-") and node in x]


LONG = bool(os.environ.get("ESAGENT_LONG_TESTS"))


# urllib3 leaves a socket of the simulator open when the agent at its other end is killed in a handshake.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 7) if LONG else [1])
def test_random_revocations_and_kills_of_the_daemon_lose_no_job(
    agent, bed: TestBed, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    done = tmp_path / "done"
    done.mkdir()
    agent.change('withdrawn_grace = "30s"', 'withdrawn_grace = "5s"')
    agent.start()
    agent.borrow("sleep 3")
    jobs = {}
    for _ in range(12 if LONG else 5):
        keep = chance.random() < 0.25
        options = ["--cpus-per-task=2", *chance.choice([[], ["--time=1"]])]
        script = f"sleep {chance.choice([1, 4, 12, 30] if LONG else [1, 8])}; echo > {done}/$SLURM_JOB_ID"
        jobs[bed.slurm.submit(script, *options, *(["--no-requeue"] if keep else []))] = keep
    for _ in range(8 if LONG else 2):
        machines = wait_for("a machine at work", lambda: working(bed))
        chosen = chance.sample(machines, min(len(machines), chance.choice([1, 2])))
        bed.cloudlab.revoke(chosen, chance.choice([5, 28, 40]))
        if chance.random() < 0.7 or not LONG:
            agent.stop(signal.SIGKILL)
            if chance.random() < 0.5:
                agent.ledger.unlink(missing_ok=True)
            agent.start()
        wait_for("they are gone", lambda names=chosen: all(cause(bed, n) for n in names))
        if len(jobs.keys() & listed(bed)) < len(jobs) // 4:
            break
    bed.slurm.run("scancel", *(str(job) for job in listed(bed) - jobs.keys()))
    wait_for("every job to its end", lambda: not jobs.keys() & listed(bed), timeout=300)
    for job, keep in jobs.items():
        if not (done / str(job)).exists():
            assert keep, f"job {job} may be requeued, and never completed"
            record = bed.slurm.run("scontrol", "-o", "show", "job", str(job))
            assert re.search("JobState=(CANCELLED|NODE_FAIL)", record), record


def listed(bed: TestBed) -> set[int]:
    """List the jobs that are not over."""
    return {int(job) for job in bed.slurm.run("squeue", "-h", "-o", "%A").split()}


def held(bed: TestBed) -> list[str]:
    return [m.node_id for m in bed.cloudlab.machines() if m.slice_urn]


def working(bed: TestBed) -> list[str]:
    """List the borrowed machines that jobs are on."""
    busy = bed.slurm.run("squeue", "-h", "-t", "RUNNING", "-o", "%N").split()
    return [node for node in held(bed) if node in busy]
