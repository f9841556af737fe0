"""Manifests that lack what is there: it counts until it is known to be gone, and no sliver goes for it."""

import random
from dataclasses import replace

import pytest

from agent.core.config import CycleSettings, MemoryHoldings
from agent.core.errors import BusyError, CloudlabError
from agent.core.events import EventKind
from agent.core.manager import SimpleElasticSliceManager
from agent.core.notices.foreign import Whose
from agent.core.ownership import Ownership
from agent.ledger.ledger import Ledger
from tests.unit.core.conftest import Killed

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
MOST = 3


class Wanting(SimpleElasticSliceManager):
    """Wants as many machines as the test says, as a cluster's queue would."""

    wanted = MOST
    surplus = ()
    everywhere = True

    def should_create_sliver(self, cm):
        return self.in_use() < self.wanted and (self.everywhere or cm == UTAH)

    def should_add_nodes(self, count=0, cm=None):
        return max(self.wanted - self.in_use(), 0)

    def should_delete_nodes(self, cm=None):
        return [n.client_id for n in self.held(cm) if n.client_id in self.surplus]


class Odd:
    """Has each manifest of a CM lack machines, or the whole sliver, as a test says, once for each entry."""

    def __init__(self, server):
        self.due = {cm: [] for cm in server.cms}
        server.odd = self

    def __call__(self, cm, sliver):
        lacks = self.due[cm].pop(0) if self.due[cm] else ()
        if lacks is None or sliver is None:
            return None
        return replace(sliver, nodes=tuple(n for n in sliver.nodes if n.client_id not in lacks))


@pytest.fixture
def bench(make_bench):
    made = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Wanting,
        enable_delete=True,
        config={"holdings": MemoryHoldings()},
    )
    made.manager.everywhere = False
    made.cycles(6)
    made.manager.everywhere = True
    assert [m.client_id for m in made.server.machines(UTAH)] == ["node-1", "node-2", "node-3"]
    made.odd = Odd(made.server)
    return made


def again(make_bench, bench, **config):
    """Start the agent anew, with what it wrote down."""
    kept = {"clock": bench.clock, "holdings": bench.config.holdings, "intents": bench.config.intents}
    return make_bench(
        server=bench.server, manager_class=Wanting, enable_delete=True, config={**kept, **config}
    )


ALL = ("node-1", "node-2", "node-3")


@pytest.mark.parametrize("lacks", [("node-2",), ALL, None], ids=["one", "all", "the sliver"])
def test_what_one_manifest_lacks_counts_and_keeps_its_name(bench, lacks):
    bench.odd.due[UTAH] = [lacks]
    bench.manager.update_sliver_status(UTAH)
    assert bench.manager.in_use() == MOST
    assert bench.manager._slivers.names() >= set(ALL)
    assert {n.client_id for n in bench.manager.facts().doubted} == set(ALL if lacks is None else lacks)
    assert bench.manager.facts().unseen == {(UTAH, name) for name in (ALL if lacks is None else lacks)}
    for cm in (WISC, UTAH):
        bench.manager.ensure_sliver(cm)
        bench.manager.add_nodes(cm=cm)
    assert len(bench.server.machines()) == MOST
    bench.cycles(6)
    assert [m.client_id for m in bench.server.machines()] == [*ALL]
    assert bench.manager.facts().doubted == ()
    assert bench.manager.facts().unseen == frozenset()


@pytest.mark.parametrize("lacks", [("node-2",), ALL, None], ids=["one", "all", "the sliver"])
def test_what_the_first_manifest_after_a_restart_lacks_counts_too(make_bench, bench, lacks):
    bench.odd.due[UTAH] = [lacks]
    manager = again(make_bench, bench).manager
    manager.update_sliver_status()
    assert manager.in_use() == MOST
    assert manager._slivers.names() >= set(ALL)
    bench.odd.due[UTAH] = [lacks]
    manager = again(make_bench, bench).manager
    manager.update_sliver_status()
    assert manager.in_use() == MOST, "the ledger has it still"
    manager.update_sliver_status()
    assert sorted(n.client_id for n in manager.held()) == [*ALL]
    assert manager.facts().doubted == ()


def test_what_went_while_the_agent_was_down_counts_no_more_after_some_manifests(make_bench, bench):
    bench.server.vanish(UTAH, "node-2")
    begun = again(make_bench, bench)
    begun.manager.update_sliver_status()
    assert begun.manager.in_use() == MOST
    begun.manager.clock.advance(15)
    begun.manager.update_sliver_status()
    assert begun.manager.in_use() == MOST - 1
    assert {name for h in bench.config.holdings.holdings() for name in h.machines} == {"node-1", "node-3"}


