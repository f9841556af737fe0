"""A CM that agent.conf has no more: it is told, looked after until nothing is held there, and then over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import CycleSettings
from agent.core.events import EventKind
from agent.core.model import Holding, Intent, IntentKind, RetiredCm
from agent.core.slice.retired import why_over
from agent.core.slice.words import retired_words
from agent.ledger.ledger import Ledger

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
URL = "https://utah.example.net:12369/protogeni/xmlrpc/cm/2.0"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
METHODS = ("find_sliver", "discover", "sliver_status", "add_nodes", "renew_sliver", "delete_nodes")
HELD = RetiredCm(UTAH, URL, ("es-1",), True, NOON + HOUR, heard=True)
EMPTY = RetiredCm(UTAH, URL, heard=True)


@pytest.fixture
def ledger():
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


@pytest.fixture
def restart(make_bench, ledger):
    """Hold two machines at each of two CMs; then start anew with the first one taken out of agent.conf."""

    def restart(most=4, silent=False, url=URL, intents=(), at_both=2):
        stores = {"intents": ledger, "holdings": ledger}
        before = make_bench(
            server={"cms": (UTAH, WISC)},
            helper={"num_pcs": at_both},
            minthreshold=2 * at_both,
            maxthreshold=2 * at_both,
            config=stores,
        )
        before.cycles(6)
        ledger.add_intents([replace(intent, asked=before.clock.now()) for intent in intents])
        if silent:
            for method in METHODS:
                before.server.fault(method, *["unreachable"] * 10_000, cm=UTAH)
        if not url:
            before.server.cms.remove(UTAH)
        return make_bench(
            server=before.server,
            minthreshold=most,
            maxthreshold=most,
            config={
                "clock": before.clock,
                "cycle": CycleSettings(boot_timeout="10m"),
                "retired": {UTAH: url},
                **stores,
            },
        )

    return restart


def counts(bench):
    return [len(bench.server.sites[cm].machines) for cm in (UTAH, WISC)]


def told(bench):
    return [event.message for event in bench.events.of(EventKind.RETIRED)]


# --- while something is held there


def test_what_is_held_there_is_told_once_and_counts(restart):
    bench = restart(most=5)
    bench.cycles(3)
    assert bench.manager.in_use() == 5
    assert counts(bench) == [2, 3], "growth goes on elsewhere"
    (message,) = told(bench)
    assert "es-1, es-2" in message or "node-1, node-2" in message
    assert f"`esagent teardown --cm {UTAH}`" in message
    (report,) = bench.manager.retired.reports()
    assert (report.urn, report.url, len(report.machines), report.heard) == (UTAH, URL, 2, True)
    assert report.expires == bench.manager.facts().leases[UTAH]


def test_nothing_more_is_borrowed_there_nor_is_it_asked_what_is_free(restart):
    bench = restart(most=30)
    asked = bench.server.count("discover", UTAH)
    bench.cycles(5)
    assert counts(bench) == [2, 10]
    assert bench.manager.facts().cms == (WISC,)
    bench.manager.add_nodes(1, UTAH)
    assert counts(bench) == [2, 10], "not even where somebody asks for it"
    assert bench.server.count("discover", UTAH) == asked


def test_its_lease_is_renewed_while_a_machine_is_held_there(restart):
    bench = restart()
    before = bench.server.sites[UTAH].expires
    bench.cycles(14, seconds=3600)
    assert bench.server.sites[UTAH].expires > before


def test_it_is_over_once_nothing_is_held_there(restart, ledger):
    bench = restart()
    bench.cycles(2)
    bench.server.delete_sliver(UTAH)
    bench.cycles(3)
    assert "nothing is held there" in told(bench)[-1]
    assert bench.manager.retired.reports() == ()
    assert [holding.cm for holding in ledger.holdings()] == [WISC]
    asked = bench.server.count("find_sliver", UTAH)
    bench.cycles(3)
    assert bench.server.count("find_sliver", UTAH) == asked, "nobody asks it any more"
    assert len(told(bench)) == 2
    assert bench.manager.facts().all_read
    assert counts(bench) == [0, 4]


def test_an_intent_there_ends_with_what_its_manifest_says(restart, ledger):
    lost = Intent(IntentKind.ADD, UTAH, "node-9", NOON)
    bench = restart(most=5, intents=[lost])
    bench.cycles(2)
    assert [intent.client_id for intent in bench.manager.requested()] == ["node-9"]
    assert counts(bench) == [2, 2], "it may still come"
    bench.clock.advance(1000)
    bench.cycles(3)
    assert bench.manager.requested() == []
    assert counts(bench) == [2, 3]


def test_one_with_another_urn_is_told_once(make_bench):
    bench = make_bench(server={"cms": (WISC,)}, config={"renamed": {UTAH: WISC}})
    bench.cycles(2)
    (event,) = bench.events.of(EventKind.RENAMED)
    assert event.subject == WISC
    assert f"what {UTAH} is called" in event.message
    assert told(bench) == []


def test_of_a_cm_that_is_only_left_out_of_those_in_use_nothing_is_forgotten_either(restart, make_bench):
    before = restart()
    stores = {name: getattr(before.config, name) for name in ("clock", "intents", "holdings", "cycle")}
    bench = make_bench(server=before.server, minthreshold=5, maxthreshold=5, cmlist=[WISC], config=stores)
    bench.cycles(3)
    assert bench.manager.cmlist == (WISC, UTAH)
    assert counts(bench) == [2, 3]
    (report,) = bench.manager.retired.reports()
    assert (report.urn, len(report.machines), report.can_be_asked) == (UTAH, 2, True)


def test_a_cm_that_nothing_is_known_of_stays_out_of_use(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)}, cmlist=[WISC])
    assert (bench.manager.cmlist, bench.manager.retired.reports()) == ((WISC,), ())


# --- while it is silent


def test_a_silent_one_counts_with_what_it_held_until_its_lease_has_run_out(restart, ledger):
    bench = restart(most=5, silent=True)
    bench.cycles(20)
    assert counts(bench) == [2, 3]
    assert "as far as is remembered" in told(bench)[0]
    (expires,) = (h.expires for h in ledger.holdings() if h.cm == UTAH)
    while bench.clock.now() <= expires:
        bench.cycles(1, seconds=1200)
    bench.cycles(3)
    assert "its lease ended at" in told(bench)[-1]
    assert bench.manager.retired.reports() == ()
    assert counts(bench) == [2, 5]
    assert bench.manager.facts().all_read
    assert [holding.cm for holding in ledger.holdings()] == [WISC]


def test_an_intent_at_a_silent_one_holds_growth_up_for_a_while_and_is_told(restart, ledger):
    lost = [Intent(IntentKind.ADD, UTAH, "node-9", NOON), Intent(IntentKind.DELETE, UTAH, "node-1", NOON)]
    bench = restart(most=6, silent=True, intents=lost)
    bench.cycles(2)
    assert counts(bench) == [2, 3], "one may still come"
    bench.clock.advance(1000)
    bench.cycles(3)
    assert counts(bench) == [2, 4]
    assert len(told(bench)) == 2
    assert "the add of node-9" in told(bench)[1]
    assert ledger.intents() == ()


@pytest.mark.parametrize("hours", [-30, 2])
def test_a_clock_that_is_set_ends_no_call_there_before_or_after_its_time(restart, ledger, hours):
    lost = Intent(IntentKind.ADD, UTAH, "node-9", NOON)
    bench = restart(most=6, silent=True, intents=[lost])
    bench.clock.set_ahead(hours * 3600)
    bench.cycles(2)
    assert [intent.client_id for intent in ledger.intents()] == ["node-9"]
    bench.clock.advance(1000)
    bench.cycles(3)
    assert ledger.intents() == ()


def test_a_sliver_without_machines_that_one_manifest_denies_is_not_forgotten(make_bench, ledger):
    ledger.put_holding(Holding(UTAH, {}, NOON + HOUR, made=True, sliver_urn="urn:sliver"))
    stores = {"intents": ledger, "holdings": ledger}
    bench = make_bench(server={"cms": (UTAH, WISC)}, config={"retired": {UTAH: URL}, **stores})
    bench.manager.update_sliver_status(UTAH)
    bench.manager.before_step()
    assert [report.has_sliver for report in bench.manager.retired.reports()] == [True]
    for _ in range(3):
        bench.clock.advance(60)
        bench.manager.update_sliver_status(UTAH)
    bench.manager.before_step()
    assert bench.manager.retired.reports() == ()


def test_one_whose_url_nobody_remembers_counts_and_says_so(restart):
    bench = restart(most=5, url="", intents=[Intent(IntentKind.ADD, UTAH, "node-9", NOON)])
    asked = bench.server.count("find_sliver", UTAH)
    bench.clock.advance(1000)
    bench.cycles(20)
    assert counts(bench) == [2, 3]
    assert "its URL is not known: take it into agent.conf again" in told(bench)[0]
    assert bench.manager.facts().all_read
    assert bench.server.count("find_sliver", UTAH) == asked
    assert bench.manager.requested() == []


# --- when it is over


@pytest.mark.parametrize(
    ("report", "now", "read_at", "over"),
    [
        (HELD, NOON, NOON, ""),
        (EMPTY, NOON, NOON, "nothing is held"),
        (replace(EMPTY, asked=("es-1",)), NOON, NOON, ""),
        (replace(EMPTY, has_sliver=True), NOON, NOON, ""),
        (replace(EMPTY, heard=False), NOON - HOUR, None, ""),
        (replace(EMPTY, heard=False), NOON, None, "nothing is held"),
        (HELD, NOON + HOUR, NOON, "its lease ended at 2026-11-22T13:00:00Z"),
        (HELD, NOON + HOUR, NOON + HOUR, ""),
        (replace(HELD, heard=False), NOON + HOUR, None, "its lease ended"),
        (replace(HELD, heard=False, expires=NOON - 2 * HOUR), NOON - HOUR, None, ""),
        (replace(HELD, heard=False, expires=None), NOON + 1000 * HOUR, None, ""),
    ],
)
def test_it_is_over_when_nothing_is_left_or_its_lease_ran_out_in_silence(report, now, read_at, over):
    said = why_over(report, now, NOON, read_at)
    assert said.startswith(over) if over else said == ""


def test_its_words_say_what_is_there_and_what_to_do():
    assert retired_words(HELD) == (
        f"{UTAH} is not in agent.conf, and holds es-1 for us until 2026-11-22T13:00:00Z: nothing more is"
        f" borrowed there; `esagent teardown --cm {UTAH}` gives it back, or take the CM into agent.conf again"
    )
    asked = retired_words(replace(EMPTY, asked=("es-7",), heard=False, url="", can_be_asked=False))
    assert "was asked about es-7, with no answer known, as far as is remembered: it cannot be asked" in asked
    assert "holds a sliver of ours without machines until" in retired_words(replace(HELD, machines=()))
