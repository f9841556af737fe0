"""Machines of a sliver that are not reserved to us any more: the CM then tells no status and adds nothing.

``GeniCMV2 SliverStatus`` answers with code 2 and names nobody; ``AddNodes`` names the machine; only
``DeleteNodes`` mends it (protogeni.md §3.5, §3.7).
"""

import pytest

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


def test_a_revocation_of_it_ends_with_it(bench):
    node = bench.manager.held()[0]
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": node.node_id, "max_wait_time": 9000}]})
    bench.server.unreserve(UTAH, node.client_id)
    bench.cycles(20)
    assert told(bench, "deleted") == [node.client_id]
    assert bench.manager.revocations == {}
