"""Sites that refuse, hang or lose a reply: the others lend, and nothing is lent twice."""

from __future__ import annotations

import signal

import pytest

from testbed.cloudlab import RACKS
from testbed.waiting import wait_for

EAST, WEST, SOUTH = (site.domain for site in RACKS)
AT = {site.domain: site.urn for site in RACKS}
ALWAYS = 1_000_000


def ready(racks) -> None:
    """Start the agent, and wait until it knows what each site has."""
    racks.agent.start()
    for urn in AT.values():
        wait_for(f"{urn} is known", lambda urn=urn: racks.calls("DiscoverResources", urn))


@pytest.mark.parametrize("kind", ["insufficient", "internal-error", "busy", "unreachable"])
def test_while_the_first_site_refuses_machines_the_next_ones_are_asked(racks, kind: str) -> None:
    ready(racks)
    racks.bed.cloudlab.fault("*" if kind == "unreachable" else "CreateSliver", kind, ALWAYS, at=EAST)
    (job,) = racks.run()
    assert racks.machine_of(job).cm == AT[WEST]
    racks.end(job)


def test_of_three_sites_the_one_that_lends_is_found(racks) -> None:
    ready(racks)
    racks.bed.cloudlab.fault("CreateSliver", "insufficient", ALWAYS, at=EAST)
    racks.bed.cloudlab.fault("*", "silent", ALWAYS, at=WEST, seconds=600)
    (job,) = racks.run()
    assert racks.machine_of(job).cm == AT[SOUTH]
    racks.end(job)


@pytest.mark.parametrize("at", [EAST, "sa"])
def test_a_peer_that_hangs_holds_nobody_up(racks, at: str) -> None:
    racks.agent.change('read_timeout = "3s"', 'read_timeout = "600s"')
    ready(racks)
    (first,) = racks.run()
    assert racks.machine_of(first).cm == AT[EAST]
    racks.bed.cloudlab.fault("*", "silent", ALWAYS, at=at, seconds=600)
    racks.agent.ask("renew")
    wait_for("it hangs", lambda: racks.bed.cloudlab.journal.faults(fault="silent"))
    (second,) = racks.run()
    racks.end(first, second)
    silent = WEST if at == EAST else EAST
    wait_for("the others' machines go back", lambda: not racks.held(silent))
    assert racks.agent.stop() == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_lost_create_whose_look_up_is_lost_too_is_not_made_again(racks, *, restart: bool) -> None:
    racks.agent.change("max_nodes = 3", "max_nodes = 1")
    ready(racks)
    racks.bed.cloudlab.fault("CreateSliver", "cut-off", at=EAST)
    (job,) = racks.submit()
    wait_for("the sliver is made", lambda: racks.held(EAST))
    strikes = racks.bed.cloudlab.journal.faults
    before = len(strikes(fault="unreachable"))
    wait_for("the looks are lost", lambda: len(strikes(fault="unreachable")) > before + 8)
    if restart:
        racks.agent.stop(signal.SIGTERM)
        racks.agent.start()
    racks.look_on(AT[WEST])
    assert racks.loans(AT[WEST]) == [], "one is asked for already, and may have come"
    racks.bed.cloudlab.clear_faults()
    racks.bed.slurm.wait_for_job(job, "RUNNING")
    racks.look_on(AT[EAST])
    assert [loan.client_id for loan in racks.loans()] == ["node-1"]
    racks.end(job)


def test_a_machine_that_one_manifest_lacks_counts_until_it_is_known_to_be_gone(racks) -> None:
    racks.agent.change("max_nodes = 3", "max_nodes = 2")
    ready(racks)
    jobs = racks.run(2)
    (late,) = racks.submit()
    for job in jobs * 2:
        racks.bed.cloudlab.fault(racks.machine_of(job).name, "not-listed")
        wait_for("one manifest lacks it", lambda: not racks.bed.cloudlab.faults())
        racks.look_on()
    assert len(racks.loans()) == 2
    assert racks.bed.slurm.job_state(late) == "PENDING"
    racks.bed.slurm.run("scancel", str(late))
    racks.end(*jobs)
