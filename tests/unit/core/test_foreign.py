"""A slice that is not only ours: what others put into it stays, is told once, and is answered truthfully."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import CapturingLogger

from agent.core.config import MemoryHoldings, MemoryIntents
from agent.core.errors import AlreadyExistsError, ConfigError, LedgerError
from agent.core.model import Holding, SliverNode
from agent.core.notices.foreign import Whose
from agent.core.ownership import Ownership
from agent.core.request.document_helper import DocumentHelper
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.rspec import GENERATOR, RSPEC, RequestNode, build_request
from agent.core.slice.words import NAMED
from tests.unit.core.conftest import UTAH, WISC, FakeMachine, FakeServer


def put(bench, *names, cm=UTAH):
    """Have somebody else put machines into the slice."""
    site = bench.server.sites[cm]
    site.exists, site.expires = True, site.expires or bench.server.slice_expires
    for number, name in enumerate(names):
        node = SliverNode(name, f"foreign{number}", cm, f"foreign-{number}")
        site.machines[name] = FakeMachine(node, bench.clock.now())


def notice(bench, node_id, client_id, wait=600):
    item = {"node_id": node_id, "client_id": client_id, "max_wait_time": wait}
    return bench.manager.NotifyDeletePending({"nodelist": [item]})["value"]


def calls(bench):
    return {name for name, *_ in bench.server.calls}


@pytest.fixture
def shared(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=1, percent_available_minimum=0.0, enable_delete=True)
    bench.cycles(1)
    put(bench, "ctl", "cp-1")
    bench.cycles(12)
    return bench


def test_they_are_told_once_and_neither_count_nor_have_a_hook(shared):
    assert [e.message for e in shared.events.of("foreign")] == [
        "not ours, and left alone: ctl (foreign0), cp-1 (foreign1)"
    ]
    assert shared.manager.in_use() == 1
    assert [node.client_id for node in shared.manager.held()] == ["node-1"]
    assert [node.client_id for node in shared.manager.facts().foreign] == ["ctl", "cp-1"]
    assert {e.subject for e in shared.events.of("ready")}.isdisjoint({"foreign0", "foreign1"})


def test_the_last_machine_of_ours_goes_by_name_and_the_sliver_stays(shared):
    shared.manager.should_delete_nodes = lambda cm=None: ["node-1", "ctl"]
    shared.cycles(8)
    assert [node.client_id for node in shared.server.returned] == ["node-1"] * len(shared.server.returned)
    assert shared.server.returned
    assert {n.client_id for n in shared.server.machines()} >= {"ctl", "cp-1"}
    assert "delete_sliver" not in calls(shared)
    assert shared.events.of("delete")[0].message.endswith(
        "; the sliver stays, which has 2 machines that are not ours"
    )


def test_what_came_by_the_request_of_another_is_gone_without_a_word_of_ours(shared):
    del shared.server.sites[UTAH].machines["ctl"]
    shared.cycles(4)
    assert not shared.events.of("gone")
    assert not shared.events.of("missing")
    assert [node.client_id for node in shared.manager.facts().foreign] == ["cp-1"]


def test_a_revocation_of_one_is_told_once_and_its_countdown_goes_on(shared):
    commanded = []
    shared.helper.get_delete_commands = commanded.append
    assert notice(shared, "foreign0", "ctl") == 0
    shared.cycles(2)
    shared.manager.end_delete(["foreign0"])
    assert notice(shared, "foreign0", "ctl", wait=540) == 0
    shared.cycles(2)
    (event,) = shared.events.of("foreign-revoke")
    assert (event.subject, event.is_notable) == ("foreign0", True)
    assert commanded == []
    assert not shared.manager.has_pending_deletes()


def test_one_that_is_known_from_an_earlier_run_is_not_cleaned_up_before_the_manifest_says_whose_it_is(
    make_bench,
):
    bench = make_bench(minthreshold=0)
    commanded = []
    bench.helper.get_delete_commands = commanded.append
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, "ctl")
    notice(bench, "foreign0", "ctl")
    assert bench.manager.whose(bench.manager.revocations[UTAH, "foreign0"]) is Whose.UNKNOWN
    bench.cycles(3)
    assert commanded == []
    assert bench.events.of("foreign-revoke")


def test_one_that_came_after_the_last_manifest_is_not_cleaned_up_before_the_next_one(shared):
    """Whoever put it there may have it taken at once; the manifest is read as soon as that is announced."""
    commanded = []
    shared.helper.get_delete_commands = commanded.append
    site = shared.server.sites[UTAH]
    extra = SliverNode("extra", "foreign9", UTAH, "foreign-9")
    site.machines["extra"] = FakeMachine(extra, shared.clock.now())
    assert notice(shared, "foreign9", "extra") == 0
    assert shared.manager.whose(shared.manager.revocations[UTAH, "foreign9"]) is Whose.UNKNOWN
    shared.cycles(1, seconds=1)
    shared.cycles(1, seconds=1)
    assert [e.subject for e in shared.events.of("foreign-revoke")] == ["foreign9"]
    assert commanded == []


def test_one_in_no_manifest_at_all_is_cleaned_up_as_ours_once_the_manifests_were_read(shared):
    """It may have left the manifest already: the commands then find nobody."""
    ended = threading.Event()
    shared.helper.get_delete_commands = lambda nodelist: ended.set()
    notice(shared, "pc77", "node-7")
    assert not ended.is_set()
    shared.cycles(2, seconds=1)
    assert ended.wait(10)


def test_resource_values_of_one_are_kept_until_it_is_gone(shared):
    values = {"nodelist": [{"node_id": "foreign0", "client_id": "ctl", "value": 0.5}]}
    shared.manager.SetResourceValues(values)
    shared.cycles(2)
    assert shared.manager.resource_values[UTAH, "foreign0"].value == 0.5
    del shared.server.sites[UTAH].machines["ctl"]
    shared.cycles(2)
    assert not shared.manager.resource_values


def test_a_status_that_cannot_be_told_starts_nobodys_machines(shared):
    shared.server.unreserve(UTAH, "node-1")
    shared.cycles(2)
    assert ("add_nodes", UTAH, []) not in shared.server.calls
    assert not [detail for name, _, detail in shared.server.calls if name == "add_nodes" and not detail]


class OwnNames(SimpleElasticSliceHelper):
    """Gives names that nobody can tell from others'."""

    names = ("web", "db", "mail")

    def owns(self, client_id):
        return False

    def get_add_args(self, count=1):
        free = [name for name in self.names if name not in self._names]
        return {name: {} for name in free[:count]}

    def create_rspec(self):
        return self.request_of(names=["web"])


