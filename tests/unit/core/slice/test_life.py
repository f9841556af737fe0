"""The slice ends by another hand, or a lease ends while nobody answers."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import MemoryHoldings
from agent.core.ownership import Ownership
from agent.core.slice.life import SILENCE, is_overrun
from tests.unit.core.conftest import UTAH, WISC

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SILENT = ("find_sliver", "discover", "sliver_status", "add_nodes", "renew_sliver", "delete_nodes")


def silence(bench, *cms):
    """Have CMs answer nothing, and with "sa" the SA."""
    for cm in cms:
        methods = ("find_slice", "create_slice", "renew_slice") if cm == "sa" else SILENT
        for method in methods:
            bench.server.fault(method, *["unreachable"] * 10_000, cm=None if cm == "sa" else cm)


def want(bench, machines):
    bench.manager.minthreshold = bench.manager.maxthreshold = machines


def asked(bench):
    return bench.server.count("add_nodes") + bench.server.count("create_sliver")


@pytest.fixture
def held(make_bench):
    """Two machines at each of two CMs, and as many as are wanted."""
    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        helper={"num_pcs": 2},
        minthreshold=4,
        maxthreshold=4,
        enable_delete=True,
        config={"holdings": MemoryHoldings()},
    )
    bench.cycles(6)
    assert [len(bench.server.machines(cm)) for cm in (UTAH, WISC)] == [2, 2]
    return bench


# --- by another hand


def test_a_slice_that_is_gone_is_told_and_nothing_is_asked_for_it(held):
    held.server.remove_slice()
    held.server.fault("create_slice", *["unreachable"] * 10_000)
    want(held, 6)
    before = asked(held)
    held.cycles(30)
    assert asked(held) - before <= 1, "the first who asks learns it for all"
    [event] = held.events.of("slice-gone")
    assert "nothing is asked of any CM before there is a slice again" in event.message
    assert "there is no slice" in held.manager.facts().closed[UTAH]
    assert "there is no slice" in held.manager.facts().closed[WISC]
    assert len(held.manager.held()) == 4, "they serve"


def test_a_new_slice_begins_at_other_cms_while_the_old_sliver_serves(held):
    utah = {m.node_id for m in held.server.machines(UTAH)}
    held.server.sites[WISC].machines.clear()
    held.server.sites[WISC].exists = False
    held.server.remove_slice()
    held.cycles(20)
    assert held.server.slice_number == 2
    assert {m.node_id for m in held.server.machines(UTAH)} == utah
    assert len(held.server.machines(WISC)) == 2
    assert held.server.orphans().keys() == {UTAH}


def test_what_outlived_the_slice_is_told_once_is_not_renewed_nor_added_to_and_goes_back_when_surplus(held):
    held.server.remove_slice()
    want(held, 6)
    held.cycles(600, seconds=120)
    assert held.server.slice_number == 2
    for cm in (UTAH, WISC):
        assert [e.subject for e in held.events.of("orphaned")].count(cm) == 1
        assert "its slice is gone at the SA" in next(
            lapse.why for lapse in held.manager._lease.lapses() if lapse.cm == cm
        )
    assert len(held.server.machines()) == 4, "nothing is added to them"
    assert "a slice that is gone" in held.manager.facts().closed[UTAH]
    want(held, 0)
    held.cycles(10)
    assert held.server.machines() == []
    want(held, 4)
    held.cycles(10)
    assert len(held.server.machines()) == 4, "of the new slice"
    assert held.server.orphans() == {}
    assert held.manager.facts().closed == {}


def test_what_no_credential_acts_on_is_told_and_left_until_its_lease_ends(held):
    held.server.keeps_credentials = False
    held.server.remove_slice()
    held.cycles(10)
    want(held, 0)
    before = held.server.count("delete_nodes") + held.server.count("delete_sliver")
    said = held.cycles(10)
    assert held.server.count("delete_nodes") + held.server.count("delete_sliver") == before
    assert "nor be given back, since the credential that made it is not known" in said
    for cm in (UTAH, WISC):
        message = next(e.message for e in held.events.of("orphaned") if e.subject == cm)
        assert "it ends with its lease" in message
        assert f"until {held.manager.inventory.expires[cm]:%Y-%m-%dT%H:%M:%SZ}" in message
    assert len(held.manager.held()) == 4
    assert len([e for e in held.events.of("step") if "update_sliver_status" in e.message]) == 0


def test_a_slice_of_others_that_is_gone_is_not_made_anew(make_bench):
    bench = make_bench(
        server={"cms": (UTAH,)},
        minthreshold=1,
        maxthreshold=1,
        config={"ownership": Ownership(slice_is="shared")},
    )
    bench.server.slice_expires, bench.server.slice_number = NOON + timedelta(days=2), 1
    bench.cycles(5)
    assert len(bench.manager.held()) == 1
    bench.server.remove_slice()
    want(bench, 3)
    before = asked(bench)
    bench.cycles(60)
    assert (bench.server.slice_number, bench.server.slice_expires) == (1, None)
    assert asked(bench) - before <= 1
    assert len(bench.events.of("slice-gone")) == 1
    bench.server.slice_expires, bench.server.slice_number = NOON + timedelta(days=2), 2
    bench.cycles(10)
    assert "a slice that is gone" in bench.manager.facts().closed[UTAH], "the new one is another"


def test_a_restart_after_the_slice_is_gone_keeps_count_of_what_is_left(make_bench, held):
    held.server.remove_slice()
    silence(held, UTAH)
    again = make_bench(
        server=held.server,
        minthreshold=4,
        maxthreshold=4,
        config={"clock": held.clock, "holdings": held.config.holdings},
    )
    again.cycles(10)
    assert again.manager.in_use() == 4
    assert len(again.events.of("slice-gone")) == 1
    assert held.server.slice_number == 2


def test_a_renewal_that_finds_no_slice_has_the_slice_looked_for_at_once(held):
    held.server.remove_slice()
    held.clock.advance(7 * 3600)
    held.cycles(2, seconds=1)
    assert held.server.slice_number == 2


# --- nobody answers


@pytest.mark.parametrize(
    ("now", "read_at", "over"),
    [
        (-MINUTE, -MINUTE, False),
        (-MINUTE, None, False),
        (timedelta(), None, True),
        (timedelta(), -MINUTE, True),
        (MINUTE, timedelta(), False),
        (SILENCE, timedelta(), False),
        (SILENCE + MINUTE, timedelta(), True),
    ],
)
def test_a_lease_is_overrun_once_it_ended_and_nobody_said_what_is_there_since(now, read_at, over):
    assert is_overrun(NOON, NOON + now, None if read_at is None else NOON + read_at) is over


def until_the_end(bench, cm, seconds=1200):
    end = bench.manager.inventory.expires[cm]
    while bench.clock.now() < end:
        bench.cycles(1, seconds=seconds)
    bench.cycles(2)
    return end


def test_machines_whose_lease_ended_in_silence_are_not_counted_on_until_their_cm_has_them(held):
    silence(held, UTAH)
    mine = {m.key for m in held.manager.held(UTAH)}
    end = until_the_end(held, UTAH)
    facts = held.manager.facts()
    assert facts.over == {UTAH: end}
    assert not any(held.manager.may_touch(m) for m in held.manager.held(UTAH))
    assert all(facts.is_taken(m) for m in facts.machines if m.cm == UTAH)
    assert len(held.server.machines(WISC)) == 4, "others are sought"
    [event] = held.events.of("overrun")
    assert f"the lease at {UTAH} ended at {end:%Y-%m-%dT%H:%M:%SZ}, and nobody answers there" in event.message
    assert held.events.of("gone") == []

    held.server.faults.clear()
    held.server.sites[UTAH].expires = held.clock.now().replace(microsecond=0) + timedelta(hours=20)
    while (facts := held.manager.facts()).over:
        held.cycles(1)
    assert {m.key for m in facts.machines if m.cm == UTAH} == mine
    assert mine <= facts.ready
    assert "answers again" in held.events.of("overrun")[-1].message


def test_a_cm_that_answers_over_the_end_is_asked_what_is_there_before_anybody_is_told(held):
    end = held.manager.inventory.expires[UTAH]
    held.server.fault("renew_sliver", *["unreachable"] * 10_000, cm=UTAH)
    while held.clock.now() < end - timedelta(minutes=2):
        held.cycles(1, seconds=60)
    site = held.server.sites[UTAH]
    held.server.vanished += [m.node for m in site.machines.values()]
    site.machines.clear()
    site.exists = False
    held.clock.advance((end - held.clock.now()).total_seconds())
    assert held.manager.facts().over == {UTAH: end}, "they do not count any more"
    held.manager._life.look()
    held.manager._life.look()
    assert held.events.of("overrun") == []
    held.cycles(1, seconds=1)
    assert held.manager.facts().over == {}
    assert held.events.of("overrun") == []


def test_a_retired_cm_that_is_forgotten_after_its_end_does_not_answer_again(held):
    silence(held, UTAH)
    until_the_end(held, UTAH)
    # As ``Retired`` does.
    held.manager._slivers.holdings.forget(UTAH)
    held.manager._slivers.expires.pop(UTAH)
    held.cycles(2)
    [event] = held.events.of("overrun")
    assert "answers again" not in event.message


def test_a_manifest_after_the_end_that_lacks_them_says_that_they_are_gone_at_once(held):
    silence(held, UTAH)
    until_the_end(held, UTAH)
    held.server.faults.clear()
    held.server.sites[UTAH].machines.clear()
    held.server.sites[UTAH].exists = False
    held.manager.update_sliver_status(UTAH)
    assert {e.subject for e in held.events.of("gone")} == {"pc100", "pc101"}
    assert held.events.of("missing") == []


def test_sa_and_cms_away_over_the_end_leave_no_machine_that_counts(held):
    for method in ("find_slice", "create_slice", "renew_slice", *SILENT):
        held.server.fault(method, *["unreachable"] * 100_000)
    until_the_end(held, UTAH)
    until_the_end(held, WISC)
    assert held.manager.in_use() == 0
    assert set(held.manager.facts().over) == {UTAH, WISC}
    lapses = {lapse.cm: lapse.why for lapse in held.manager._lease.lapses()}
    assert "nobody answers" in lapses[""]
    for site in held.server.sites.values():
        site.machines.clear()
        site.exists = False
    held.server.slice_expires = None
    held.server.faults.clear()
    held.cycles(20)
    assert len(held.server.machines()) == len(held.manager.held()) == 4
    assert held.manager.facts().over == {}


def test_a_restart_with_its_cms_away_over_the_end_counts_on_nothing_that_it_remembers(make_bench, held):
    end = held.manager.inventory.expires[UTAH]
    silence(held, UTAH)
    again = make_bench(
        server=held.server,
        minthreshold=4,
        maxthreshold=4,
        config={"clock": held.clock, "holdings": held.config.holdings},
    )
    again.cycles(2)
    assert again.manager.in_use() == 4
    near = None
    while again.clock.now() < end:
        again.cycles(1, seconds=1200)
        lapses = {lapse.cm: lapse.why for lapse in again.manager._lease.lapses()}
        near = again.manager.facts().endings.get(UTAH, near)
    assert lapses[UTAH] == "nobody answers there since the agent began"
    assert (near.deadline, near.why) == (end, lapses[UTAH]), "jobs there are seen to by then"
    again.cycles(5)
    assert again.manager.facts().over == {UTAH: end}
    assert len(again.server.machines(WISC)) == 4
    assert "node-1, node-2" in again.events.of("overrun")[0].message


def test_a_wall_clock_that_is_set_ends_no_lease_of_a_silent_cm(held):
    silence(held, UTAH)
    held.cycles(3)
    held.clock.set_ahead(30 * 3600)
    held.cycles(1, seconds=1)
    assert held.manager.facts().over == {}
