"""A CM that takes no change while machines of the slice boot: what is asked of it then, and what waits.

``GeniCMV2 AddNodes`` and ``DeleteNodes`` of 2021 answer with code 14 from the begin of a start phase until
each of its machines is up or given up; renewals, manifests and statuses go on (protogeni-2021.md §3.9, §6).
"""

from dataclasses import replace

import pytest

from agent.core.config import CycleSettings
from agent.core.errors import BusyError, EndingError, InsufficientNodesError, LastMachineError
from agent.core.manager import SimpleElasticSliceManager
from tests.unit.core.conftest import UTAH, WISC, FakeClock, FakeServer

CHANGES = ("add_nodes", "delete_nodes")


class BusyServer(FakeServer):
    """CMs of 2021. ``tells``: their statuses have the keys by which they are known as such."""

    def __init__(self, clock, *args, tells=True, gives_up_after=1000.0, **kwargs):
        super().__init__(clock, *args, **kwargs)
        self.tells = tells
        self.gives_up_after = gives_up_after
        self.others_at_work = False
        self.ending = False
        self.refused = []

    def is_at_work(self, cm):
        def boots(machine):
            age = (self.clock.time - machine.since).total_seconds()
            return age < (self.gives_up_after if machine.boot == "hangs" else self.boot_time)

        return self.others_at_work or any(boots(m) for m in self.sites[cm].machines.values())

    def _change(self, method, cm):
        if self.ending:
            self.refused.append(method)
            raise EndingError("Slice is marked for termination", method=method, authority=cm, code=16)
        if self.is_at_work(cm):
            self.refused.append(method)
            raise BusyError("resource is busy; try again later", method=method, authority=cm, code=14)

    def add_nodes(self, cm, nodes):
        self._change("AddNodes", cm)
        return super().add_nodes(cm, nodes)

    def delete_nodes(self, cm, client_ids):
        self._change("DeleteNodes", cm)
        if set(client_ids) == set(self.sites[cm].machines):
            self.calls.append(("delete_nodes", cm, list(client_ids)))
            text = "Malformed arguments: Not allowed to delete all nodes from the topology!"
            raise LastMachineError(text, method="DeleteNodes", authority=cm, code=1)
        return super().delete_nodes(cm, client_ids)

    def sliver_status(self, cm):
        status = super().sliver_status(cm)
        if status is None:
            return None
        word = "changing" if self.is_at_work(cm) else "mixed"
        hung = [m for m in self.sites[cm].machines.values() if m.boot == "hangs"]
        named = frozenset(m.node.node_id for m in hung if word != "changing")
        return replace(status, status=word, waits_for_boots=self.tells, given_up=named)


class Wishing(SimpleElasticSliceManager):
    """Adds and deletes what a test wants."""

    wanted = 0
    going: tuple[str, ...] = ()

    def should_create_sliver(self, cm):
        return bool(self.should_add_nodes(cm=cm))

    def should_add_nodes(self, count=0, cm=None):
        return max(self.wanted - len(self.held()) - len(self.requested()), 0) or None

    def should_delete_nodes(self, cm=None):
        return [n.client_id for n in self.held(cm) if n.client_id in self.going] or None


@pytest.fixture
def make(make_bench):
    """Make a bench with so many ready machines at CMs of 2021."""

    def make(ready=2, cms=(UTAH,), **options):
        clock = FakeClock()
        bench = make_bench(
            server=BusyServer(clock, cms=cms, **options),
            manager_class=Wishing,
            enable_delete=True,
            helper={"num_pcs": ready},
            config={"clock": clock, "cycle": CycleSettings()},
        )
        bench.manager.wanted = ready
        bench.cycles(4)
        assert len(bench.manager.inventory.with_fate("ready")) == ready
        assert bench.server.refused == []
        bench.server.calls.clear()
        bench.events.events.clear()
        return bench

    return make


def names(bench):
    return sorted(bench.server.sites[UTAH].machines)


def test_all_machines_of_a_decision_are_asked_for_with_one_call(make):
    bench = make()
    bench.manager.wanted = 5
    bench.cycles(8)
    assert bench.server.count("add_nodes") == 1
    assert len(names(bench)) == 5


def test_nothing_is_spent_on_asking_for_more_while_machines_boot(make):
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.wanted = 5
    bench.server.boot_time = 900
    bench.cycles(14)
    assert bench.server.refused == []
    assert bench.server.count("add_nodes") == 1
    assert bench.events.kinds()["add"] == 1
    bench.cycles(4)
    assert names(bench) == [f"node-{n}" for n in range(1, 6)], "no name is used up"
    assert bench.events.kinds()["step"] == 0


