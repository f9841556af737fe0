"""Text that cannot be encoded, or holds a NUL, costs no event, no answer and no thread."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import LedgerError
from agent.core.events import Event, EventKind, JoinLog
from agent.core.letters import all_storable, read_json, storable
from agent.core.model import AdminDrain
from agent.ledger.ledger import Ledger
from agent.tell import journal
from agent.tell.mail import compose

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BAD = "pc1 \udcff\ud800 \x00"

# All of Unicode, with lone surrogates.
texts = st.text(st.characters())


@given(texts)
def test_every_text_can_be_encoded_and_ends_nowhere_in_the_middle(text):
    found = storable(text)
    assert "\x00" not in found
    assert found.encode().decode() == found
    assert len(found) == len(text)
    assert storable(found) == found


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
def test_what_can_be_encoded_stays_as_it_is(text):
    assert storable(text) == text
    assert read_json(json.dumps([text])) == [text]


def test_json_that_somebody_else_wrote_has_no_text_that_cannot_be_told_on():
    text = '{"jobs": [{"name\\ud800": "a\\u0000b \\uDCFF", "smile": "\\ud83d\\ude00", "n": [1, null, true]}]}'
    assert read_json(text) == {
        "jobs": [{"name\ufffd": "a\ufffdb \ufffd", "smile": "\U0001f600", "n": [1, None, True]}]
    }
    assert read_json(text.encode()) == read_json(text)


def test_what_is_no_text_stays():
    assert all_storable({"at": NOON, "n": (1, "x\x00")}) == {"at": NOON, "n": (1, "x\ufffd")}


@pytest.mark.parametrize("data", [None, JoinLog(BAD)])
def test_every_sink_takes_an_event_of_any_text(tmp_path, data):
    event = Event(NOON, EventKind.JOIN_FAILED, BAD, f"given up: {BAD}", data)
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.record(event)
    (kept,) = ledger.events(event.subject)
    assert (kept.subject, kept.message) == (event.subject, event.message)
    assert dict(kept.data) == dict(event.fields)
    ledger.close()
    assert compose([event], 0, sender="a@b", recipient="c@d").as_bytes()
    fields = journal.to_fields(None, "info", {"event": event.message, "subject": event.subject})
    assert journal.encode(fields)
    json.dumps(dict(event.fields), ensure_ascii=False).encode()


@given(texts, texts)
def test_recording_an_event_never_raises_and_keeps_it(subject, message):
    ledger = Ledger(":memory:")
    ledger.record(Event(NOON, EventKind.ADMIN, subject, message))
    (kept,) = ledger.events()
    assert kept.message == storable(message)
    ledger.close()


def test_a_wish_that_cannot_be_written_down_is_a_fault_of_the_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match="cannot be written"):
        ledger.put_drain(AdminDrain("pc1", BAD, "bob", NOON))
    assert ledger.drains() == ()
    ledger.put_drain(AdminDrain("pc1", "a look", "bob", NOON))
    ledger.close()