def test_a_machine_that_the_first_manifest_lacks_and_the_next_one_has_is_told_as_others_are(
    make_bench, bench
):
    bench.odd.due[UTAH] = [("node-2",)]
    begun = again(make_bench, bench)
    begun.manager.update_sliver_status()
    begun.manager.update_sliver_status()
    told = [e.message.split()[2] for e in bench.events.of(EventKind.ADOPTED)]
    assert told == []
    told = sorted(e.message.split()[2] for e in begun.events.of(EventKind.ADOPTED))
    assert told == ["(node-1):", "(node-2):", "(node-3):"]


def test_a_sliver_that_one_manifest_denies_is_ours_afterwards_and_goes_with_its_last_machine(bench):
    bench.odd.due[UTAH] = [None]
    bench.manager.ensure_sliver(UTAH)
    assert bench.server.count("create_sliver", UTAH) == 1, "the one that made it"
    bench.manager.ensure_sliver(UTAH)
    bench.manager.wanted, bench.manager.surplus = 0, ALL
    bench.manager.delete_nodes()
    assert bench.server.machines() == []
    assert not bench.server.sites[UTAH].exists


def test_an_empty_sliver_that_one_manifest_denies_is_ours_afterwards(make_bench):
    bench = make_bench(manager_class=Wanting, enable_delete=True, config={"holdings": MemoryHoldings()})
    bench.manager.wanted = 1
    bench.cycles(6)
    bench.manager.wanted = 0
    bench.server.vanish(UTAH, "node-1")
    odd = Odd(bench.server)
    odd.due[UTAH] = [(), (), None]
    bench.manager.update_sliver_status()
    bench.manager.update_sliver_status()
    bench.manager.ensure_sliver()
    assert bench.config.holdings.holdings()[0].there
    bench.cycles(6)
    assert not bench.server.sites[UTAH].exists


@pytest.mark.parametrize("lacks", [ALL, None], ids=["machines", "the sliver"])
def test_a_new_sliver_whose_first_manifest_lacks_all_that_we_asked_for_is_ours(make_bench, lacks):
    bench = make_bench(manager_class=Wanting, enable_delete=True, config={"holdings": MemoryHoldings()})
    bench.manager.wanted = 1
    Odd(bench.server).due[UTAH] = [(), lacks]
    bench.server.fault("create_sliver", "done-lost")
    bench.cycles(6)
    assert bench.manager.held()
    bench.manager.wanted, bench.manager.surplus = 0, ALL
    bench.cycles(6)
    assert not bench.server.sites[UTAH].exists


@pytest.mark.parametrize("lacks", [("node-2",), ALL, None], ids=["it", "all", "the sliver"])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_one_manifest_does_not_settle_a_delete_whose_reply_was_lost(make_bench, bench, lacks, is_restarted):
    bench.manager.surplus = ("node-2",)
    bench.server.fault("delete_nodes", "killed" if is_restarted else "lost")
    bench.odd.due[UTAH] = [(), lacks]
    try:
        bench.manager.delete_nodes(cm=UTAH)
    except Killed:
        bench = again(make_bench, bench)
        bench.manager.ensure_slice()
        bench.manager.update_sliver_status()
    assert bench.manager.in_use() == MOST
    assert [i.client_id for i in bench.config.intents.intents()] == ["node-2"]
    assert not bench.events.of(EventKind.GONE)
    bench.cycles(4, check=lambda: check_most(bench))


def check_most(bench):
    assert len(bench.server.machines()) <= MOST


def test_a_sliver_that_is_gone_is_made_anew_after_some_manifests(bench):
    bench.server.delete_sliver(UTAH)
    bench.cycles(8)
    assert len(bench.server.machines()) == MOST
    assert bench.manager.in_use() == MOST


def test_a_revocation_of_a_machine_in_doubt_waits_for_the_next_manifest(bench):
    bench.manager.start_delete = lambda _: None
    (node,) = [n for n in bench.manager.held() if n.client_id == "node-2"]
    bench.odd.due[UTAH] = [("node-2",)]
    bench.manager.NotifyDeletePending({"nodelist": [{"node_id": node.node_id, "max_wait_time": 600}]})
    bench.clock.advance(1)
    bench.manager.update_sliver_status()
    (revocation,) = bench.manager.revocations.values()
    assert bench.manager.whose(revocation) is Whose.UNKNOWN
    bench.manager.update_sliver_status()
    assert bench.manager.whose(revocation) is Whose.OURS


# --- giving the whole sliver back


