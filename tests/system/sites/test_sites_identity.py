"""Which machine is meant: changed settings, odd sliver_ids, equal node_ids, drains of machines that went."""

from __future__ import annotations

import signal

import pytest

from testbed.cloudlab import RACKS
from testbed.cloudlab.simulator import MachineInfo
from testbed.waiting import wait_for

EAST, WEST, SOUTH = (site.domain for site in RACKS)
AT = {site.domain: site.urn for site in RACKS}
ALWAYS = 1_000_000


def is_drained(racks, node: str) -> bool:
    return "DRAIN" in racks.bed.slurm.node_state(node)


def leave_free(racks, names: set[str]) -> None:
    """Reserve all machines for another project, but those named."""
    for machine in racks.bed.cloudlab.machines():
        racks.bed.cloudlab.promise(machine.name, "" if machine.name in names else "other")


@pytest.fixture
def one_machine_each(racks):
    """The one machine that each of two sites can lend is its pc1."""
    leave_free(racks, {"pc1-east", "pc1-west"})
    yield
    leave_free(racks, {machine.name for machine in racks.bed.cloudlab.machines()})


CHANGES = {
    "node_name": {"[join]\n": '[join]\nnode_name = "client_id"\n'},
    "mode": {"[join]\n": '[join]\nmode = "cloud"\n'},
}


@pytest.mark.parametrize("how", ["SIGHUP", "restart"])
@pytest.mark.parametrize("what", CHANGES)
def test_a_machine_stays_the_node_that_it_became_whatever_the_settings_say_later(
    racks, what: str, how: str
) -> None:
    agent, bed = racks.agent, racks.bed
    agent.start()
    (job,) = racks.run()
    node, machine = bed.slurm.job_nodes(job), racks.machine_of(job)
    slurmd = racks.slurmd(machine)
    for old, new in CHANGES[what].items():
        agent.change(old, new)
    if how == "SIGHUP":
        agent.send(signal.SIGHUP)
        agent.wait_for_log("settings were read again|the new settings have faults")
    else:
        agent.stop()
        agent.start()
    racks.look_on()
    assert racks.slurmd(machine) == slurmd, "no join command has run there"
    assert agent.ask("pause").returncode == 0, "none is to replace it"
    bed.cloudlab.revoke(machine.name, 100)
    wait_for("its node is drained", lambda: is_drained(racks, node))
    racks.look_on()
    assert racks.slurmd(machine) == slurmd
    assert racks.held() == [machine.name]
    racks.end(job)
    wait_for("it is given back", lambda: not racks.held())


@pytest.mark.parametrize("kind", ["no-sliver-id", "empty-sliver-id", "equal-sliver-id"])
def test_one_machine_goes_and_the_others_stay_where_sliver_ids_tell_nothing_apart(racks, kind: str) -> None:
    for urn in (AT[WEST], AT[SOUTH]):
        racks.drop(urn)
    racks.bed.cloudlab.fault(EAST, kind, ALWAYS)
    racks.agent.start()
    first, *others = racks.run(3)
    assert len(racks.loans()) == 3
    gone = racks.machine_of(first).name
    racks.end(first)
    wait_for("it is given back", lambda: gone not in racks.held())
    racks.look_on()
    assert len(racks.held()) == 2
    assert all(racks.goes_on(job) for job in others)
    racks.end(*others)
    wait_for("all are given back", lambda: not racks.held())


def by_site(racks, jobs: list[int]) -> dict[str, tuple[int, str, MachineInfo]]:
    """Return domain -> job, node and machine there."""
    found = {}
    for job in jobs:
        machine = racks.machine_of(job)
        found[machine.cm.split("+")[1]] = job, racks.bed.slurm.job_nodes(job), machine
    return found


@pytest.mark.usefixtures("one_machine_each")
def test_machines_of_one_node_id_are_two_nodes_and_notices_of_one_are_not_of_the_other(racks) -> None:
    agent, cloudlab = racks.agent, racks.bed.cloudlab
    agent.start()
    at = by_site(racks, racks.run(2))
    (east_job, east_node, east), (west_job, west_node, west) = at[EAST], at[WEST]
    assert east.node_id == west.node_id == "pc1"

    cloudlab.revoke(east.name, 100)
    wait_for("the one is drained", lambda: is_drained(racks, east_node))
    racks.look_on()
    assert not is_drained(racks, west_node)
    cloudlab.revoke(west.name, 0)
    wait_for("the other is taken", lambda: racks.held() == [east.name])
    racks.bed.slurm.wait_for_job(west_job, "PENDING")
    racks.look_on()
    assert is_drained(racks, east_node), "it is revoked still"
    assert racks.goes_on(east_job)
    racks.end(east_job)
    wait_for("it is given back", lambda: racks.loans(AT[EAST])[0].cause)
    assert racks.loans(AT[EAST])[0].cause == "released"


@pytest.mark.usefixtures("one_machine_each")
@pytest.mark.parametrize("site", [EAST, WEST])
def test_an_administrators_drain_ends_with_its_machine_also_while_the_agent_is_down(racks, site: str) -> None:
    """The next machine of that node_id comes from the same site, or from another one."""
    agent, bed = racks.agent, racks.bed
    agent.change("max_nodes = 3", "max_nodes = 1")
    agent.start()
    (job,) = racks.run()
    node, machine = bed.slurm.job_nodes(job), racks.machine_of(job)
    agent.ask("drain", node, "--reason", "look at the disk")
    wait_for("the drain", lambda: is_drained(racks, node))
    agent.stop()
    bed.slurm.run("scancel", str(job))
    wait_for("it is empty", lambda: not bed.slurm.run("squeue", "-h", "-w", node))
    bed.cloudlab.revoke(machine.name, 0)
    wait_for("it is taken", lambda: not racks.held())
    leave_free(racks, {f"pc1-{site.partition('.')[0]}"})
    wait_for("one is free", lambda: any(m.available for m in bed.cloudlab.machines()))
    agent.start()
    racks.look_on()
    (later,) = racks.run()
    assert (racks.loans()[-1].node_id, racks.loans()[-1].authority) == (machine.node_id, AT[site])
    racks.look_on()
    assert not is_drained(racks, bed.slurm.job_nodes(later))
    racks.end(later)
    assert racks.machine_of(later).cm == AT[site], "Slurm has the address of the machine that it ran on"
