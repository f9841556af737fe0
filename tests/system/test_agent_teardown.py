"""Holding growth up, and giving everything back, on a real Slurm with real machines."""

from __future__ import annotations

import getpass
import signal

from testbed.up import TestBed
from testbed.waiting import wait_for

ME = getpass.getuser()


def held(bed: TestBed) -> list[str]:
    return [m.node_id for m in bed.cloudlab.machines() if m.slice_urn]


def paused(agent) -> str:
    return str(agent.status()["paused"])


def test_no_machine_is_asked_for_while_growth_is_paused_not_even_after_a_kill(agent, bed: TestBed) -> None:
    agent.start()
    assert f"growth is paused by {ME} since" in agent.ask("pause").stdout
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    job = bed.slurm.submit("sleep 600", "--cpus-per-task=2")
    agent.stop(signal.SIGKILL)
    agent.start()
    wait_for("it wants a machine", lambda: agent.status().get("wanted") == 1)
    agent.let_it_look_again()
    assert f"growth is paused by {ME}" in paused(agent)
    assert held(bed) == []
    assert agent.ask("unpause").stdout == f"growth is allowed again by {ME}\n"
    bed.slurm.wait_for_job(job, "RUNNING")
    assert paused(agent) == ""
    assert "neither paused nor stopped" in agent.ask("unpause").stderr


def test_a_teardown_requeues_what_runs_at_its_deadline_and_gives_all_back_until_it_is_undone(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    done = agent.ask("teardown", "--yes", "--deadline", "40s")
    assert f"everything is given back by {ME}" in done.stdout, done.stderr
    assert "1 machines are held" in done.stdout
    wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    assert bed.slurm.job_state(job) == "RUNNING", "it may run until shortly before the deadline"
    agent.stop(signal.SIGKILL)
    agent.start()
    bed.slurm.wait_for_job(job, "PENDING")
    wait_for("everything is given back", lambda: not held(bed))
    wait_for("it says so", lambda: agent.told("the teardown is complete: nothing is held"))
    assert agent.told("the delete commands ran")
    assert "everything is given back" in paused(agent)
    wait_for("the record is gone", lambda: node not in bed.slurm.nodes())
    wait_for("the requeued job wants a machine", lambda: agent.status().get("wanted") == 1)
    agent.let_it_look_again()
    assert held(bed) == [], "and none is asked for"
    agent.ask("unpause")
    bed.slurm.wait_for_job(job, "RUNNING")


def test_a_teardown_without_a_deadline_lets_jobs_run_to_their_end(agent, bed: TestBed) -> None:
    agent.start()
    _, job = agent.borrow("sleep 10")
    agent.ask("teardown", "--yes")
    bed.slurm.wait_for_job(job, "COMPLETED")
    wait_for("everything is given back", lambda: not held(bed))


def test_a_teardown_survives_the_loss_of_the_ledger_while_a_machine_is_emptied(agent, bed: TestBed) -> None:
    agent.start()
    node, _ = agent.borrow()
    agent.ask("teardown", "--yes", "--deadline", "40s")
    wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    agent.stop(signal.SIGKILL)
    for part in agent.ledger.parent.glob("ledger.db*"):
        part.unlink()
    agent.start()
    wait_for("everything is given back", lambda: not held(bed))
    assert "everything is given back" in paused(agent)
