"""Classes that were written for the reference work with ours, in the documented order of bases."""

import threading

import pytest

from agent.core.abstract import ElasticSliceManager
from agent.core.manager import SimpleElasticSliceManager
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.request.helper import ElasticSliceHelper, PluginElasticSliceHelper, SimpleElasticSliceHelper

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"


class FooManager(SimpleElasticSliceHelper, SimpleElasticSliceManager):
    pass


class HelperFirst(SimpleElasticSliceHelper, SimpleElasticSliceManager):
    def __init__(self, server, config=None):
        SimpleElasticSliceHelper.__init__(self, server, config, num_pcs=2, node_prefix="foo")
        SimpleElasticSliceManager.__init__(self, server, config, minthreshold=2, maxthreshold=2)


class ManagerFirst(SimpleElasticSliceHelper, SimpleElasticSliceManager):
    def __init__(self, server, config=None):
        SimpleElasticSliceManager.__init__(self, server, config, minthreshold=2, maxthreshold=2)
        SimpleElasticSliceHelper.__init__(self, server, config, num_pcs=2, node_prefix="foo")


class WrongOrder(SimpleElasticSliceManager, SimpleElasticSliceHelper):
    pass


def test_the_order_of_bases_decides_whose_helper_methods_are_used():
    assert FooManager.create_rspec is SimpleElasticSliceHelper.create_rspec
    assert WrongOrder.create_rspec is PluginElasticSliceHelper.create_rspec
    assert [c.__name__ for c in FooManager.__mro__[:3]] == [
        "FooManager",
        "SimpleElasticSliceHelper",
        "SimpleElasticSliceManager",
    ]


@pytest.mark.parametrize("order", [HelperFirst, ManagerFirst])
def test_a_manager_that_is_its_own_helper_manages(make_bench, order):
    bench = make_bench()
    manager = order(bench.server, bench.config)
    for _ in range(5):
        manager.manage_once()
        bench.clock.advance(60)
    assert [m.client_id for m in bench.server.machines()] == ["foo-1", "foo-2"]
    assert [n.client_id for n in manager.inventory.with_fate("ready")] == ["foo-1", "foo-2"]


def test_a_manager_without_an_init_of_its_own_has_both_halves(make_bench):
    bench = make_bench()
    manager = FooManager(bench.server, bench.config, num_pcs=2)
    manager.manage_once()
    assert [m.client_id for m in bench.server.machines()][:2] == ["node-1", "node-2"]
    assert manager.maxthreshold == SimpleElasticSliceManager.DEF_MAX_THRESHOLD


def test_a_subclass_of_the_abstract_manager_fills_what_it_needs():
    class Mine(ElasticSliceManager):
        def manage_once(self, force=False):
            return force

    manager = Mine(server=None)
    assert manager.manage_once(force=True) is True
    assert manager.get_system_state() is None
    with pytest.raises(NotImplementedError):
        manager.add_nodes()


def test_a_helper_of_ones_own_is_driven_by_the_manager(make_bench):
    seen = []

    class Mine(ElasticSliceHelper):
        def create_rspec(self):
            return (
                '<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">'
                '<node client_id="head"><sliver_type name="raw-pc"/></node></rspec>'
            )

        def get_add_args(self, count=1):
            return {f"w{n}": {} for n in range(count)}

        def handle_added_node(self, node, status):
            seen.append((node["client_id"], node["cm"], node["hardware_type"], status))

    bench = make_bench(minthreshold=3, maxthreshold=3)
    bench.manager.set_helper(Mine())
    bench.cycles(5)
    assert seen == [(name, UTAH, "m510", "ready") for name in ("head", "w0", "w1")]


def test_an_endpoint_of_ones_own_decides_when_a_machine_may_be_taken():
    class Mine(SimpleElasticSliceClientEndpoint):
        def start_delete(self, nodelist):
            self.end_delete(nodelist)

    call = {"nodelist": [{"node_id": "pc1", "client_id": "node-1", "max_wait_time": 60}]}
    assert Mine().NotifyDeletePending(call)["value"] == [{**call["nodelist"][0], "max_wait_time": 0}]


def test_the_manager_is_the_endpoint_and_runs_the_helpers_delete_commands(make_bench, tmp_path):
    bench = make_bench()
    done = tmp_path / "done"
    bench.helper.get_delete_commands = lambda nodelist: [f"touch {done}-{i['node_id']}" for i in nodelist]
    ended = threading.Event()
    real = bench.manager.notified
    bench.manager.notified = lambda what: (real(what), what == "end_delete" and ended.set())
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": "pc1", "max_wait_time": 60}]})
    bench.cycles(1)
    assert ended.wait(10)
    assert (tmp_path / "done-pc1").exists()


def test_a_foreign_config_object_is_kept(make_bench):
    bench = make_bench()
    manager = FooManager(bench.server, {"my": "settings"})
    assert manager.config == {"my": "settings"}
