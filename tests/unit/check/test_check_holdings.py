"""A look into the ledger leaves it, and what is beside it, as they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.check.finding import Grade
from agent.check.holdings import Remembered, check_departed, check_left_behind, recall
from agent.cloudlab.settings import CmSettings
from agent.core.errors import LedgerError
from agent.core.model import Holding, Intent, IntentKind
from agent.ledger.ledger import Ledger

DUMPS = sorted((Path(__file__).parents[2] / "data" / "ledger").glob("schema-*.sql"))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SLICE = "urn:publicid:IDN+example.net:lab+slice+elastic"
ASKED = Intent(IntentKind.ADD, "urn:cm", "es-1", NOON)
HELD = Holding("urn:cm", {"es-2": "urn:sliver+2"}, NOON)


def directory(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_where_there_is_no_ledger_nothing_is_remembered_and_none_is_made(tmp_path: Path) -> None:
    assert recall(tmp_path / "ledger.db", SLICE, NOON) == Remembered()
    assert directory(tmp_path) == {}


def test_what_a_daemon_wrote_that_has_it_open_is_seen(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.add_intents([ASKED])
        ledger.put_holding(HELD)
        before = directory(tmp_path)
        assert recall(tmp_path / "ledger.db", SLICE, NOON) == Remembered((ASKED,), (HELD,))
        assert directory(tmp_path).keys() == before.keys()
        ledger.remove_intents([ASKED])
        assert recall(tmp_path / "ledger.db", SLICE, NOON).intents == ()


def test_one_that_nobody_has_open_stays_byte_for_byte(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.put_holding(HELD)
    before = directory(tmp_path)
    assert recall(tmp_path / "ledger.db", SLICE, NOON) == Remembered((), (HELD,))
    assert directory(tmp_path) == before


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_one_of_an_older_agent_is_read_and_not_taken_over(dump: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(dump.read_text())
    before = directory(tmp_path)
    assert [intent.client_id for intent in recall(tmp_path / "ledger.db", SLICE, NOON).intents] == ["node-1"]
    assert directory(tmp_path) == before


@pytest.mark.parametrize("text", [b"no SQLite at all", b""])
def test_one_that_is_damaged_is_left_where_it_is(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(text)
    if text:
        with pytest.raises(LedgerError, match=r"ledger\.db cannot be read: file is not a database"):
            recall(tmp_path / "ledger.db", SLICE, NOON)
    else:
        assert recall(tmp_path / "ledger.db", SLICE, NOON) == Remembered()
    assert directory(tmp_path) == {"ledger.db": text}


def test_one_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="of a newer agent"):
        recall(tmp_path / "ledger.db", SLICE, NOON)


# --- CMs that agent.conf does not have

GONE, HERE = (f"urn:publicid:IDN+{name}.example.net+authority+cm" for name in ("utah", "wisc"))
CMS = (CmSettings(urn=HERE, url="https://wisc.example.net:12369/protogeni/xmlrpc/cm/2.0"),)
AT = {GONE: "https://utah.example.net:12369/protogeni/xmlrpc/cm/2.0"}


def test_where_every_cm_is_in_agent_conf_nothing_is_told() -> None:
    known = Remembered((replace(ASKED, cm=HERE),), (replace(HELD, cm=HERE),), AT)
    assert list(check_departed(CMS, known, [GONE])) == []


def test_what_is_held_and_asked_for_at_a_cm_that_agent_conf_lost_is_a_warning_that_says_what_to_do() -> None:
    known = Remembered((replace(ASKED, cm=GONE),), (replace(HELD, cm=GONE),), AT)
    (found,) = check_departed(CMS, known, [GONE])
    assert (found.grade, found.subject) == (Grade.WARNING, f"CM {GONE}")
    assert "holds es-2 for us until 2026-11-22T12:00:00Z and was asked about es-1" in found.seen
    assert f"`esagent teardown --cm {GONE}` gives it back" in found.mend


def test_one_whose_url_an_older_agent_did_not_keep_is_to_be_taken_in_again() -> None:
    (found,) = check_departed(CMS, Remembered((), (replace(HELD, cm=GONE),)), [GONE])
    assert "its URL is not known: take it into agent.conf again" in found.mend


def test_one_that_has_another_urn_now_is_in_order() -> None:
    (found,) = check_departed(CMS, Remembered((), (replace(HELD, cm=GONE),), {GONE: CMS[0].url}), [GONE])
    assert (found.grade, found.subject) == (Grade.FINE, f"CM {HERE}")
    assert f"what {GONE} is called" in found.seen


def test_one_that_may_not_call_us_any_more_would_take_its_machines_unheard() -> None:
    _, found = check_departed(CMS, Remembered((), (replace(HELD, cm=GONE),), AT), [HERE])
    assert found.grade is Grade.WARNING
    assert found.mend == f"name it in [callback] allowed_urns: {GONE}"


def test_what_is_held_in_another_slice_is_named_and_not_counted_for_this_one(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.begin_slice(before := SLICE.replace("elastic", "before"), NOON)
        ledger.put_holding(replace(HELD, expires=NOON + timedelta(hours=1)))
        ledger.add_intents([ASKED])
    known = recall(tmp_path / "ledger.db", SLICE, NOON)
    assert (known.intents, known.holdings) == ((), ())
    (found,) = check_left_behind(known)
    assert found.grade is Grade.WARNING
    assert (found.subject, before in found.seen) == ("CM urn:cm", True)
    assert found.seen.startswith("holds es-2 until 2026-11-22T13:00:00Z and was asked about es-1")
    assert "put that slice back" in found.mend
    again = recall(tmp_path / "ledger.db", before, NOON)
    assert (again.intents, again.left_behind) == ((ASKED,), ())