def test_a_block_store_of_our_own_request_goes_with_the_last_machine(make_bench, clock):
    server = FakeServer(clock)
    server.find_sliver, server.create_sliver = map(with_store, (server.find_sliver, server.create_sliver))
    bench = make_bench(
        server=server,
        config={"clock": clock},
        enable_delete=True,
        minthreshold=1,
        maxthreshold=1,
        percent_available_minimum=0.0,
    )
    bench.cycles(3)
    assert [node.client_id for node in bench.manager.held()] == ["node-1"]
    assert bench.manager.facts().foreign == ()
    bench.manager.minthreshold = bench.manager.maxthreshold = 0
    bench.manager.should_delete_nodes = lambda cm=None: ["node-1"]
    bench.cycles(6)
    assert server.machines() == []
    assert server.count("delete_sliver") == 1


def with_store(find):
    """Have the manifests of a method show a block store beside the machines."""
    store = SliverNode("data", "dboss", UTAH, "store", sliver_type="emulab-blockstore")

    def found(*args):
        sliver = find(*args)
        return sliver and replace(sliver, nodes=(*sliver.nodes, store))

    return found


def run_of(make_bench, server, clock, **config):
    """Another run of the agent, with what it remembers."""
    bench = make_bench(
        server=server,
        config={"clock": clock, **config},
        minthreshold=1,
        maxthreshold=1,
        percent_available_minimum=0.0,
    )
    bench.manager.set_helper(OwnNames(server=server))
    bench.cycles(5)
    return bench.manager


def test_names_that_only_a_site_knows_are_ours_as_long_as_the_ledger_does(make_bench, clock):
    server, memory = FakeServer(clock), {"holdings": MemoryHoldings(), "intents": MemoryIntents()}
    for _ in range(2):
        manager = run_of(make_bench, server, clock, **memory)
        assert [node.client_id for node in manager.held()] == ["web"]
        assert memory["holdings"].holdings()[0].made
    manager = run_of(make_bench, server, clock)
    assert [node.client_id for node in manager.facts().foreign] == ["web"]


class FullHoldings(MemoryHoldings):
    """A disk that is full when what a CM holds is to be written."""

    def put_holding(self, holding):
        raise LedgerError("full")


def test_a_machine_whose_arrival_could_not_be_written_down_is_still_known_by_its_intent(make_bench, clock):
    server, intents = FakeServer(clock), MemoryIntents()
    run_of(make_bench, server, clock, holdings=FullHoldings(), intents=intents)
    assert [intent.client_id for intent in intents.intents()] == ["web"]
    manager = run_of(make_bench, server, clock, holdings=MemoryHoldings(), intents=intents)
    assert [node.client_id for node in manager.held()] == ["web"]
    assert intents.intents() == ()


