"""A ledger that an older agent left is taken over whole; one of a newer agent is refused and left alone."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import LedgerError
from agent.core.events import PastEvent
from agent.core.model import AdminDrain, GrowOrder, Holding, Intent, IntentKind
from agent.core.said import Revocation
from agent.ledger.ledger import Ledger
from agent.ledger.schema import SCHEMA_VERSION

DUMPS = sorted((Path(__file__).parents[2] / "data" / "ledger").glob("schema-*.sql"))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = NOON + timedelta(hours=1)


def load(dump: Path, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())


def structure(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {n: connection.execute(f"PRAGMA table_info({n})").fetchall() for (n,) in sorted(names)}
        indexes = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
        return {**tables, "indexes": sorted(indexes)}


def test_there_is_a_ledger_of_every_older_schema_to_try_with() -> None:
    known = {int(re.findall(r"\d+", dump.stem)[0]) for dump in DUMPS}
    assert known >= set(range(1, SCHEMA_VERSION)), "dump one of the schema that you replace to tests/data"


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_all_that_an_older_agent_knew_is_taken_over(dump: Path, tmp_path: Path) -> None:
    load(dump, tmp_path / "ledger.db")
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.intents() == (Intent(IntentKind.ADD, "urn:cm", "node-1", NOON),)
        assert ledger.revocations() == (Revocation("pc100", "node-2", ONE, NOON, NOON),)
        assert ledger.drains() == (AdminDrain("pc7", "new disk", "ada", NOON, ONE),)
        assert ledger.events() == (PastEvent(NOON, "add", "node-1", "asked for it", {"number": 1}),)
        assert ledger.grow_order() is None
        ledger.put_grow_order(order := GrowOrder(3, "ada", ONE))
        assert ledger.grow_order() == order


HELD = """
UPDATE holdings SET client_ids = '["ctl", "node-2", "node-3"]';
INSERT INTO events (time, kind, subject, message, data) VALUES
    ('2026-11-22T11:00:00.000000+00:00', 'arrived', 'pc107', 'arrived pc107 (node-2)', '{}'),
    ('2026-11-22T12:00:00.000000+00:00', 'arrived', 'pc100', 'arrived pc100 (node-2)', '{}'),
    ('2026-11-22T12:00:00.000000+00:00', 'adopted', 'pc101', 'adopted pc101 (node-3)', '{}'),
    ('2026-11-22T12:00:00.000000+00:00', 'adopted', 'pc1', 'adopted pc1 (ctl)', '{}');
"""


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("dump", DUMPS[1:3], ids=lambda dump: dump.stem)
def test_of_the_machines_that_an_older_agent_held_those_that_it_asked_for_are_ours(
    dump: Path, made: bool, tmp_path: Path
) -> None:
    """Before, every machine of the slice was held, others' too; and a name alone may be another's by now."""
    load(dump, tmp_path / "ledger.db")
    created = "UPDATE events SET kind = 'create', subject = 'urn:cm' WHERE id = 1;" if made else ""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(HELD + created)
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.holdings() == (Holding("urn:cm", {"node-2": "pc100"}, ONE, there=True, made=made),)


def test_of_a_wish_of_an_older_agent_it_is_known_for_which_machine_it_was_and_not_at_which_cm(
    tmp_path: Path,
) -> None:
    load(DUMPS[3], tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(
            "UPDATE drains SET sliver_id = 'urn:sliver+7', give_back = 1;"
            "INSERT INTO drains VALUES ('', 'pause', 'bob', '2026-11-22T12:00:00.000000+00:00', NULL, 0, '');"
        )
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.drains() == (
            AdminDrain("", "pause", "bob", NOON),
            AdminDrain("pc7", "new disk", "ada", NOON, ONE, give_back=True, sliver_id="urn:sliver+7"),
        )


def test_what_a_cm_held_is_taken_over_and_where_it_is_called_is_not_known(tmp_path: Path) -> None:
    load(DUMPS[3], tmp_path / "ledger.db")
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        (holding,) = ledger.holdings()
        assert (holding.machines, holding.made) == ({"node-2": "urn:sliver+2"}, True)
        assert ledger.cms.urls() == {}


def test_the_fences_that_an_older_agent_told_of_are_known_as_ours_and_no_others(tmp_path: Path) -> None:
    load(DUMPS[5], tmp_path / "ledger.db")
    told = "no job that would run beyond 2026-11-23T01:02:03Z"
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO events (time, kind, subject, message, data) VALUES (?, ?, ?, ?, '{}')",
            [
                (NOON.isoformat(), "fence", "pc1", told),
                (NOON.isoformat(), "fence", "pc2", told),
                (NOON.isoformat(), "fence", "pc3", "other words"),
                (NOON.isoformat(), "drain", "pc4", "no job that would run beyond 2026-11-24T00:00:00Z"),
            ],
        )
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.fences() == ("esagent-20261123T010203Z",)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_afterwards_it_is_like_one_that_was_begun_now(dump: Path, tmp_path: Path) -> None:
    load(dump, tmp_path / "old.db")
    Ledger(tmp_path / "old.db").close()
    Ledger(tmp_path / "new.db").close()
    assert structure(tmp_path / "old.db") == structure(tmp_path / "new.db")


def test_one_of_a_newer_agent_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    load(DUMPS[-1], path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(LedgerError, match=rf"{path} is of a newer agent: schema version 99"):
        Ledger(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