@pytest.mark.parametrize("lacks", [("node-2",), ("node-2", "node-3")])
def test_one_manifest_that_lacks_machines_does_not_give_the_whole_sliver_back(bench, lacks):
    bench.manager.wanted, bench.manager.surplus = 1, [n for n in ALL if n not in lacks]
    bench.odd.due[UTAH] = [lacks, lacks[:1]]
    bench.manager.delete_nodes()
    assert bench.server.count("delete_sliver") == 0
    assert {m.client_id for m in bench.server.machines()} >= set(lacks)


def test_nor_does_it_in_the_first_look_of_an_agent_that_remembers_nothing(make_bench, bench):
    begun = make_bench(
        server=bench.server,
        manager_class=Wanting,
        enable_delete=True,
        config={"clock": bench.clock, "holdings": MemoryHoldings(), "ownership": Ownership(slice_is="ours")},
    )
    begun.manager.wanted, begun.manager.surplus = 1, ["node-1"]
    bench.odd.due[UTAH] = [("node-2", "node-3")] * 2
    begun.manager.update_sliver_status()
    begun.manager.delete_nodes()
    assert bench.server.count("delete_sliver") == 0
    assert len(bench.server.machines()) == MOST


def test_a_status_that_cannot_be_had_now_keeps_the_sliver(bench):
    bench.manager.wanted, bench.manager.surplus = 0, ALL
    bench.server.fault("sliver_status", "busy")
    with pytest.raises(BusyError):
        bench.manager.delete_nodes()
    assert bench.server.count("delete_sliver") == 0
    bench.manager.delete_nodes()
    assert bench.server.machines() == []


def test_a_machine_without_which_there_is_no_status_goes_with_its_sliver(bench):
    bench.manager.wanted, bench.manager.surplus = 0, ALL
    bench.server.unreserve(UTAH, "node-1")
    with pytest.raises(CloudlabError, match="Error"):
        bench.manager.update_sliver_status(force=True)
    bench.manager.delete_nodes()
    assert not bench.server.sites[UTAH].exists


# --- whatever manifests say


class Forgetful:
    """Has manifests lack machines, and slivers, at random: none so often in a row that it counts as gone."""

    def __init__(self, chance, sightings):
        self.chance = chance
        self.sightings = sightings
        self.lacked = {}

    def __call__(self, cm, sliver):
        if sliver is None:
            return None
        names = [n.client_id for n in sliver.nodes]
        may = [n for n in ["", *names] if self.lacked.get((cm, n), 0) < self.sightings - 1]
        lacks = {n for n in may if self.chance.random() < 0.25}
        if "" in lacks and len(may) <= len(names):
            lacks.discard("")
        lacks = {"", *names} if "" in lacks else lacks
        for name in ("", *names):
            self.lacked[cm, name] = self.lacked.get((cm, name), 0) + 1 if name in lacks else 0
        if "" in lacks:
            return None
        return replace(sliver, nodes=tuple(n for n in sliver.nodes if n.client_id not in lacks))


@pytest.mark.parametrize("sightings", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_no_manifest_lets_more_machines_be_lent_than_are_allowed(make_bench, seed, sightings):
    chance = random.Random(seed)
    ledger = Ledger(":memory:")
    parts = {"intents": ledger, "holdings": ledger, "revocations": ledger}
    cycle = CycleSettings(boot_timeout="10m", gone_sightings=sightings)
    bench = make_bench(
        server={"cms": (UTAH, WISC), "pool": 6},
        manager_class=Wanting,
        enable_delete=True,
        config={**parts, "cycle": cycle},
    )
    server = bench.server
    server.odd = Forgetful(chance, sightings)
    for _ in range(80):
        if chance.random() < 0.1:
            bench = make_bench(
                server=server,
                manager_class=Wanting,
                enable_delete=True,
                config={**parts, "clock": bench.clock, "cycle": cycle},
            )
        bench.manager.wanted = chance.choice([1, MOST, MOST])
        held = [n.client_id for n in bench.manager.held()]
        bench.manager.surplus = chance.sample(held, min(len(held), chance.choice([0, 0, 0, 1, 3])))
        going = {n.sliver_id for n in bench.manager.held() if n.client_id in bench.manager.surplus}
        before = len(server.returned)
        if chance.random() < 0.2:
            server.fault("delete_nodes", chance.choice(["lost", "done-lost", "done-garbage"]))
        bench.manager.manage_once()
        server.faults.clear()
        bench.clock.advance(chance.choice([10, 60]))
        assert len(server.machines()) <= MOST
        assert {n.sliver_id for n in server.returned[before:]} <= going, "nothing else was given back"
        names = [m.client_id for m in server.machines(UTAH)]
        assert len(names) == len(set(names))
    server.odd = lambda _cm, sliver: sliver
    bench.manager.wanted, bench.manager.surplus = MOST, ()
    bench.cycles(20)
    assert len(server.machines()) == bench.manager.in_use() == MOST
    ledger.close()