def test_one_of_such_a_name_that_another_put_in_the_place_of_ours_is_not_ours(make_bench, clock):
    server, memory = FakeServer(clock), {"holdings": MemoryHoldings(), "intents": MemoryIntents()}
    run_of(make_bench, server, clock, **memory)
    machine = server.sites[UTAH].machines["web"]
    machine.node = replace(machine.node, sliver_id="another")
    manager = run_of(make_bench, server, clock, **memory)
    assert [node.client_id for node in manager.facts().foreign] == ["web"]


def test_what_the_site_gives_by_name_is_ours_and_what_it_names_never_is_not(make_bench):
    ownership = Ownership(own=frozenset({"cp-1"}), never=frozenset({"node-1"}))
    bench = make_bench(minthreshold=0, config={"ownership": ownership})
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, "cp-1", "node-1", "ctl")
    bench.manager.update_sliver_status()
    assert [node.client_id for node in bench.manager.held()] == ["cp-1"]
    assert {key.sliver_id for key in bench.manager.facts().unexplained} == {"foreign-0"}


def test_a_sliver_whose_origin_is_not_known_is_given_back_machine_by_machine(make_bench, clock):
    """The ledger is lost: all that is in it is ours, and whether the sliver is cannot be told."""
    server = FakeServer(clock)
    server.keeps_empty_slivers = True
    server.slice_expires = clock.now() + timedelta(days=1)
    for slice_is, asked in ((None, "delete_nodes"), ("shared", "delete_nodes"), ("ours", "delete_sliver")):
        bench = make_bench(
            server=server,
            config={"clock": clock, "ownership": Ownership(slice_is=slice_is)},
            enable_delete=True,
            minthreshold=0,
            maxthreshold=0,
        )
        put(bench, "node-1")
        before = server.count(asked)
        bench.manager.should_delete_nodes = lambda cm=None: ["node-1"]
        bench.manager.update_sliver_status()
        bench.manager.delete_nodes()
        assert server.count(asked) == before + 1
        (told,) = bench.events.of("delete")
        assert told.message.endswith('slice_is = "ours" would say so)') == (slice_is != "ours")
        assert server.machines() == []
        server.sites[UTAH].exists = False


