"""The cycle of the manager, against a slice server in memory."""

import inspect
from datetime import timedelta

import pytest

from agent.core.config import CycleSettings, MemoryIntents
from agent.core.errors import AgentError, ConfigError, FatalError, LedgerError
from agent.core.manager import SimpleElasticSliceManager

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


def told(bench, status):
    return [name for name, _, what in bench.helper.told if what == status]


def test_a_slice_and_a_sliver_are_made_and_grow_to_the_most(make_bench):
    bench = make_bench(maxthreshold=3)
    bench.cycles(12)
    assert len(bench.server.machines()) == 3
    assert bench.manager.held() == bench.server.machines()
    assert told(bench, "ready") == ["node-1", "node-2", "node-3"]
    assert bench.manager.in_use() == 3
    assert bench.manager.slice_expires == bench.server.slice_expires


def test_what_exists_is_adopted(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(3)
    other = make_bench(server=bench.server, config={"clock": bench.clock}, maxthreshold=1)
    other.cycles(3)
    assert bench.server.count("create_sliver") == 1
    assert bench.server.count("create_slice") == 1
    assert other.manager.held() == bench.server.machines()
    assert told(other, "ready") == ["node-1"]


def test_growth_leaves_the_wanted_fraction_free(make_bench):
    bench = make_bench(server={"pool": 10}, maxthreshold=10, percent_available_minimum=0.7)
    bench.cycles(20)
    assert len(bench.server.machines()) == 3


def test_machines_of_the_wanted_type_are_asked_for_by_name(make_bench):
    bench = make_bench(
        server={"types": ("m400", "m510")}, nodetype="m510", maxthreshold=3, percent_available_minimum=0
    )
    bench.cycles(12)
    added = [m for m in bench.server.machines() if m.client_id != "node-1"]
    assert len(added) == 2
    assert {m.hardware_type for m in added} == {"m510"}


def test_machines_that_cloudlab_wants_least_are_asked_for_first(make_bench):
    bench = make_bench(nodetype="m510", maxthreshold=2, minthreshold=2)
    values = [{"node_id": f"pc1{n:02}", "value": 0.0 if n == 7 else 0.9} for n in range(10)]
    bench.manager.SetResourceValues({"nodelist": values})
    bench.cycles(12)
    assert [m.node_id for m in bench.server.machines()] == ["pc100", "pc107"]


def test_a_machine_that_somebody_else_took_meanwhile_is_replaced_by_another(make_bench):
    bench = make_bench(nodetype="m510", minthreshold=1, maxthreshold=1, retry_interval=5)
    bench.cycles(3)
    del bench.server.sites[UTAH].pool["pc101"]
    bench.manager.minthreshold = bench.manager.maxthreshold = 2
    bench.manager.wake("add_nodes")
    bench.cycles(3, seconds=10)
    assert bench.server.count("add_nodes") == 2
    assert [m.node_id for m in bench.server.machines()] == ["pc100", "pc102"]


def test_a_helper_hears_once_of_each_machine(make_bench):
    bench = make_bench(maxthreshold=2)
    bench.cycles(20)
    bench.manager.manage_once(force=True)
    assert bench.helper.told == [("node-1", "sliver-1", "ready"), ("node-2", "sliver-2", "ready")]


def test_a_machine_that_fails_to_boot_is_given_back_and_its_type_left_alone(make_bench):
    bench = make_bench(server={"types": ("m400", "m510")}, minthreshold=2, maxthreshold=2)
    bench.server.boots.extend(["well", "fails"])
    bench.cycles(10)
    failed = bench.server.returned[0]
    assert told(bench, "failed") == ["node-2"]
    assert told(bench, "deleted") == ["node-2"]
    assert [m.node_id for m in bench.server.returned] == [failed.node_id]
    assert len(bench.server.machines()) == 2
    assert bench.server.added[2].hardware_type != failed.hardware_type


def test_the_pause_of_a_type_that_goes_on_failing_grows(make_bench):
    bench = make_bench(nodetype="m510", minthreshold=2, maxthreshold=2)
    bench.server.boots.extend(["well"] + ["fails"] * 50)
    bench.cycles(240)
    asked = bench.server.count("add_nodes")
    assert 3 <= asked <= 6


def test_a_machine_that_hangs_fails_after_the_boot_timeout(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.boots.extend(["well", "hangs"])
    bench.cycles(5)
    assert told(bench, "failed") == []
    bench.cycles(12)
    assert told(bench, "failed") == ["node-2"]
    assert bench.server.returned[0].client_id == "node-2"


def test_a_machine_that_was_ready_is_not_given_back_for_a_bad_status(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(4)
    bench.server.sites[UTAH].machines["node-1"].boot = "fails"
    bench.cycles(30)
    assert told(bench, "failed") == []
    assert bench.server.returned == []


def test_a_machine_that_is_given_up_goes_back(make_bench):
    bench = make_bench(minthreshold=0, maxthreshold=2)
    bench.cycles(10)
    bench.manager.give_up(bench.manager.held()[0], "it did not join")
    bench.cycles(2)
    assert told(bench, "failed") == ["node-1"]
    assert [m.client_id for m in bench.server.returned] == ["node-1"]


def test_no_boot_fails_on_a_status_that_cannot_be_read(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.server.fault("sliver_status", *["busy"] * 30)
    bench.cycles(20)
    assert told(bench, "failed") == []
    bench.server.faults.clear()
    bench.cycles(3)
    assert told(bench, "ready") == ["node-1"]


def test_a_machine_that_vanishes_is_gone_after_two_manifests(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=2)
    bench.cycles(10)
    bench.server.vanish(UTAH, "node-2")
    bench.manager.update_sliver_status()
    bench.manager.update_sliver_status()
    assert told(bench, "deleted") == [], "at once: it may be the same fault of the CM"
    bench.clock.advance(15)
    bench.manager.update_sliver_status()
    assert told(bench, "deleted") == ["node-2"]


def test_a_machine_that_cloudlab_said_it_took_is_gone_with_the_next_manifest(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=2)
    bench.cycles(10)
    node = bench.manager.held()[1]
    item = {"node_id": node.node_id, "client_id": node.client_id, "max_wait_time": 60}
    bench.manager.SetResourceValues({"nodelist": [{"node_id": node.node_id, "value": 1}]})
    bench.manager.NotifyDeletePending({"nodelist": [item]})
    bench.server.vanish(UTAH, node.client_id)
    bench.manager.NotifyDeleteComplete({"nodelist": [item]})
    assert bench.manager.revocations == {}
    assert told(bench, "deleted") == [], "the manifest decides"
    bench.manager.update_sliver_status()
    bench.manager.NotifyDeleteComplete({"nodelist": [item]})
    bench.manager.update_sliver_status()
    assert told(bench, "deleted") == [node.client_id]
    assert not bench.manager.resource_values


def test_a_completion_that_the_manifest_denies_changes_nothing(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    node = bench.manager.held()[0]
    bench.manager.NotifyDeleteComplete({"nodelist": [{"node_id": node.node_id}]})
    bench.clock.advance(1)
    bench.cycles(5)
    assert told(bench, "deleted") == []
    assert bench.manager.taken == {}
    assert bench.events.kinds()["kept"] == 1


def test_a_revocation_that_is_not_carried_out_is_withdrawn(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    node = bench.manager.held()[0]
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": node.node_id, "max_wait_time": 60}]})
    bench.cycles(3)
    assert node.place in bench.manager.revocations, "the countdown may come late"
    bench.cycles(3)
    assert bench.manager.revocations == {}
    assert bench.config.revocations.revocations() == ()
    assert bench.events.kinds()["withdrawn"] == 1


def test_a_revocation_of_a_machine_that_is_not_ours_is_forgotten_in_time(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, maxthreshold=1)
    bench.server.fault("find_sliver", *["unreachable"] * 15, cm=WISC)
    bench.cycles(2)
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": "pc999", "max_wait_time": 60}]})
    bench.cycles(6)
    assert ("", "pc999") in bench.manager.revocations, "the other CM was never read"
    bench.cycles(30)
    assert bench.manager.revocations == {}


def test_a_restart_keeps_the_deadline_and_cleans_up_again(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    node = bench.manager.held()[0]
    bench.manager.start_delete = lambda _: None
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": node.node_id, "max_wait_time": 600}]})
    bench.cycles(1)
    before = bench.manager.revocations

    class Watched(SimpleElasticSliceManager):
        started = ()

        def start_delete(self, nodelist):
            self.started = [*self.started, *nodelist]

    again = make_bench(
        server=bench.server,
        config={"clock": bench.clock, "revocations": bench.config.revocations},
        manager_class=Watched,
    )
    assert again.manager.revocations == before
    again.cycles(2)
    assert [item["node_id"] for item in again.manager.started] == [node.node_id]
    assert again.manager.has_pending_deletes()


# --- growth and doubt


@pytest.mark.parametrize("fault", ["done-lost", "done-garbage", "done-error", "done-cut"])
@pytest.mark.parametrize("method", ["create_sliver", "add_nodes"])
def test_machines_of_a_call_without_an_answer_are_kept_and_not_asked_for_again(make_bench, method, fault):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault(method, fault)
    bench.cycles(10)
    assert bench.server.count(method) == 1
    assert len(bench.server.machines()) == 2
    assert bench.config.intents.intents() == ()


def test_a_machine_whose_cm_is_cut_off_in_the_call_is_asked_for_nowhere_else(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=1, maxthreshold=1)
    bench.server.fault("create_sliver", "done-cut", cm=UTAH)
    bench.server.fault("find_sliver", "", *["unreachable"] * 6, cm=UTAH)
    bench.cycles(12)
    assert [m.cm for m in bench.server.machines()] == [UTAH]
    assert bench.manager.in_use() == 1
    assert bench.config.intents.intents() == ()


def test_machines_that_arrive_late_are_counted_before_they_come(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", "late")
    bench.cycles(2)
    assert bench.manager.in_use() == 2
    assert bench.manager.is_adding("node-2")
    bench.cycles(20)
    assert bench.server.count("add_nodes") == 1
    assert len(bench.server.machines()) == 2
    assert not bench.manager.is_adding()


def test_an_intent_that_never_comes_true_is_struck_and_asked_again(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", "lost")
    bench.cycles(30)
    assert bench.server.count("add_nodes") == 2
    assert [m.client_id for m in bench.server.machines()] == ["node-1", "node-3"]
    assert bench.events.kinds()["void"] == 1


def test_a_call_that_was_not_carried_out_leaves_no_intent(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", "unreachable")
    bench.cycles(1)
    assert bench.config.intents.intents() == ()
    bench.cycles(5)
    assert len(bench.server.machines()) == 2


def test_an_intent_of_a_killed_agent_is_settled_by_the_manifest(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", "done-lost")
    bench.server.fault("find_sliver", *[""] * 2, "unreachable")
    bench.cycles(1)
    assert bench.config.intents.intents()
    again = make_bench(
        server=bench.server,
        config={"clock": bench.clock, "intents": bench.config.intents},
        minthreshold=2,
        maxthreshold=2,
    )
    again.cycles(10)
    assert bench.config.intents.intents() == ()
    assert len(bench.server.machines()) == 2


def test_busy_is_tried_again_soon_and_does_not_pause_growth(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", "busy", "busy", "busy")
    bench.cycles(5, seconds=30)
    assert len(bench.server.machines()) == 2
    assert bench.events.kinds()["insufficient"] == 0


def test_a_cm_without_machines_is_left_alone_longer_each_time(make_bench):
    bench = make_bench(minthreshold=2, maxthreshold=2)
    bench.server.fault("add_nodes", *["insufficient"] * 50)
    bench.cycles(240)
    assert 3 <= bench.server.count("add_nodes") <= 6
    assert bench.manager.available[UTAH], "reading goes on"


def test_names_in_use_anywhere_are_not_given_out(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=4, maxthreshold=4)
    bench.cycles(20)
    names = [m.client_id for m in bench.server.machines()]
    assert len(names) == len(set(names)) == 4


@pytest.mark.parametrize("answer", [None, False, 0, {}])
def test_nothing_is_added_when_the_answer_is_no(make_bench, answer):
    class Reluctant(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return answer

    bench = make_bench(manager_class=Reluctant)
    bench.cycles(5)
    assert bench.server.count("add_nodes") == 0


def test_a_dict_is_passed_on_as_it_is(make_bench):
    wanted = {"special": {"node": "pc105", "diskimage": "urn:image"}}

    class Exact(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return wanted

    bench = make_bench(manager_class=Exact)
    bench.cycles(1)
    assert [detail for name, _, detail in bench.server.calls if name == "add_nodes"] == [wanted]


def test_exactly_count_machines_or_none(make_bench):
    bench = make_bench(maxthreshold=4, manage_intervals={"add_nodes": 1e9})
    bench.manager.manage_once()
    held = len(bench.manager.held())
    bench.manager.add_nodes(count=5)
    assert len(bench.manager.held()) == held
    assert bench.manager.should_add_nodes(count=5, cm=UTAH) is None
    if held < 4:
        bench.manager.add_nodes(count=4 - held, cm=UTAH)
    assert len(bench.manager.held()) == 4


@pytest.mark.parametrize("name", ["node 1", "x" * 33, "node-1", "NODE-1", ""])
def test_a_client_id_that_cannot_be_is_refused_before_the_call(make_bench, name):
    class Careless(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return {name: {}}

    bench = make_bench(manager_class=Careless)
    bench.cycles(1)
    with pytest.raises(ConfigError, match="client_id"):
        bench.manager.add_nodes()
    assert bench.server.count("add_nodes") == 0
    assert bench.config.intents.intents() == ()


class BrokenStore(MemoryIntents):
    """Cannot be written while the test says so."""

    broken = False

    def add_intents(self, intents):
        if self.broken:
            raise LedgerError("disk full")
        super().add_intents(intents)

    def remove_intents(self, intents):
        if self.broken:
            raise LedgerError("disk full")
        super().remove_intents(intents)


def test_nothing_is_asked_for_that_cannot_be_written_down(make_bench):
    store = BrokenStore()
    bench = make_bench(config={"intents": store}, minthreshold=2, maxthreshold=2)
    store.broken = True
    bench.cycles(5)
    assert bench.server.count("create_sliver") == 0
    store.broken = False
    bench.cycles(10)
    store.broken = True
    lost = bench.manager.held()[1].client_id
    bench.server.vanish(UTAH, lost)
    bench.cycles(3)
    assert told(bench, "deleted") == [lost], "what is seen is told all the same"


def test_a_manifest_is_learnt_from_though_what_it_settles_cannot_be_struck(make_bench):
    store = BrokenStore()
    bench = make_bench(config={"intents": store}, minthreshold=1, maxthreshold=1)
    real = bench.server.create_sliver

    def create_sliver(cm, request):
        sliver = real(cm, request)
        store.broken = True
        return sliver

    bench.server.create_sliver = create_sliver
    bench.cycles(6)
    (machine,) = bench.manager.held()
    assert told(bench, "ready") == [machine.client_id]
    assert [intent.client_id for intent in bench.manager.requested()] == [machine.client_id]
    assert bench.manager.in_use() == 1
    store.broken = False
    bench.cycles(1)
    assert (bench.manager.requested(), bench.manager.held()) == ([], [machine])


# --- deleting


class Shrinking(SimpleElasticSliceManager):
    surplus = ()

    def should_delete_nodes(self, cm=None):
        return list(self.surplus)

    def should_add_nodes(self, count=0, cm=None):
        return None


@pytest.fixture
def shrinking(make_bench):
    bench = make_bench(manager_class=Shrinking, helper={"num_pcs": 3}, enable_delete=True)
    bench.cycles(4)
    return bench


def test_exactly_the_named_machines_are_given_back(shrinking):
    shrinking.manager.surplus = ["node-2", "node-9"]
    shrinking.manager.delete_nodes()
    assert [m.client_id for m in shrinking.server.returned] == ["node-2"]
    assert told(shrinking, "deleted") == ["node-2"]


def test_nothing_is_given_back_of_free_will_unless_enabled(make_bench):
    bench = make_bench(manager_class=Shrinking, helper={"num_pcs": 3})
    bench.manager.surplus = ["node-2"]
    bench.cycles(10)
    assert bench.server.returned == []


def test_a_subclass_whose_decision_is_not_asked_for_hears_so_once_a_manager(make_bench):
    for manager_class, times in ((Shrinking, 1), (SimpleElasticSliceManager, 0)):
        bench = make_bench(manager_class=manager_class, helper={"num_pcs": 3})
        said = []
        for _ in range(10):
            said.append(bench.manager.manage_once())
            bench.clock.advance(60)
        assert sum("should_delete_nodes is not asked" in each for each in said) == times


def test_the_last_machine_goes_with_its_sliver(shrinking):
    shrinking.manager.surplus = ["node-1", "node-2", "node-3"]
    shrinking.manager.delete_nodes()
    assert shrinking.server.machines() == []
    assert shrinking.server.count("delete_sliver") == 1
    assert shrinking.manager.inventory.slivers == {UTAH: None}
    assert sorted(told(shrinking, "deleted")) == ["node-1", "node-2", "node-3"]


@pytest.mark.parametrize("fault", ["done-lost", "done-garbage", "done-error", "done-cut"])
@pytest.mark.parametrize("names", [["node-2"], ["node-1", "node-2", "node-3"]])
def test_a_delete_without_an_answer_is_settled_by_the_manifest(shrinking, fault, names):
    shrinking.server.fault("delete_nodes", fault)
    shrinking.server.fault("delete_sliver", fault)
    shrinking.manager.surplus = names
    shrinking.manager.delete_nodes()
    assert told(shrinking, "deleted") == [], "one manifest may lack what is there"
    assert shrinking.manager.in_use() == 3
    shrinking.clock.advance(15)
    shrinking.manager.update_sliver_status()
    assert sorted(told(shrinking, "deleted")) == names
    assert shrinking.config.intents.intents() == ()


def test_a_machine_that_is_gone_already_counts_as_given_back(shrinking):
    real = shrinking.server.find_sliver

    def find_then_lose(cm):
        found = real(cm)
        if "node-2" in shrinking.server.sites[cm].machines:
            shrinking.server.vanish(cm, "node-2")
        return found

    shrinking.server.find_sliver = find_then_lose
    shrinking.manager.surplus = ["node-2"]
    shrinking.manager.delete_nodes()
    shrinking.clock.advance(15)
    shrinking.manager.update_sliver_status()
    assert told(shrinking, "deleted") == ["node-2"]


def test_nothing_is_given_back_when_the_manifest_cannot_be_read(shrinking):
    shrinking.manager.surplus = ["node-2"]
    shrinking.server.fault("find_sliver", "unreachable")
    with pytest.raises(AgentError):
        shrinking.manager.delete_nodes()
    assert shrinking.server.count("delete_nodes") == 0


def test_another_machine_under_the_same_name_is_not_given_back(shrinking):
    shrinking.server.vanish(UTAH, "node-2")
    shrinking.server.add_nodes(UTAH, {"node-2": {}})
    shrinking.manager.surplus = ["node-2"]
    shrinking.manager.delete_nodes()
    assert shrinking.server.returned == []
    assert told(shrinking, "deleted") == ["node-2"], "the machine that had the name before"


def test_a_sliver_that_reads_as_empty_once_loses_nothing(shrinking):
    shrinking.server.sites[UTAH].exists = False
    shrinking.manager.update_sliver_status()
    assert told(shrinking, "deleted") == []
    shrinking.server.sites[UTAH].exists = True
    shrinking.manager.update_sliver_status()
    shrinking.manager.update_sliver_status()
    assert told(shrinking, "deleted") == []


def test_the_free_fraction_is_restored_by_giving_back_what_is_wanted_most(make_bench):
    bench = make_bench(
        server={"pool": 10}, helper={"num_pcs": 4}, percent_available_minimum=0.8, enable_delete=True
    )
    bench.manager.SetResourceValues({"nodelist": [{"node_id": "pc102", "value": 0.9}]})
    bench.cycles(10)
    assert len(bench.server.machines()) == 2
    assert "pc102" in {m.node_id for m in bench.server.returned}


# --- the lease


def test_the_lease_is_renewed_at_the_sa_first_and_then_at_each_cm(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=2)
    bench.cycles(3)
    first = bench.server.slice_expires
    bench.cycles(8, seconds=3600)
    renewals = [(name, cm) for name, cm, _ in bench.server.calls if name.startswith("renew")]
    assert renewals[0] == ("renew_slice", None)
    assert {cm for _, cm in renewals[1:]} <= {UTAH, WISC, None}
    assert bench.server.slice_expires > first
    for cm in bench.manager.inventory.expires:
        assert bench.server.sites[cm].expires == bench.manager.inventory.expires[cm] > first


def test_the_lease_never_runs_out_while_a_site_grants_less_than_asked(make_bench):
    bench = make_bench(server={"cms": (UTAH,)}, maxthreshold=1)
    bench.server.grant_limit = 4 * 3600

    def lasts():
        now = bench.clock.now()
        if bench.server.slice_expires is not None:
            assert bench.server.slice_expires > now
        if bench.server.sites[UTAH].expires is not None:
            assert bench.server.sites[UTAH].expires > now

    bench.cycles(400, seconds=600, check=lasts)
    assert bench.server.count("renew_slice") < 200


def test_a_refused_renewal_of_the_slice_does_not_stop_the_slivers(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(3)
    bench.server.sites[UTAH].expires = bench.clock.now() + timedelta(hours=8)
    bench.clock.advance(7 * 3600)
    bench.manager.update_sliver_status()
    bench.server.fault("renew_slice", "unreachable")
    with pytest.raises(AgentError):
        bench.manager.renew()
    assert bench.server.sites[UTAH].expires == bench.server.slice_expires
    assert bench.events.of("lease")


# --- steps


def test_a_step_that_fails_leaves_the_others_running(make_bench):
    class Broken(SimpleElasticSliceManager):
        def get_system_state(self):
            raise ZeroDivisionError("a fault of a subclass")

    bench = make_bench(manager_class=Broken, maxthreshold=2)
    bench.cycles(10)
    assert len(bench.server.machines()) == 2
    faults = [e for e in bench.events.of("step") if "get_system_state" in e.message]
    assert len(faults) == 1, "said once"
    assert "get_system_state" not in bench.manager.last_success


def test_one_dead_cm_does_not_stop_the_other(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, maxthreshold=3)
    for method in ("find_sliver", "discover", "create_sliver", "sliver_status"):
        bench.server.fault(method, *["unreachable"] * 1000, cm=UTAH)
    bench.cycles(20)
    assert {m.cm for m in bench.server.machines()} == {WISC}
    assert len(bench.server.machines(WISC)) == 3
    assert UTAH not in bench.manager.inventory.slivers, "never read is not empty"


def test_only_the_named_cms_are_used(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, cmlist=[WISC])
    bench.cycles(5)
    assert {cm for _, cm, _ in bench.server.calls} == {None, WISC}
    with pytest.raises(ConfigError, match="utah"):
        bench.manager.update_available(cm=UTAH)


def test_steps_run_in_order_once_for_each_cm(make_bench):
    ran = []

    class Watched(SimpleElasticSliceManager):
        CM_METHODS = ("per_cm",)

        def per_cm(self, cm=None):
            ran.append(cm)

        def once(self):
            ran.append("once")

    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Watched,
        manage_order=["once", "per_cm"],
        manage_intervals={"once": 100},
    )
    bench.manager.manage_once()
    assert ran == ["once", UTAH, WISC]
    bench.clock.advance(60)
    bench.manager.manage_once()
    assert ran[3:] == [UTAH, WISC]
    bench.manager.manage_once(force=True)
    assert ran[5:] == ["once", UTAH, WISC]
    bench.manager.wake("once")
    bench.manager.manage_once()
    assert ran[8:] == ["once"]


def test_a_step_that_is_no_method_is_refused(make_bench):
    with pytest.raises(ConfigError, match="frobnicate"):
        make_bench(manage_order=["ensure_slice", "frobnicate"])


def test_manage_once_says_what_it_decided(make_bench):
    bench = make_bench(maxthreshold=1)
    said = bench.manager.manage_once()
    assert "asks for a sliver with node-1" in said
    assert "1 is the most" in said
    assert bench.manager.manage_once() == "nothing was to be decided"


def test_without_a_helper_there_is_nothing_to_manage(make_bench):
    bench = make_bench()
    bench.manager.helper = None
    with pytest.raises(FatalError, match="set_helper"):
        bench.manager.manage_once()
    with pytest.raises(FatalError, match="set_helper"):
        bench.manager.manage()


def test_the_status_of_a_machine_can_be_asked_for(make_bench):
    bench = make_bench(maxthreshold=1)
    assert bench.manager.get_node_status("node-1") is None
    bench.cycles(4)
    assert bench.manager.get_node_status("node-1")["status"] == "ready"
    assert bench.manager.get_node_status("node-1", cm=UTAH, key="node_id") == "pc100"
    assert bench.manager.get_node_status("node-1", key="colour") is None
    assert bench.manager.get_email() == "ada@example.net"


def test_settled_machines_are_not_asked_after_at_every_turn(make_bench):
    bench = make_bench(maxthreshold=1, manage_intervals={"add_nodes": 1e9, "delete_nodes": 1e9})
    bench.cycles(5)
    before = bench.server.count("sliver_status")
    bench.cycles(10)
    assert bench.server.count("sliver_status") - before <= 3
    bench.manager.update_sliver_status(force=True)
    bench.manager.update_sliver_status(force=True)
    assert bench.server.count("sliver_status") - before >= 4


def test_all_machines_are_read_again_only_when_the_last_reading_is_too_old(make_bench):
    bench = make_bench()
    bench.manager.update_all()
    read_at = bench.clock.now()
    bench.clock.advance(10)
    bench.manager.update_all(lastFetchBefore=read_at)
    assert bench.server.count("discover") == 1
    bench.manager.update_all(lastFetchBefore=bench.clock.now())
    bench.manager.update_all(force=True, lastFetchBefore=read_at)
    assert bench.server.count("discover") == 3


def test_intervals_in_the_settings_are_those_of_the_reference():
    settings = CycleSettings().intervals()
    defaults = SimpleElasticSliceManager.DEF_INTERVALS
    assert list(settings) == SimpleElasticSliceManager.DEF_ORDER
    for step, seconds in settings.items():
        assert seconds == defaults.get(step, SimpleElasticSliceManager.DEF_INTERVAL)
    parameters = inspect.signature(SimpleElasticSliceManager).parameters
    assert CycleSettings().retry_interval == parameters["retry_interval"].default
