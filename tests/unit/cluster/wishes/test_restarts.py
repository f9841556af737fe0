"""An order outlasts the daemon, its end does too, and both end with the machine."""

from dataclasses import replace

import pytest

from agent.core.model import AdminDrain
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, Cloudlab, Slurm, a_machine

MACHINE = a_machine(1)
NEXT = replace(a_machine(1), client_id="node-7", sliver_id="urn:sliver+7")


def wish_for(machine) -> AdminDrain:
    meant = {"cm": machine.cm, "client_id": machine.client_id, "sliver_id": machine.sliver_id}
    return AdminDrain(machine.node_id, "disk", "ada", NOW, **meant)


def cycles(manager, count: int) -> None:
    for _ in range(count):
        manager.manage_once(force=True)
        manager.drainer.tick()


def told(ledger) -> list[str]:
    return [event.message for event in ledger.events(newest=1000) if event.kind == "admin"]


@pytest.mark.parametrize("sliver_ids", [True, False])
@pytest.mark.parametrize("older", [True, False], ids=["of an older agent", "of this one"])
def test_a_drain_whose_machine_went_while_the_daemon_was_down_is_not_for_the_next_one(
    make_manager, ledger, sliver_ids: bool, older: bool
) -> None:
    wish = wish_for(MACHINE) if sliver_ids else replace(wish_for(MACHINE), sliver_id="")
    ledger.put_drain(replace(wish, cm="", client_id="") if older else wish)
    site, slurm = Cloudlab(), Slurm()
    manager = make_manager(site, slurm)
    cycles(manager, 3)
    assert ledger.drains() == ()
    assert told(ledger) == ["the drain by ada is over: its machine is gone (disk)"]

    site.machines = [NEXT if sliver_ids else replace(NEXT, sliver_id="")]
    slurm.nodes["pc1"] = Node("pc1", "IDLE", booted=NOW, last_busy=NOW)
    cycles(manager, 3)
    assert not slurm.nodes["pc1"].draining


def test_a_drain_stands_while_its_cm_is_silent_after_a_restart(make_manager, ledger) -> None:
    ledger.put_drain(wish := wish_for(a_machine(1, WISC)))
    site = Cloudlab(MACHINE, cms=(UTAH, WISC))
    site.silent.add(WISC)
    slurm = Slurm(Node("pc1", "IDLE", booted=NOW, last_busy=NOW))
    manager = make_manager(site, slurm, read=False)
    cycles(manager, 4)
    assert ledger.drains() == (wish,)
    assert not slurm.nodes["pc1"].draining, "the machine of the other CM is another one"
    site.silent.clear()
    cycles(manager, 3)
    assert ledger.drains() == ()


def test_a_drain_at_a_cm_that_left_agent_conf_for_good_is_over_and_that_is_told(make_manager, ledger) -> None:
    ledger.put_drain(wish_for(a_machine(1, WISC)))
    cycles(make_manager(Cloudlab(MACHINE), busy_slurm()), 2)
    assert ledger.drains() == ()
    assert told(ledger) == ["the drain by ada is over: its machine is gone (disk)"]


def test_one_manifest_that_lacks_a_machine_does_not_end_its_drain(make_manager, ledger) -> None:
    ledger.put_drain(wish := wish_for(MACHINE))
    site = Cloudlab(MACHINE)
    manager = make_manager(site, slurm := busy_slurm())
    site.machines = []
    manager.ensure_sliver()
    manager.get_system_state()
    site.machines = [MACHINE]
    cycles(manager, 3)
    assert ledger.drains() == (wish,)
    assert slurm.nodes["pc1"].draining


def busy_slurm() -> Slurm:
    return Slurm(Node("pc1", "IDLE", booted=NOW, last_busy=NOW))


def test_a_resumed_machine_stays_resumed_when_the_daemon_ends_before_slurm_has_it(
    make_manager, ledger
) -> None:
    site, slurm = Cloudlab(MACHINE), busy_slurm()
    manager = make_manager(site, slurm)
    manager.orders.drain(wish_for(MACHINE))
    cycles(manager, 1)
    assert slurm.nodes["pc1"].draining
    assert manager.orders.resume(MACHINE, "bob")

    again = make_manager(site, slurm)
    cycles(again, 2)
    assert not slurm.nodes["pc1"].draining
    cycles(again, 1)
    assert ledger.drains() == (), "nothing is left that has to be remembered"


def test_a_lifted_teardown_stays_lifted_when_the_daemon_ends_before_slurm_has_it(
    make_manager, ledger
) -> None:
    site, slurm = Cloudlab(MACHINE), busy_slurm()
    slurm.nodes["pc1"] = replace(slurm.nodes["pc1"], state="ALLOCATED")
    manager = make_manager(site, slurm)
    cycles(manager, 1)
    manager.orders.tear_down("ada", None)
    manager.drainer.tick()
    assert slurm.nodes["pc1"].draining
    assert manager.orders.unpause("bob")

    again = make_manager(site, slurm)
    cycles(again, 2)
    assert again.memory.hold.wish is None
    assert not slurm.nodes["pc1"].draining
    cycles(again, 1)
    assert (ledger.drains(), site.asked) == ((), [])


def test_a_lifted_teardown_of_one_cm_stays_lifted_when_the_daemon_ends_before_slurm_has_it(
    make_manager, ledger
) -> None:
    site, slurm = Cloudlab(MACHINE), busy_slurm()
    slurm.nodes["pc1"] = replace(slurm.nodes["pc1"], state="ALLOCATED")
    manager = make_manager(site, slurm)
    cycles(manager, 1)
    manager.orders.tear_down_cm(UTAH, "ada", None)
    manager.drainer.tick()
    assert slurm.nodes["pc1"].draining
    assert manager.orders.reopen_cm(UTAH, "bob")

    again = make_manager(site, slurm)
    cycles(again, 2)
    assert again.memory.teardowns.wishes == {}
    assert not slurm.nodes["pc1"].draining
    cycles(again, 1)
    assert (ledger.cms.teardowns(), site.asked) == ((), [])


def test_with_a_ledger_that_is_lost_what_stands_in_slurm_is_taken_over(make_manager, ledger) -> None:
    site, slurm = Cloudlab(MACHINE), busy_slurm()
    manager = make_manager(site, slurm)
    manager.orders.drain(wish := wish_for(MACHINE))
    cycles(manager, 1)
    ledger.remove_drain(*wish.place)

    cycles(make_manager(site, slurm), 2)
    assert ledger.drains() == (wish,)
    assert slurm.nodes["pc1"].draining


def test_a_drain_that_takes_over_anothers_does_so_after_a_restart_too(make_manager, ledger) -> None:
    site, slurm = Cloudlab(MACHINE), busy_slurm()
    slurm.drain(["pc1"], "somebody else's words")
    make_manager(site, slurm).orders.drain(replace(wish_for(MACHINE), takes_over=True))

    cycles(make_manager(site, slurm), 1)
    assert slurm.nodes["pc1"].reason.startswith("esagent: drained by ada")