def test_what_will_and_will_not_be_touched_is_logged_at_the_first_look_of_each_start(make_bench, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr("agent.core.slice.news.log", log)
    bench = make_bench(minthreshold=0, maxthreshold=1, percent_available_minimum=0.0, enable_delete=True)
    put(bench, "ctl", "node-9")
    bench.cycles(3)
    ((_, _, told),) = log.calls
    assert told["cm"] == UTAH
    assert told["machines"].startswith("1 ours: node-9 (its name is one that we give); 1 not ours, and left")
    assert told["sliver"] == "stays: only machines of ours are given back there"


def test_where_nothing_is_there_the_first_look_says_so(make_bench, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr("agent.core.slice.news.log", log)
    make_bench().cycles(1)
    assert [(told["machines"], told["sliver"]) for _, _, told in log.calls] == [
        ("none", "none: what we ask for is ours")
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_one_of_such_a_name_that_one_manifest_lacks_is_ours_when_the_next_one_has_it(
    make_bench, clock, whole
):
    server, memory = FakeServer(clock), {"holdings": MemoryHoldings(), "intents": MemoryIntents()}
    manager = run_of(make_bench, server, clock, **memory)
    (web,) = manager.held()
    site = server.sites[UTAH]
    machine = site.machines.pop("web")
    site.exists = not whole
    manager.update_sliver_status()
    assert manager.held() == []
    site.machines["web"], site.exists = machine, True
    manager.update_sliver_status()
    assert manager.held() == [web]
    assert manager.facts().foreign == ()
    assert memory["holdings"].holdings()[0].made


def test_very_many_are_not_all_named_when_they_are_first_seen(make_bench):
    bench = make_bench(minthreshold=0)
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, *(f"cp-{number}" for number in range(NAMED + 3)))
    bench.manager.update_sliver_status()
    (told,) = bench.events.of("foreign")
    assert told.message.endswith(f"cp-{NAMED - 1} (foreign{NAMED - 1}) and 3 more")


DOCUMENT = f"""<rspec xmlns="{RSPEC}" type="request">
  <node client_id="cp-1"><sliver_type name="raw-pc"/></node><node client_id="cp-2"/>
</rspec>"""


def test_what_a_document_asked_for_is_ours_without_a_ledger_too(make_bench, clock):
    server = FakeServer(clock)
    find = server.find_sliver
    # What a manifest repeats of the request that its sliver was made with.
    server.find_sliver = lambda cm: (sliver := find(cm)) and replace(sliver, generator=GENERATOR)
    for _ in range(2):
        bench = make_bench(
            server=server,
            config={"clock": clock},
            minthreshold=1,
            maxthreshold=2,
            percent_available_minimum=0.0,
        )
        bench.manager.set_helper(DocumentHelper(DOCUMENT, "request.xml", server))
        bench.cycles(3)
        assert [node.client_id for node in bench.manager.held()] == ["cp-1", "cp-2"]
        assert bench.manager.facts().unexplained == frozenset()
        assert bench.config.holdings.holdings()[0].made


def test_what_cloudlab_said_of_ours_outlasts_a_foreign_machine_of_the_same_node_id(make_bench):
    """Two CMs may each have a pc100."""
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=1, maxthreshold=1)
    bench.cycles(5)
    (mine,) = bench.manager.held()
    put(bench, "x", cm=WISC)
    bench.server.sites[WISC].machines["ctl"] = FakeMachine(
        SliverNode("ctl", mine.node_id, WISC, "foreign-9"), bench.clock.now()
    )
    bench.cycles(3)
    bench.manager.SetResourceValues({"nodelist": [{"node_id": mine.node_id, "value": 0.7}]})
    notice(bench, mine.node_id, mine.client_id, wait=3600)
    del bench.server.sites[WISC].machines["ctl"]
    bench.cycles(3)
    assert mine.place in bench.manager.revocations
    assert bench.manager.resource_values["", mine.node_id].value == 0.7


def test_a_notice_of_ours_outlasts_the_foreign_machine_whose_place_it_took(make_bench):
    bench = make_bench(minthreshold=0, maxthreshold=0)
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, "ctl")
    site = bench.server.sites[UTAH]
    site.machines["cp-1"] = FakeMachine(SliverNode("cp-1", "pc105", UTAH, "foreign-9"), bench.clock.now())
    bench.cycles(3)
    del site.machines["cp-1"]
    site.machines["node-1"] = FakeMachine(SliverNode("node-1", "pc105", UTAH, "new"), bench.clock.now())
    notice(bench, "pc105", "node-1")
    bench.manager.update_sliver_status()
    assert [node.node_id for node in bench.manager.held()] == ["pc105"]
    assert (UTAH, "pc105") in bench.manager.revocations


def test_of_machines_without_sliver_ids_only_the_one_that_is_meant_goes(make_bench):
    bench = make_bench(minthreshold=0, maxthreshold=0, percent_available_minimum=0.0, enable_delete=True)
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, "ctl", "node-1", "node-2")
    for machine in bench.server.sites[UTAH].machines.values():
        machine.node = replace(machine.node, sliver_id="")
    bench.manager.should_delete_nodes = lambda cm=None: ["node-1"]
    bench.cycles(3)
    assert [node.client_id for node in bench.server.returned] == ["node-1"]


def test_a_name_that_is_never_ours_is_not_given_out(make_bench):
    """A machine of that name would be left alone for ever, and nobody would give it back."""
    bench = make_bench(
        minthreshold=3,
        maxthreshold=3,
        percent_available_minimum=0.0,
        config={"ownership": Ownership(never=frozenset({"node-2"}))},
    )
    bench.cycles(10)
    assert len(bench.manager.held()) == 3
    assert {n.client_id for n in bench.server.machines()} == {n.client_id for n in bench.manager.held()}


def test_no_sliver_and_no_machine_is_asked_for_by_a_name_that_is_never_ours(make_bench):
    """A helper of one's own knows nothing of what the site names."""
    bench = make_bench(minthreshold=1, config={"ownership": Ownership(never=frozenset({"web"}))})
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    bench.manager.request_for = lambda cm: build_request([RequestNode("web")])
    with pytest.raises(ConfigError, match=r"\[request\] never names web, and the request asks for it"):
        bench.manager.create_sliver(UTAH)
    put(bench, "ctl")
    bench.manager.update_sliver_status()
    bench.manager.should_add_nodes = lambda count=0, cm=None: {"web": {}}
    with pytest.raises(ConfigError, match=r"client_id 'web': \[request\] never names it"):
        bench.manager.add_nodes(cm=UTAH)
    assert not calls(bench) & {"create_sliver", "add_nodes"}
    assert not bench.manager.requested()


