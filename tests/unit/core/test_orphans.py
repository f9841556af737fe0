"""What nobody expects: machines that come late or unasked or go unsaid, and slivers that are left empty."""

import pytest

from agent.core.config import CycleSettings
from agent.core.errors import LostReplyError
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import NodeStatus, SliverStatus

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
IMPATIENT = {"cycle": CycleSettings(boot_timeout="10m", lost_call_patience=100)}


def told(bench, status):
    return [client_id for client_id, _, what in bench.helper.told if what == status]


# --- machines nobody waits for any more, or ever did


def test_a_machine_that_comes_after_it_was_given_up_is_adopted_and_what_is_too_much_goes_back(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2, enable_delete=True, config=IMPATIENT)
    bench.server.fault("add_nodes", "late")
    bench.cycles(2, seconds=150)
    assert bench.events.kinds()["void"] == 1
    bench.cycles(20)
    assert [e.subject for e in bench.events.of("adopted")] == ["pc102"]
    assert len(bench.server.added) == 3, "it came, and so did what was asked for in its place"
    assert len(bench.server.machines()) == len(bench.manager.held()) == 2
    assert len(bench.server.returned) == 1


def test_a_machine_that_comes_late_takes_the_place_of_the_next_one(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2, config=IMPATIENT)
    bench.server.fault("add_nodes", "late", *["unreachable"] * 6)
    bench.cycles(30)
    assert [m.client_id for m in bench.server.machines()] == ["node-1", "node-2"]
    assert sorted(told(bench, "ready")) == ["node-1", "node-2"]


def test_a_machine_of_our_name_that_was_asked_for_by_another_hand_is_counted_and_used(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=2, percent_available_minimum=0.9)
    bench.cycles(5)
    bench.server.add_nodes(UTAH, {"node-7": {}})
    bench.cycles(5)
    assert [e.subject for e in bench.events.of("adopted")] == ["pc101"]
    assert bench.manager.in_use() == 2
    assert told(bench, "ready") == ["node-1", "node-7"]
    assert bench.server.returned == []


def test_a_machine_that_only_the_status_knows_is_not_ours(make_bench):
    bench = make_bench(maxthreshold=1)
    real = bench.server.sliver_status

    def with_stranger(cm):
        status = real(cm)
        stranger = NodeStatus("node-9", "pc999", "sliver-999", "started", "ready")
        return SliverStatus(cm, status.state, status.status, "", (*status.nodes, stranger))

    bench.server.sliver_status = with_stranger
    bench.cycles(8)
    assert told(bench, "ready") == ["node-1"]
    assert bench.manager.in_use() == 1


@pytest.mark.parametrize("sightings", [1, 2, 4])
def test_a_machine_without_a_manifest_is_gone_after_as_many_sightings_as_are_set(make_bench, sightings):
    bench = make_bench(maxthreshold=1, config={"cycle": CycleSettings(gone_sightings=sightings)})
    bench.cycles(5)
    machine = bench.server.sites[UTAH].machines.pop("node-1")
    for _ in range(sightings - 1):
        bench.manager.update_sliver_status()
        bench.clock.advance(15)
        assert told(bench, "deleted") == []
    bench.server.sites[UTAH].machines["node-1"] = machine
    bench.manager.update_sliver_status()
    del bench.server.sites[UTAH].machines["node-1"]
    for _ in range(sightings):
        assert told(bench, "deleted") == []
        bench.clock.advance(15)
        bench.manager.update_sliver_status()
    assert told(bench, "deleted") == ["node-1"]


# --- slivers without a machine


class Asked(SimpleElasticSliceManager):
    """Wants as many machines as the test says."""

    wanted = 1

    def should_create_sliver(self, cm):
        return self.in_use() < self.wanted

    def should_add_nodes(self, count=0, cm=None):
        return max(self.wanted - self.in_use(), 0)


@pytest.fixture
def emptied(make_bench):
    """A sliver whose only machine Cloudlab has just taken."""
    bench = make_bench(manager_class=Asked)
    bench.cycles(6)
    bench.manager.wanted = 0
    bench.server.vanish(UTAH, "node-1")
    return bench


def test_a_sliver_whose_last_machine_was_taken_is_given_back(emptied):
    emptied.cycles(15)
    assert emptied.server.count("delete_sliver") == 1
    assert emptied.manager.inventory.slivers == {UTAH: None}
    assert told(emptied, "deleted") == ["node-1"]
    emptied.manager.wanted = 1
    emptied.cycles(10)
    assert len(emptied.server.machines()) == 1, "and is made again when a machine is wanted"


def test_an_empty_sliver_is_kept_for_a_machine_that_is_wanted(emptied):
    emptied.manager.wanted = 1
    emptied.cycles(15)
    assert emptied.server.count("delete_sliver") == 0
    assert emptied.server.count("create_sliver") == 1
    assert len(emptied.server.machines()) == 1


def test_one_empty_manifest_gives_no_sliver_back(emptied):
    emptied.manager.update_sliver_status()
    emptied.manager.delete_nodes()
    assert emptied.server.count("delete_sliver") == 0


def test_an_empty_sliver_is_kept_while_a_machine_may_still_arrive(emptied):
    emptied.cycles(2)
    emptied.manager.wanted = 1
    emptied.server.fault("add_nodes", "lost")
    with pytest.raises(LostReplyError):
        emptied.manager.add_nodes()
    emptied.manager.wanted = 0
    emptied.cycles(10)
    assert emptied.manager.requested()
    assert emptied.server.count("delete_sliver") == 0
    emptied.cycles(20)
    assert emptied.server.count("delete_sliver") == 1


def test_a_sliver_that_only_its_manifest_shows_empty_is_kept(emptied):
    machine = NodeStatus("node-1", "pc100", "sliver-1", "started", "ready")
    emptied.server.sliver_status = lambda cm: SliverStatus(cm, "started", "ready", "", (machine,))
    emptied.cycles(20)
    assert emptied.server.count("delete_sliver") == 0