def test_statuses_and_renewals_go_on_meanwhile(make):
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.server.boot_time = 30000
    bench.server.calls.clear()
    bench.cycles(9)
    assert bench.server.count("sliver_status") >= 9
    bench.clock.advance(8 * 3600)
    bench.manager.renew()
    assert bench.server.count("renew_sliver") == 1


def test_the_plan_hears_that_a_cm_at_work_can_be_asked_for_nothing(make):
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    assert "at work" in bench.manager.facts().closed[UTAH]
    bench.cycles(6)
    assert bench.manager.facts().closed == {}


def test_what_waited_to_be_given_back_goes_before_machines_are_asked_for(make):
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.server.boot_time = 900
    bench.clock.advance(60)
    bench.manager.going, bench.manager.wanted = ("node-1",), 4
    bench.cycles(25)
    changes = [(method, detail) for method, _, detail in bench.server.calls if method in CHANGES]
    assert [method for method, _ in changes] == ["add_nodes", "delete_nodes", "add_nodes"]
    assert changes[1][1] == ["node-1"]
    assert bench.server.refused == []
    assert names(bench) == ["node-2", "node-3", "node-4", "node-5"]


def test_what_is_to_be_given_back_goes_before_new_machines_block_the_cm(make):
    bench = make()
    bench.manager.going, bench.manager.wanted = ("node-1",), 3
    bench.manager.manage_once(force=True)
    changes = [method for method, _, _ in bench.server.calls if method in CHANGES]
    assert changes == ["delete_nodes"]
    bench.cycles(4)
    assert names(bench) == ["node-2", "node-3", "node-4"]
    assert bench.server.refused == []


def test_a_machine_that_cannot_be_given_back_keeps_no_other_from_coming(make):
    bench = make()
    bench.server.fault("delete_nodes", *["insufficient"] * 50)
    bench.manager.going, bench.manager.wanted = ("node-1",), 3
    bench.cycles(12)
    assert names(bench) == ["node-1", "node-2", "node-3"]


def test_one_machine_that_hangs_delays_the_others_leaving_and_does_not_prevent_it(make):
    bench = make()
    bench.server.boots.extend(["hangs"])
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.going = ("node-1",)
    bench.manager.wanted = 0
    bench.cycles(30)
    assert names(bench) == ["node-2"]
    assert bench.server.refused == []


def test_a_machine_that_the_cm_names_as_failed_counts_as_failed_before_our_own_deadline(make):
    bench = make(gives_up_after=300.0)
    bench.server.boots.extend(["hangs"])
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.wanted = 2
    bench.cycles(4)
    assert bench.events.kinds()["failed"] == 0, "it is still waited for"
    bench.cycles(4)
    assert [e.message for e in bench.events.of("failed")] == [
        "pc102 (node-3) is failed: its CM says that it failed to set up"
    ]


def test_a_whole_sliver_of_ours_is_given_back_though_machines_boot(make):
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.going, bench.manager.wanted = ("node-1", "node-2", "node-3"), 0
    bench.manager.delete_nodes()
    assert not bench.server.sites[UTAH].exists
    assert bench.server.refused == []


def test_work_that_somebody_else_began_is_seen_before_anything_is_spent(make):
    bench = make()
    bench.clock.advance(120)
    bench.server.others_at_work = True
    bench.manager.wanted = 3
    bench.manager.going = ("node-1",)
    bench.cycles(8)
    assert bench.server.refused == []
    assert bench.events.kinds()["add"] == 0
    bench.server.others_at_work = False
    bench.cycles(6)
    assert names(bench) == ["node-2", "node-3", "node-4"]


def test_a_cm_whose_status_reads_changing_though_machines_are_ready_is_known_by_that(make):
    bench = make(tells=False)
    bench.clock.advance(900)
    bench.server.boot_time = 900
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.wanted = 4
    bench.cycles(25)
    assert bench.server.refused == []
    assert len(names(bench)) == 4


def test_where_all_machines_boot_two_refusals_tell_that_the_cm_waits_for_them(make):
    bench = make(tells=False, ready=0)
    bench.helper.num_pcs = bench.manager.wanted = 2
    bench.server.boot_time = 900
    bench.cycles(1)
    bench.manager.wanted = 3
    bench.cycles(30)
    assert bench.server.refused == ["AddNodes"] * 2
    assert len(names(bench)) == 3


