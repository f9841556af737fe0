"""A look into the ledger leaves it, and what is beside it, as they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.check.holdings import Remembered, recall
from agent.core.errors import LedgerError
from agent.core.model import Holding, Intent, IntentKind
from agent.ledger import Ledger

DUMPS = sorted((Path(__file__).parents[2] / "data" / "ledger").glob("schema-*.sql"))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASKED = Intent(IntentKind.ADD, "urn:cm", "es-1", NOON)
HELD = Holding("urn:cm", {"es-2": "urn:sliver+2"}, NOON)


def directory(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_where_there_is_no_ledger_nothing_is_remembered_and_none_is_made(tmp_path: Path) -> None:
    assert recall(tmp_path / "ledger.db") == Remembered()
    assert directory(tmp_path) == {}


def test_what_a_daemon_wrote_that_has_it_open_is_seen(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.add_intents([ASKED])
        ledger.put_holding(HELD)
        before = directory(tmp_path)
        assert recall(tmp_path / "ledger.db") == Remembered((ASKED,), (HELD,))
        assert directory(tmp_path).keys() == before.keys()
        ledger.remove_intents([ASKED])
        assert recall(tmp_path / "ledger.db").intents == ()


def test_one_that_nobody_has_open_stays_byte_for_byte(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.put_holding(HELD)
    before = directory(tmp_path)
    assert recall(tmp_path / "ledger.db") == Remembered((), (HELD,))
    assert directory(tmp_path) == before


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_one_of_an_older_agent_is_read_and_not_taken_over(dump: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(dump.read_text())
    before = directory(tmp_path)
    assert [intent.client_id for intent in recall(tmp_path / "ledger.db").intents] == ["node-1"]
    assert directory(tmp_path) == before


@pytest.mark.parametrize("text", [b"no SQLite at all", b""])
def test_one_that_is_damaged_is_left_where_it_is(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(text)
    if text:
        with pytest.raises(LedgerError, match=r"ledger\.db cannot be read: file is not a database"):
            recall(tmp_path / "ledger.db")
    else:
        assert recall(tmp_path / "ledger.db") == Remembered()
    assert directory(tmp_path) == {"ledger.db": text}


def test_one_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="of a newer agent"):
        recall(tmp_path / "ledger.db")
