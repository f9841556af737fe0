"""What is known of one slice waits while the agent keeps another, and is there again with its slice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import (
    AdminDrain,
    CmTeardown,
    Holding,
    Intent,
    IntentKind,
    KnownAs,
    LeftBehind,
    MachineId,
)
from agent.core.said import Revocation
from agent.ledger.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = NOON + timedelta(hours=1)
FIRST, SECOND = (f"urn:publicid:IDN+example.net:lab+slice+{name}" for name in ("first", "second"))
HELD = Holding("urn:cm", {"node-2": "s2", "node-1": "s1"}, ONE, made=True, sliver_urn="urn:sliver+1")
ASKED = Intent(IntentKind.ADD, "urn:cm", "node-3", NOON)
PAUSE = AdminDrain("", "pause", "ada", NOON)


@pytest.fixture
def ledger():
    with closing(Ledger(":memory:")) as ledger:
        yield ledger


def fill(ledger: Ledger) -> None:
    """Write down something of every kind."""
    ledger.put_holding(HELD)
    ledger.add_intents([ASKED])
    ledger.put_revocation(Revocation("pc1", "node-1", ONE, NOON, NOON, cm="urn:cm"))
    ledger.put_drain(AdminDrain("pc2", "disk", "ada", NOON, cm="urn:cm", client_id="node-2"))
    ledger.put_drain(AdminDrain("", "teardown", "ada", NOON))
    ledger.put_name(KnownAs(MachineId("urn:cm", "node-1", "pc1", "s1"), "pc1", "dynamic"))
    ledger.cms.put_teardown(CmTeardown("urn:cm", "ada", NOON))
    ledger.put_fence("esagent-0123456789-20261122T120000Z")
    ledger.cms.put_urls({"urn:cm": "https://cm.example.net"})


def known(ledger: Ledger) -> list[tuple[object, ...]]:
    return [
        *(ledger.holdings(), ledger.intents(), ledger.revocations(), ledger.drains(), ledger.names()),
        *(ledger.cms.teardowns(), ledger.fences()),
    ]


def test_of_another_slice_nothing_is_known_but_what_is_left_there(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    fill(ledger)
    left = LeftBehind(FIRST, "urn:cm", ("node-1", "node-2"), True, ONE, ("node-3",), ("pc1",))
    for _ in range(2):
        assert ledger.begin_slice(SECOND, NOON) == (left,)
        assert known(ledger) == [()] * 7
        assert ledger.cms.urls() == {"urn:cm": "https://cm.example.net"}


def test_what_machines_are_holds_for_every_slice(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    ledger.put_machine_type("m510", "{}")
    ledger.begin_slice(SECOND, NOON)
    assert ledger.machine_types() == {"m510": "{}"}


def test_with_its_slice_all_is_there_again_and_what_the_other_holds_is_left(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    fill(ledger)
    before = known(ledger)
    ledger.begin_slice(SECOND, NOON)
    ledger.put_holding(other := Holding("urn:cm", {"node-9": "s9"}, ONE))
    ledger.forget_cm("urn:gone")
    (left,) = ledger.begin_slice(FIRST, NOON)
    assert (left.slice, left.machines) == (SECOND, ("node-9",))
    assert known(ledger) == before
    ledger.begin_slice(SECOND, NOON)
    assert ledger.holdings() == (other,)


def test_where_a_cm_is_called_is_known_again_though_the_other_slice_forgot_the_cm(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    fill(ledger)
    ledger.begin_slice(SECOND, NOON)
    ledger.forget_cm("urn:cm")
    ledger.cms.put_urls({"urn:other": "https://new.example.net"})
    ledger.begin_slice(FIRST, NOON)
    assert set(ledger.cms.urls()) == {"urn:cm", "urn:other"}


def test_what_slice_a_ledger_is_of_is_taken_over_where_nobody_knows_and_whatever_its_case(ledger) -> None:
    fill(ledger)
    before = known(ledger)
    for urn in (FIRST, FIRST.replace("lab", "Lab").replace("first", "First")):
        assert ledger.begin_slice(urn, NOON) == ()
        assert known(ledger) == before


def test_a_pause_is_meant_for_the_agent_whichever_slice_it_keeps(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    ledger.put_drain(PAUSE)
    ledger.begin_slice(SECOND, NOON)
    assert ledger.drains() == (PAUSE,)


def test_what_is_left_is_told_until_its_lease_has_run_out(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    fill(ledger)
    ledger.put_holding(Holding("urn:other", {}, None, there=False))
    (left,) = ledger.begin_slice(SECOND, ONE - timedelta(seconds=1))
    assert (left.is_over(NOON), left.is_over(ONE)) == (False, True)
    assert ledger.begin_slice(SECOND, ONE) == ()
    ledger.begin_slice(FIRST, ONE)
    assert [holding.cm for holding in ledger.holdings()] == ["urn:other"]


def test_what_was_asked_and_never_answered_is_told_too(ledger) -> None:
    ledger.begin_slice(FIRST, NOON)
    ledger.add_intents([ASKED])
    assert ledger.begin_slice(SECOND, ONE) == (LeftBehind(FIRST, "urn:cm", asked=("node-3",)),)


def test_of_an_older_agents_ledger_the_history_tells_whose_slice_it_is(tmp_path: Path) -> None:
    dump = Path(__file__).parents[2] / "data" / "ledger" / "schema-4.sql"
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(dump.read_text())
        for urn in (SECOND, FIRST):
            connection.execute(
                "INSERT INTO events (time, kind, subject, message, data) VALUES (?, 'renew', ?, '', '{}')",
                (NOON.isoformat(), urn),
            )
        connection.commit()
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        (left,) = ledger.begin_slice(SECOND, NOON)
        assert (left.slice, left.machines, left.asked) == (FIRST, ("node-2",), ("node-1",))


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), st.integers(1, 3)), max_size=12))
def test_each_slice_finds_what_it_wrote_last_however_often_they_change(turns) -> None:
    wrote: dict[str, Holding] = {}
    with closing(Ledger(":memory:")) as ledger:
        for urn, number in turns:
            left = ledger.begin_slice(urn, NOON)
            assert ledger.holdings() == ((wrote[urn],) if urn in wrote else ())
            assert {each.slice for each in left} == wrote.keys() - {urn}
            wrote[urn] = replace(HELD, machines={f"node-{number}": f"s{number}"})
            ledger.put_holding(wrote[urn])


def test_a_start_that_finds_all_as_it_was_writes_nothing(tmp_path: Path) -> None:
    """The disk may be full."""
    path, urls = tmp_path / "ledger.db", {"urn:cm": "https://cm.example.net"}
    with closing(Ledger(path)) as ledger, closing(sqlite3.connect(path)) as other:
        ledger.begin_slice("urn:publicid:IDN+example.net+slice+demo", NOON)
        ledger.cms.put_urls(urls)
        before = other.execute("PRAGMA data_version").fetchone()
        assert ledger.begin_slice("urn:publicid:IDN+example.net+slice+demo", NOON) == ()
        ledger.cms.take_up({}, urls)
        assert other.execute("PRAGMA data_version").fetchone() == before
        ledger.cms.take_up({}, {"urn:cm": "https://other.example.net"})
        assert other.execute("PRAGMA data_version").fetchone() != before
