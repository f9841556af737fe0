"""A CM that does not answer after a restart: what it may hold counts, and the other CMs go on."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import CycleSettings, MemoryHoldings
from agent.core.errors import LedgerError
from agent.core.model import Holding, Sliver, SliverNode
from agent.core.slice.holdings import Holdings
from agent.ledger.ledger import Ledger

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def ledger():
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


@pytest.fixture
def restart(make_bench):
    """Hold two machines at each of two CMs, then start anew with the first CM dead and ``most`` allowed."""

    def restart(most, **stores):
        before = make_bench(
            server={"cms": (UTAH, WISC)},
            helper={"num_pcs": 2},
            minthreshold=4,
            maxthreshold=4,
            config=stores,
        )
        before.cycles(6)
        assert [len(before.server.machines(cm)) for cm in (UTAH, WISC)] == [2, 2]
        for method in ("find_sliver", "discover", "sliver_status", "add_nodes", "renew_sliver"):
            before.server.fault(method, *["unreachable"] * 10_000, cm=UTAH)
        return make_bench(
            server=before.server,
            minthreshold=most,
            maxthreshold=most,
            config={"clock": before.clock, "cycle": CycleSettings(boot_timeout="10m"), **stores},
        )

    return restart


def counts(bench):
    return [len(bench.server.machines(cm)) for cm in (UTAH, WISC)]


def test_with_a_ledger_a_dead_cm_counts_with_what_it_held_and_the_other_grows_at_once(restart, ledger):
    bench = restart(5, intents=ledger, holdings=ledger)
    bench.cycles(2)
    assert bench.manager.in_use() == 5
    assert counts(bench) == [2, 3]
    names = [m.client_id for m in bench.server.machines()]
    assert len(set(names)) == 5, "nor is a name given out that is in use there"
    bench.cycles(60)
    assert counts(bench) == [2, 3], "and never beyond the most"


def test_without_a_ledger_growth_waits_for_the_dead_cm(restart):
    bench = restart(5)
    bench.cycles(20)
    assert counts(bench) == [2, 2]
    assert f"what {UTAH} holds is not known yet" in bench.manager.manage_once(force=True)
    bench.server.faults.clear()
    bench.cycles(3)
    assert counts(bench) == [2, 3] or counts(bench) == [3, 2]


def test_without_a_ledger_the_wait_ends_after_its_patience(restart):
    bench = restart(5)
    bench.cycles(29)
    assert counts(bench) == [2, 2]
    bench.cycles(6)
    assert counts(bench) == [2, 5], "it counts as empty from then on, as the setting says"


def test_growth_goes_on_in_the_same_cycle_once_every_cm_was_heard(restart):
    bench = restart(5)
    bench.server.faults.clear()
    bench.cycles(2, seconds=0)
    assert sum(counts(bench)) == 5


def test_what_a_dead_cm_held_counts_until_its_lease_has_run_out(restart, ledger):
    bench = restart(5, intents=ledger, holdings=ledger)
    expires = next(h.expires for h in ledger.holdings() if h.cm == UTAH)
    while expires - bench.clock.now() > timedelta(minutes=30):
        bench.cycles(1, seconds=1200)
    assert bench.manager.in_use() == 5
    bench.clock.advance((expires - bench.clock.now()).total_seconds() + 60)
    assert bench.manager.in_use() == 3


def test_a_new_slice_holds_nothing_anywhere(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=1, maxthreshold=1)
    bench.server.fault("find_sliver", *["unreachable"] * 1000, cm=WISC)
    bench.cycles(3)
    assert counts(bench) == [1, 0]


# --- the memory of it


class Clock:
    now_ = NOON

    def now(self):
        return self.now_

    steady = now

    def monotonic(self):
        return 0.0


def sliver(*names):
    nodes = tuple(SliverNode(name, f"pc-{name}", UTAH, f"id-{name}") for name in names)
    return Sliver(UTAH, "urn", NOON + timedelta(hours=1), nodes, "")


def hear(memory, cm, said):
    """Let a CM say what it holds, all of it ours."""
    return memory.heard(cm, said, said.nodes if said else (), asked=False)


def test_what_was_heard_is_stored_when_it_changed(ledger):
    memory = Holdings(ledger, [UTAH, WISC], Clock(), 60)
    assert memory.unknown() == [UTAH, WISC]
    assert hear(memory, UTAH, sliver("a"))
    assert not hear(memory, UTAH, sliver("a", "b"))
    assert hear(memory, WISC, None)
    assert memory.presumed() == set()
    assert memory.unknown() == []
    assert list(ledger.holdings()) == [
        Holding(UTAH, {"a": "id-a", "b": "id-b"}, NOON + timedelta(hours=1), sliver_urn="urn"),
        Holding(WISC, {}, None, there=False),
    ]
    again = Holdings(ledger, [UTAH, WISC], Clock(), 60)
    assert again.presumed() == {(UTAH, "a"), (UTAH, "b")}
    assert again.unknown() == []


def test_a_cm_that_is_not_in_use_any_more_does_not_count(ledger):
    hear(Holdings(ledger, [UTAH], Clock(), 60), UTAH, sliver("a"))
    assert Holdings(ledger, [WISC], Clock(), 60).presumed() == set()


def test_a_store_that_cannot_be_written_is_written_at_the_next_word():
    class Full(MemoryHoldings):
        full = True

        def put_holding(self, holding):
            if self.full:
                raise LedgerError("disk full")
            super().put_holding(holding)

    store = Full()
    memory = Holdings(store, [UTAH], Clock(), 60)
    hear(memory, UTAH, sliver("a"))
    assert store.holdings() == ()
    store.full = False
    hear(memory, UTAH, sliver("a"))
    assert [h.machines for h in store.holdings()] == [{"a": "id-a"}]