def test_what_is_remembered_of_another_slice_says_nothing_of_this_one(make_bench):
    """The ledger stays when the agent moves into an experiment: with a virtual machine as its head, say."""
    holdings = MemoryHoldings()
    holdings.put_holding(Holding(UTAH, {"node-1": "old"}, None, made=True, sliver_urn="another"))
    bench = make_bench(
        minthreshold=0,
        maxthreshold=1,
        percent_available_minimum=0.0,
        enable_delete=True,
        config={"holdings": holdings},
    )
    bench.server.slice_expires = bench.clock.now() + timedelta(days=1)
    put(bench, "ctl")
    machine = bench.server.sites[UTAH].machines["ctl"]
    machine.node = replace(machine.node, sliver_type="emulab-xen")
    bench.cycles(3)
    assert [node.client_id for node in bench.manager.held()] == ["node-1"]
    assert [node.client_id for node in bench.manager.facts().foreign] == ["ctl"]
    bench.manager.should_add_nodes = lambda count=0, cm=None: None
    bench.manager.should_delete_nodes = lambda cm=None: ["node-1"]
    bench.cycles(5)
    assert [node.client_id for node in bench.server.returned] == ["node-1"]
    assert "delete_sliver" not in calls(bench)


def test_what_a_colleague_adds_to_a_sliver_of_ours_keeps_it_though_it_is_no_machine(make_bench):
    bench = make_bench(minthreshold=1, maxthreshold=1, percent_available_minimum=0.0, enable_delete=True)
    bench.cycles(3)
    put(bench, "vm")
    machine = bench.server.sites[UTAH].machines["vm"]
    machine.node = replace(machine.node, sliver_type="emulab-xen")
    bench.cycles(2)
    assert [e.message for e in bench.events.of("foreign")] == ["not ours, and left alone: vm (foreign0)"]
    bench.manager.should_add_nodes = lambda count=0, cm=None: None
    bench.manager.should_delete_nodes = lambda cm=None: ["node-1"]
    bench.cycles(5)
    assert [node.client_id for node in bench.server.returned] == ["node-1"]
    assert "delete_sliver" not in calls(bench)


def test_a_sliver_that_another_makes_meanwhile_with_the_names_of_our_request_is_not_ours(make_bench):
    """The portal makes the very profile that is our request too."""
    bench = make_bench(minthreshold=1, maxthreshold=2, percent_available_minimum=0.0, enable_delete=True)
    bench.manager.set_helper(DocumentHelper(DOCUMENT, "request.xml", bench.server))

    def come_too_late(cm, request):
        put(bench, "cp-1", "cp-2", cm=cm)
        raise AlreadyExistsError("Must delete existing slice first", code=7)

    bench.server.create_sliver = come_too_late
    bench.cycles(8)
    assert [node.client_id for node in bench.manager.facts().foreign] == ["cp-1", "cp-2"]
    assert {node.client_id for node in bench.manager.held()} <= {"node-1", "node-2"}
    assert bench.server.returned == []
    assert not bench.config.holdings.holdings()[0].made


def test_one_that_another_adds_meanwhile_under_the_name_that_we_ask_for_is_not_ours(make_bench, clock):
    server = FakeServer(clock)
    bench = make_bench(server=server, config={"clock": clock}, maxthreshold=1, percent_available_minimum=0.0)
    bench.manager.set_helper(OwnNames(server=server))
    bench.cycles(3)

    def come_too_late(cm, nodes):
        if "db" in nodes:
            put(bench, "db", cm=cm)
        raise AlreadyExistsError("Already have db in the topology!", code=1)

    server.add_nodes = come_too_late
    bench.manager.minthreshold = bench.manager.maxthreshold = 2
    bench.cycles(6)
    assert [node.client_id for node in bench.manager.held()] == ["web"]
    assert [node.client_id for node in bench.manager.facts().foreign] == ["db"]
    assert bench.manager.requested() == []


def test_a_machine_that_is_never_ours_and_comes_for_one_that_we_asked_for_is_told_to_a_person(make_bench):
    """Which machine comes is the CM's choice; it stays held until a person gives it back."""
    bench = make_bench(
        config={"ownership": Ownership(never=frozenset({"pc100"}))},
        minthreshold=1,
        maxthreshold=1,
        percent_available_minimum=0.0,
    )
    bench.cycles(4)
    (told,) = bench.events.of("unwelcome")
    assert (told.subject, told.is_notable) == ("pc100", True)
    assert told.message == "pc100 came as node-1, which we asked for: [request] never names it"
    assert "pc100" not in {node.node_id for node in bench.manager.held()}
