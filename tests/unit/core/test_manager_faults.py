"""Random faults and kills: no machine leaks, none is doubled, and the thresholds hold all the while."""

import random

import pytest

from agent.core.config import MemoryIntents
from agent.core.manager import SimpleElasticSliceManager
from agent.ledger.ledger import Ledger

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
MOST = 5

ANYWHERE = ["busy", "unreachable", "lost", "done-lost", "done-garbage", "done-error", "done-cut"]
FAULTS = {
    "find_slice": ["busy", "unreachable", "lost"],
    "create_slice": ["unreachable", "lost", "done-lost"],
    "renew_slice": ["busy", "unreachable", "lost", "done-lost"],
    "find_sliver": ["busy", "unreachable", "lost"],
    "create_sliver": [*ANYWHERE, "insufficient", "late"],
    "add_nodes": [*ANYWHERE, "insufficient", "late"],
    "delete_nodes": ANYWHERE,
    "delete_sliver": ANYWHERE,
    "renew_sliver": ["busy", "unreachable", "done-lost"],
    "sliver_status": ["busy", "unreachable", "lost"],
    "discover": ["unreachable", "lost"],
}
WRITES = ("create_slice", "renew_slice", "create_sliver", "add_nodes", "delete_nodes", "delete_sliver")


class Wanting(SimpleElasticSliceManager):
    """Wants as many machines as the test says, as a cluster's queue would."""

    wanted = 0

    def should_create_sliver(self, cm):
        return self.in_use() < self.wanted

    def should_add_nodes(self, count=0, cm=None):
        return max(self.wanted - self.in_use(), 0)

    def should_delete_nodes(self, cm=None):
        surplus = len(self.held()) - self.wanted
        return [n.client_id for n in self.inventory.with_fate("ready", cm)][: max(surplus, 0)]


class World:
    """A bench whose manager is killed and started again, with or without what it wrote down."""

    def __init__(self, make_bench, chance, store):
        self.chance = chance
        self.make = make_bench
        self.store = store
        self.bench = make_bench(
            server={"cms": (UTAH, WISC), "pool": 6},
            manager_class=Wanting,
            enable_delete=True,
            config={"intents": store},
        )
        self.server, self.clock = self.bench.server, self.bench.clock
        self.told = []

    def restart(self, *, keep):
        if not keep and not isinstance(self.store, Ledger):
            self.store = MemoryIntents()
        wanted = self.bench.manager.wanted
        self.told += self.bench.helper.told
        self.bench = self.make(
            server=self.server,
            manager_class=Wanting,
            enable_delete=True,
            config={"clock": self.clock, "intents": self.store},
        )
        self.bench.manager.wanted = wanted

    def turn(self, *, keep=True):
        try:
            self.bench.manager.manage_once()
        except BaseException as error:
            if type(error).__name__ != "Killed":
                raise
            self.restart(keep=keep)
        self.clock.advance(self.chance.choice([10, 30, 60, 120]))

    def check_names(self):
        for cm in self.server.cms:
            names = [m.client_id.lower() for m in self.server.machines(cm)]
            assert len(names) == len(set(names))

    def settle(self, wanted):
        """Let what hangs fail, then what is left alone for that be asked for again."""
        self.server.faults.clear()
        self.server.boots.clear()
        self.bench.manager.wanted = wanted
        for wait in (0, 4 * 3600):
            self.clock.advance(wait)
            for _ in range(15):
                self.bench.manager.manage_once()
                self.clock.advance(120)

    def check_settled(self, wanted):
        server, manager = self.server, self.bench.manager
        assert sorted(manager.held(), key=str) == sorted(server.machines(), key=str), (
            "all that is held is known"
        )
        assert len(server.machines()) == wanted
        assert manager.requested() == []
        assert not manager.is_deleting()
        assert not server.late
        kept = {m.sliver_id for m in server.machines()}
        gone = {m.sliver_id for m in [*server.returned, *server.vanished]}
        assert {m.sliver_id for m in server.added} == kept | gone, "asked = held + given back + taken"
        assert not kept & gone
        told = [*self.told, *self.bench.helper.told]
        ready = [sliver_id for _, sliver_id, what in self.bench.helper.told if what == "ready"]
        deleted = [sliver_id for _, sliver_id, what in told if what == "deleted"]
        assert len(ready) == len(set(ready))
        assert len(deleted) == len(set(deleted))
        assert set(ready) >= kept
        assert not set(deleted) & kept


@pytest.fixture(params=["memory", "ledger"])
def store(request):
    if request.param == "memory":
        yield MemoryIntents()
        return
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


@pytest.mark.parametrize("seed", range(8))
def test_machines_asked_are_machines_held_or_given_back_after_random_faults(make_bench, store, seed):
    chance = random.Random(seed)
    world = World(make_bench, chance, store)
    server = world.server
    for _ in range(150):
        world.bench.manager.wanted = chance.choice([0, 1, 3, MOST, world.bench.manager.wanted])
        if chance.random() < 0.5:
            method = chance.choice(list(FAULTS))
            kinds = FAULTS[method]
            server.fault(
                method, *chance.choices(kinds, k=chance.choice([1, 1, 3])), cm=chance.choice([None, UTAH])
            )
        if chance.random() < 0.2:
            server.boots.append(chance.choice(["fails", "hangs"]))
        if chance.random() < 0.05 and server.machines(UTAH):
            server.vanish(UTAH, chance.choice(server.machines(UTAH)).client_id)
        world.turn()
        world.check_names()
        # A machine that arrives late was counted all the while.
        assert len(server.machines()) <= MOST
    world.settle(3)
    world.check_settled(3)
    world.settle(0)
    world.check_settled(0)


@pytest.mark.parametrize("keep", [True, False], ids=["ledger kept", "ledger lost"])
@pytest.mark.parametrize("when", ["killed", "done-killed"])
@pytest.mark.parametrize("method", WRITES)
def test_a_kill_at_any_call_loses_and_doubles_nothing(make_bench, method, when, keep):
    chance = random.Random(1)
    for turns_before in (0, 2):
        world = World(make_bench, chance, MemoryIntents())
        world.bench.manager.wanted = 3
        for _ in range(turns_before):
            world.turn()
        world.server.fault(method, when)
        for wanted in (4, 3, 0, 2):
            world.bench.manager.wanted = wanted
            for _ in range(5):
                world.turn(keep=keep)
                world.clock.advance(1500)
                world.check_names()
                assert len(world.server.machines()) <= 4
        assert turns_before or not world.server.faults[method, None], "the call was reached"
        world.settle(2)
        world.check_settled(2)


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_lose_and_double_nothing(make_bench, store, seed):
    chance = random.Random(1000 + seed)
    world = World(make_bench, chance, store)
    for _ in range(80):
        world.bench.manager.wanted = chance.choice([0, 2, MOST, world.bench.manager.wanted])
        if chance.random() < 0.4:
            method = chance.choice(list(FAULTS))
            world.server.fault(method, chance.choice(["killed", "done-killed"]))
        world.turn()
        world.check_names()
        assert len(world.server.machines()) <= MOST
    world.settle(2)
    world.check_settled(2)
