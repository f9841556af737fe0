"""Machines of a sliver that are not reserved to us any more: the CM then tells no status and adds nothing.

``GeniCMV2 SliverStatus`` answers with code 2 and names nobody; the list of free machines has such a machine
as free, or lacks it; a change names it; only ``DeleteNodes`` mends it.
"""

from dataclasses import replace

import pytest

from agent.core.errors import InsufficientNodesError
from agent.core.model import AdvertisedNode, SliverNode
from agent.core.slice.unreserved import Told, spoken_of

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"


def told(bench, status):
    return [client_id for client_id, _, what in bench.helper.told if what == status]


@pytest.fixture
def bench(make_bench):
    """Two machines that are ready."""
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.cycles(6)
    assert sorted(told(bench, "ready")) == ["node-1", "node-2"]
    return bench


def test_a_ready_machine_that_is_not_ours_any_more_is_told_as_gone_and_replaced(bench):
    bench.server.unreserve(UTAH, "node-1")
    bench.cycles(30)
    assert told(bench, "deleted") == ["node-1"]
    assert [m.client_id for m in bench.server.machines()] == ["node-2", "node-3"]
    assert sorted(told(bench, "ready")) == ["node-1", "node-2", "node-3"]
    assert told(bench, "failed") == []
    assert bench.server.returned == [], "it was not ours to give back"
    assert not bench.manager.brake.words()


def test_one_sighting_gives_no_machine_up(bench):
    bench.server.unreserve(UTAH, "node-1")
    with pytest.raises(Exception, match="Error"):
        bench.manager.update_sliver_status(force=True)
    bench.server.sites[UTAH].machines["node-1"].reserved = True
    bench.manager.update_sliver_status(force=True)
    bench.server.sites[UTAH].machines["node-1"].reserved = False
    with pytest.raises(Exception, match="Error"):
        bench.manager.update_sliver_status(force=True)
    assert told(bench, "deleted") == []
    assert len(bench.manager.held()) == 2
    assert bench.events.kinds()["missing"] == 2


def test_a_machine_that_was_given_up_as_gone_is_not_held_while_it_is_in_the_manifest(bench):
    bench.server.unreserve(UTAH, "node-1")
    bench.server.fault("delete_nodes", *["busy"] * 100)
    bench.cycles(20)
    assert told(bench, "deleted") == ["node-1"]
    assert [n.client_id for n in bench.manager.held()] == ["node-2"]
    assert [n.client_id for n in bench.manager.inventory.with_fate("ready")] == ["node-2"]
    assert bench.manager.inventory.lost() == 1
    bench.server.faults.clear()
    bench.cycles(20)
    assert bench.manager.inventory.lost() == 0
    assert told(bench, "deleted") == ["node-1"], "it is said once"
    assert [m.client_id for m in bench.server.machines()] == ["node-2", "node-3"], "no name is given twice"


def test_it_is_deleted_although_the_manifest_tells_other_logins_since(bench):
    bench.server.unreserve(UTAH, "node-1")
    bench.server.fault("delete_nodes", *["busy"] * 100)
    bench.cycles(20)
    assert bench.manager.inventory.lost() == 1
    bench.server.odd = lambda _cm, sliver: replace(
        sliver, nodes=tuple(replace(node, username="bob") for node in sliver.nodes)
    )
    bench.server.faults.clear()
    bench.cycles(20)
    assert bench.manager.inventory.lost() == 0
    assert len(bench.server.machines()) == 2


def test_two_such_machines_at_once_are_found_one_after_the_other(bench):
    for name in ("node-1", "node-2"):
        bench.server.unreserve(UTAH, name)
    bench.cycles(40)
    assert sorted(told(bench, "deleted")) == ["node-1", "node-2"]
    assert len(bench.server.machines()) == 2
    assert all(m.reserved for m in bench.server.sites[UTAH].machines.values())