def test_a_cm_of_2016_is_asked_for_more_while_machines_boot(make_bench):
    bench = make_bench(manager_class=Wishing, enable_delete=True)
    bench.server.boot_time = 5000
    bench.manager.wanted = 1
    bench.cycles(1)
    bench.manager.wanted = 2
    bench.manager.add_nodes()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.manager.going, bench.manager.wanted = ("node-2",), 2
    bench.manager.delete_nodes()
    assert names(bench) == ["node-1", "node-3"]


def test_a_lock_that_is_held_for_a_moment_costs_one_look(make):
    bench = make()
    bench.server.fault("add_nodes", "busy")
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.cycles(3, seconds=30)
    assert len(names(bench)) == 3
    assert bench.events.kinds()["step"] == 0


def test_where_no_status_is_to_be_had_a_change_is_tried_again_after_a_limit(make):
    bench = make()
    bench.server.fault("add_nodes", "busy")
    bench.manager.wanted = 3
    bench.server.fault("sliver_status", "", *["lost"] * 500)
    bench.cycles(38)
    assert bench.server.count("add_nodes") == 1
    bench.cycles(10)
    assert len(names(bench)) == 3


def test_at_another_cm_machines_are_asked_for_meanwhile(make):
    bench = make(cms=(UTAH, WISC), ready=1)
    busy = next(cm for cm in (UTAH, WISC) if bench.server.sites[cm].exists)
    bench.server.others_at_work = True
    bench.manager.update_sliver_status(force=True)
    assert list(bench.manager.facts().closed) == [busy]


def test_a_sliver_that_is_being_deleted_is_asked_for_nothing_and_told_once(make):
    bench = make()
    bench.server.ending = True
    bench.manager.wanted = 3
    bench.cycles(20)
    assert bench.server.refused == ["AddNodes"]
    assert [e.subject for e in bench.events.of("terminating")] == [UTAH]
    assert bench.events.of("terminating")[0].is_notable
    assert "being deleted" in bench.manager.facts().closed[UTAH]
    bench.manager.going = ("node-1",)
    bench.manager.delete_nodes()
    assert bench.server.refused == ["AddNodes"]
    bench.server.ending = False
    bench.server.sites[UTAH].machines.clear()
    bench.server.sites[UTAH].exists = False
    bench.cycles(10)
    assert len(names(bench)) == 3, "a new sliver is made once the old one is gone"


def test_the_last_machine_of_a_sliver_that_is_not_ours_stays_and_that_is_told(make):
    bench = make(ready=0)
    bench.server.sites[UTAH].exists = True
    bench.server.sites[UTAH].expires = bench.server.slice_expires
    bench.manager.wanted = 3
    bench.cycles(6)
    assert names(bench) == ["node-1", "node-2", "node-3"]
    bench.manager.going, bench.manager.wanted = ("node-1", "node-2", "node-3"), 0
    bench.cycles(20)
    assert len(names(bench)) == 1
    assert bench.server.sites[UTAH].exists
    refused = [e for e in bench.events.of("step") if "last machine" in e.message]
    assert len(refused) == 1
    assert bench.server.count("delete_nodes") == 2, "what a CM never does is asked once"


def test_a_lack_of_machines_at_a_delete_is_told_as_what_it_is(make):
    bench = make()
    bench.server.fault("delete_nodes", "insufficient")
    bench.manager.going = ("node-1",)
    bench.manager.wanted = 0
    with pytest.raises(InsufficientNodesError, match="node-1 cannot be given back alone"):
        bench.manager.delete_nodes()
    assert bench.events.kinds()["insufficient"] == 0
    assert bench.manager.facts().exhausted == frozenset()


def test_a_ready_machine_that_reads_changing_while_the_cm_is_at_work_stays_ready(make):
    """A CM may set running machines up again with each change (GeniAggregate.pm of 2023, «reconfigure»)."""
    bench = make()
    bench.manager.wanted = 3
    bench.manager.add_nodes()
    bench.server.boot_time = 600
    bench.cycles(4)
    status = bench.manager.inventory.statuses[UTAH]
    assert {node.status for node in status.nodes} == {"changing"}
    bench.cycles(10)
    assert bench.events.kinds()["failed"] == 0
    assert bench.events.kinds()["ready"] == 1, "only the new one is told of"
    assert [name for name, _, _ in bench.helper.told] == ["node-1", "node-2", "node-3"]
