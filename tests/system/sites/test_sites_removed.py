"""Sites that leave agent.conf, and teardowns: nothing is held and forgotten, and no job is lost."""

from __future__ import annotations

import signal

import pytest

from testbed.cloudlab import RACKS
from testbed.waiting import wait_for

EAST, WEST, _ = (site.domain for site in RACKS)
AT = {site.domain: site.urn for site in RACKS}


def test_a_site_taken_out_of_agent_conf_is_named_and_given_back_on_demand(racks) -> None:
    agent = racks.agent
    agent.start()
    (job,) = racks.run()
    assert racks.machine_of(job).cm == AT[EAST]
    agent.stop()
    racks.drop(AT[EAST])
    agent.start()
    assert AT[EAST] in agent.ask("status").stdout
    checked = agent.ask("check", "--config", str(agent.conf))
    assert AT[EAST] in checked.stdout
    assert racks.goes_on(job)
    (later,) = racks.run()
    assert racks.machine_of(later).cm == AT[WEST]

    assert agent.ask("teardown", "--yes", "--cm", AT[EAST]).returncode == 0
    racks.end(job)
    wait_for("it is given back", lambda: not racks.held(EAST))
    assert racks.goes_on(later)
    wait_for("nothing is named any more", lambda: AT[EAST] not in agent.ask("status").stdout)
    racks.end(later)


def test_what_was_asked_of_a_site_that_is_taken_out_does_not_hold_growth_up(racks) -> None:
    agent = racks.agent
    agent.change("max_nodes = 3", "max_nodes = 1")
    agent.change("[cycle]\n", '[cycle]\nlost_call_patience = "5s"\n')
    racks.bed.cloudlab.fault("CreateSliver", "silent", seconds=600, at=EAST)
    agent.start()
    (job,) = racks.submit()
    wait_for("it is asked", lambda: racks.calls("CreateSliver", AT[EAST]))
    agent.stop(signal.SIGKILL)
    racks.bed.cloudlab.clear_faults()
    racks.drop(AT[EAST])
    agent.start()
    racks.bed.slurm.wait_for_job(job, "RUNNING")
    assert racks.machine_of(job).cm == AT[WEST]
    racks.end(job)


def test_a_site_whose_urn_is_written_otherwise_is_the_same_site(racks) -> None:
    agent = racks.agent
    agent.start()
    (job,) = racks.run()
    machine = racks.machine_of(job)
    slurmd = racks.slurmd(machine)
    agent.stop()
    agent.change(f'urn = "{AT[EAST]}"', f'urn = "{AT[EAST].replace("east.example", "EAST.Example")}"')
    agent.start()
    racks.look_on()
    assert racks.slurmd(machine) == slurmd
    racks.end(job)
    wait_for("it is given back", lambda: not racks.held())


@pytest.mark.parametrize("lacking", [1, 2])
def test_a_teardown_asks_again_before_it_gives_back_a_sliver_with_jobs(racks, lacking: int) -> None:
    """One manifest lacks a machine, or all."""
    agent = racks.agent
    agent.start()
    jobs = racks.run(2)
    assert agent.ask("teardown", "--yes").returncode == 0
    for job in jobs:
        node = racks.bed.slurm.job_nodes(job)
        wait_for("the drain", lambda node=node: "DRAIN" in racks.bed.slurm.node_state(node))
    for _ in range(4):
        racks.bed.cloudlab.fault(EAST, "not-listed", lacking)
        wait_for("one manifest lacks them", lambda: not racks.bed.cloudlab.faults())
        racks.look_on(AT[EAST])
    assert all(racks.goes_on(job) for job in jobs)
    assert racks.calls("DeleteSlice") == []
    racks.end(*jobs)
    wait_for("everything is given back", lambda: not racks.held())