def test_a_starting_machine_beside_it_meets_its_boot_deadline(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.boots.extend(["well", "hangs"])
    bench.cycles(4)
    bench.server.unreserve(UTAH, "node-1")
    bench.server.fault("add_nodes", *["busy"] * 60)
    bench.cycles(14)
    assert told(bench, "failed") == ["node-2"], "though no status is to be had and nothing names the other"


def test_a_deadline_is_not_judged_by_one_status_that_failed(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=1)
    bench.server.boots.append("hangs")
    bench.cycles(1)
    bench.clock.advance(3600)
    bench.server.fault("sliver_status", "lost")
    with pytest.raises(Exception, match="read timed out"):
        bench.manager.update_sliver_status(force=True)
    assert told(bench, "failed") == []


def test_growth_that_is_refused_for_it_finds_it_too(bench):
    bench.server.unreserve(UTAH, "node-1")
    bench.manager.maxthreshold = bench.manager.minthreshold = 3
    for _ in range(2):
        with pytest.raises(Exception, match="is not available"):
            bench.manager.add_nodes()
        bench.clock.advance(15)
    assert told(bench, "deleted") == ["node-1"]
    assert bench.config.intents.intents() == ()


def test_a_refusal_of_the_mapper_that_names_a_machine_of_the_sliver_finds_it_and_is_no_shortage(bench):
    node = bench.manager.held()[0]
    text = f"Could not map to resources; *** Fixed physical node: {node.node_id} not available."

    def refuse(cm, leaving=()):
        if node.client_id not in leaving and node.client_id in bench.server.sites[cm].machines:
            raise InsufficientNodesError(text, node_id=node.node_id, method="AddNodes", authority=cm, code=28)

    bench.server._check_reserved = refuse
    bench.manager.maxthreshold = bench.manager.minthreshold = 3
    for _ in range(2):
        with pytest.raises(Exception, match="Fixed physical node"):
            bench.manager.add_nodes()
        bench.clock.advance(15)
    assert told(bench, "deleted") == [node.client_id]
    assert bench.events.kinds()["insufficient"] == 0, "other machines may be asked for"
    bench.cycles(10)
    assert len(bench.server.machines()) == 3
    assert node.client_id not in {m.client_id for m in bench.server.machines()}


def test_a_machine_that_was_asked_for_by_name_and_is_not_to_be_had_is_none_of_ours(bench):
    error = InsufficientNodesError("Fixed physical node: pc109 not available", node_id="pc109", code=28)
    assert bench.manager._slivers.unreserved.note_refused(UTAH, error) is error
    assert bench.events.kinds()["missing"] == 0


def test_to_find_it_takes_nothing_back_and_starts_nothing(bench):
    bench.server.unreserve(UTAH, "node-1")
    with pytest.raises(Exception, match="Error"):
        bench.manager.update_sliver_status(force=True)
    assert bench.events.kinds()["missing"] == 1
    assert [name for name, _, _ in bench.server.calls[-2:]] == ["sliver_status", "survey"]


def machine(node_id, sliver_type="raw-pc"):
    return SliverNode(f"n-{node_id}", node_id, UTAH, "s", sliver_type=sliver_type)


def listed(**flags):
    return [AdvertisedNode(node_id, UTAH, ("m510",), free) for node_id, free in flags.items()]


@pytest.mark.parametrize(
    ("machines", "nodes", "found", "silent"),
    [
        (["pc1", "pc2"], listed(pc1=True, pc2=False, pc3=True), {"pc1"}, False),
        (["pc1", "pc2", "pc4"], listed(pc2=False, pc3=True), {"pc1", "pc4"}, False),
        (["pc1", "pc2"], listed(pc1=False, pc2=False), set(), False),
        (["pc1"], listed(pc3=True), {"pc1"}, False),
        (["pc1", "pc2"], listed(pc3=True), {"pc1", "pc2"}, True),
        (["pc1", "pc2"], listed(pc1=True, pc3=True), {"pc1"}, False),
        ([], listed(pc3=True), set(), False),
    ],
    ids=["freed", "taken", "ours", "the only one", "another's list", "another's list, freed", "none"],
)
def test_a_list_speaks_of_machines_that_are_not_ours(machines, nodes, found, silent):
    assert spoken_of([machine(node_id) for node_id in machines], nodes) == Told(frozenset(found), silent)


def test_what_no_list_can_have_is_not_missed_in_it():
    nodes = [machine("pc1"), machine("pcvm7", "emulab-xen"), machine("")]
    assert spoken_of(nodes, listed(pc1=False)) == Told(frozenset(), is_silent=False)


def test_a_list_without_any_machine_of_the_sliver_counts_once_several_in_a_row_are_so(bench):
    for _ in range(2):
        bench.manager._slivers.unreserved.note_listed(UTAH, listed(pc109=True))
    assert bench.events.kinds()["missing"] == 0
    ours = {machine.node_id: False for machine in bench.manager.held()}
    bench.manager._slivers.unreserved.note_listed(UTAH, listed(**ours))
    for _ in range(2):
        bench.manager._slivers.unreserved.note_listed(UTAH, listed(pc109=True))
    assert bench.events.kinds()["missing"] == 0, "it was another caller's list"
    bench.manager._slivers.unreserved.note_listed(UTAH, listed(pc109=True))
    assert bench.events.kinds()["missing"] == 2


def test_a_revocation_of_it_ends_with_it(bench):
    node = bench.manager.held()[0]
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": node.node_id, "max_wait_time": 9000}]})
    bench.server.unreserve(UTAH, node.client_id)
    bench.cycles(20)
    assert told(bench, "deleted") == [node.client_id]
    assert bench.manager.revocations == {}
