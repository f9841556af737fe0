"""A disk that hangs: who writes is told in time, nobody else waits, and what was not done never is."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import LedgerError
from agent.core.events import Event, EventKind
from agent.core.model import (
    AdminDrain,
    CmTeardown,
    GrowOrder,
    Holding,
    Intent,
    IntentKind,
    KnownAs,
    MachineId,
)
from agent.core.said import Revocation
from agent.ledger import bounded as bounded_ledger
from agent.ledger.bounded import BoundedLedger
from agent.ledger.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADD, NEXT = (Intent(IntentKind.ADD, "urn:cm", name, NOON) for name in ("node-1", "node-2"))
REVOKED = Revocation("pc100", "node-1", NOON + timedelta(minutes=5), NOON, NOON)
DRAIN = AdminDrain("pc1", "new disk", "ada", NOON)
ORDER = GrowOrder(3, "ada", NOON)
NAME = KnownAs(MachineId("urn:cm", "node-1", "pc1", "urn:sliver+1"), "pc1", "dynamic")
EVENT = Event(NOON, EventKind.ADMIN, "pc1", "ada drains it")


class Disk:
    """Hangs while a test wants it to: at the commit of what is written, and with the lock of the ledger."""

    def __init__(self, ledger):
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        real = ledger._file._connection

        class Connection:
            def __enter__(self):
                return real.__enter__()

            def __exit__(self, *error):
                disk.reached.set()
                disk.gate.wait(60)
                return real.__exit__(*error)

            def __getattr__(self, name):
                return getattr(real, name)

        disk = self
        ledger._file._connection = Connection()

    def hang(self):
        self.reached.clear()
        self.gate.clear()

    def go_on(self):
        self.gate.set()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def below(path):
    return Ledger(path)


@pytest.fixture
def disk(below):
    made = Disk(below)
    yield made
    made.go_on()


@pytest.fixture
def ledger(below, disk, monkeypatch):
    monkeypatch.setattr(bounded_ledger, "LIMIT", 0.2)
    monkeypatch.setattr(bounded_ledger, "EVENT_PATIENCE", 0.05)
    monkeypatch.setattr(bounded_ledger, "CLOSE_TIME", 0.2)
    made = BoundedLedger(below)
    yield made
    disk.go_on()
    made.close()


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        threading.Event().wait(0.005)


def test_what_is_written_is_on_the_disk_when_it_returns(ledger, path):
    ledger.add_intents([ADD, NEXT])
    ledger.remove_intents([NEXT])
    ledger.put_revocation(REVOKED)
    ledger.put_drain(DRAIN)
    ledger.put_grow_order(ORDER)
    ledger.put_name(NAME)
    ledger.put_holding(holding := Holding("urn:cm", {"node-1": "s"}, NOON))
    ledger.put_credential("urn:slice", "uuid", "text", NOON + timedelta(hours=1), NOON)
    ledger.record(EVENT)
    other = Ledger(path)
    assert other.credentials("urn:slice") == ledger.credentials("urn:slice") == ("text",)
    assert (other.intents(), other.revocations(), other.drains()) == ((ADD,), (REVOKED,), (DRAIN,))
    assert (other.grow_order(), other.holdings(), other.names()) == (ORDER, (holding,), (NAME,))
    assert [event.message for event in other.events()] == [EVENT.message]
    other.close()
    for remove in (
        lambda: ledger.remove_revocation(REVOKED.place),
        lambda: ledger.remove_drain("", "pc1"),
        ledger.remove_grow_order,
        lambda: ledger.remove_name("urn:cm", "node-1"),
    ):
        remove()
    assert (ledger.intents(), ledger.revocations(), ledger.drains()) == ((ADD,), (), ())
    assert (ledger.grow_order(), ledger.names()) == (None, ())


WRITES = {
    "add_intents": [NEXT],
    "remove_intents": [ADD],
    "put_revocation": REVOKED,
    "remove_revocation": REVOKED.place,
    "put_holding": Holding("urn:cm", {}, NOON),
    "put_name": NAME,
    "put_drain": DRAIN,
    "put_grow_order": ORDER,
    "forget_cm": "urn:cm",
}


@pytest.mark.parametrize("what", [*WRITES, "remove_grow_order"])
def test_who_writes_is_told_and_what_is_read_does_not_wait(ledger, disk, what):
    ledger.add_intents([ADD])
    disk.hang()
    with pytest.raises(LedgerError, match=r"does not answer within 0\.2 s: does its disk hang\?"):
        getattr(ledger, what)(*([WRITES[what]] if what in WRITES else []))
    assert disk.reached.is_set()
    assert ledger.intents() == (ADD,)
    assert ledger.events() == ledger.history() == ()
    assert ledger.last_event() == 0


def test_nobody_waits_behind_what_is_late(ledger, disk, monkeypatch):
    disk.hang()
    with pytest.raises(LedgerError):
        ledger.put_holding(WRITES["put_holding"])
    monkeypatch.setattr(bounded_ledger, "LIMIT", 60)
    for _ in range(100):
        with pytest.raises(LedgerError, match=r"does not answer: does its disk hang\?"):
            ledger.add_intents([NEXT])
    disk.go_on()
    until(ledger.holdings)
    until(lambda: not ledger._writer._at_work)
    ledger.add_intents([ADD])
    assert ledger.intents() == (ADD,), "what was refused was not written either"


def test_events_wait_for_the_disk_in_memory_and_come_in_order(ledger, disk):
    events = [Event(NOON, EventKind.ADMIN, "", f"event {n}") for n in range(50)]
    disk.hang()
    for event in events:
        ledger.record(event)
    assert ledger.events() == ()
    assert threading.active_count() < 20
    disk.go_on()
    ledger.wait_for_event(49, 20)
    assert [event.message for event in ledger.events()] == [event.message for event in events]


def test_what_waits_for_the_disk_is_bounded(ledger, disk, monkeypatch):
    monkeypatch.setattr(bounded_ledger, "MOST_EVENTS", 10)
    disk.hang()
    for _ in range(100):
        ledger.record(EVENT)
    disk.go_on()
    until(lambda: not ledger._writer._at_work)
    assert len(ledger.events()) == 11, "the one at the disk, and those that waited"


@pytest.mark.parametrize("stored", [False, True])
def test_an_order_that_was_refused_does_not_come_into_force_later(ledger, disk, stored):
    other = AdminDrain("pc1", "fan", "bob", NOON)
    if stored:
        ledger.put_drain(other)
        ledger.put_grow_order(GrowOrder(1, "bob", NOON))
        ledger.cms.put_teardown(CmTeardown("urn:cm", "bob", NOON))
    orders = [
        lambda: ledger.put_drain(DRAIN),
        lambda: ledger.put_drain(replace(DRAIN, cm="urn:cm", client_id="node-1")),
        lambda: ledger.put_grow_order(ORDER),
        lambda: ledger.cms.put_teardown(CmTeardown("urn:cm", "ada", NOON)),
    ]
    if stored:
        orders.append(lambda: ledger.cms.remove_teardown("urn:cm"))
        orders += [lambda: ledger.remove_drain("", "pc1"), ledger.remove_grow_order]
    before = ledger.drains(), ledger.grow_order(), ledger.cms.teardowns()
    for order in orders:
        disk.hang()
        with pytest.raises(LedgerError):
            order()
        assert disk.reached.is_set()
        disk.go_on()
        until(lambda: not ledger._writer._at_work)
        assert (ledger.drains(), ledger.grow_order(), ledger.cms.teardowns()) == before


def test_an_intent_whose_writing_was_given_up_does_not_count_after_a_restart(ledger, disk, path):
    disk.hang()
    with pytest.raises(LedgerError):
        ledger.add_intents([ADD])
    disk.go_on()
    until(lambda: not ledger._writer._at_work)
    assert Ledger(path).intents() == ()


def test_a_fault_of_the_disk_is_raised_as_it_is(ledger, below, monkeypatch):
    def full(_):
        raise LedgerError("the ledger cannot be written: database or disk is full")

    monkeypatch.setattr(below, "add_intents", full)
    with pytest.raises(LedgerError, match="disk is full"):
        ledger.add_intents([ADD])
    ledger.put_drain(DRAIN)


def test_the_end_does_not_wait_for_a_disk_that_hangs(ledger, disk):
    disk.hang()
    ledger.record(EVENT)
    ledger.close()
    assert not disk.gate.is_set()


def test_what_is_left_is_written_at_the_end(below, disk, path, monkeypatch):
    monkeypatch.setattr(bounded_ledger, "EVENT_PATIENCE", 0.0)
    ledger = BoundedLedger(below)
    disk.hang()
    for _ in range(10):
        ledger.record(EVENT)
    threading.Timer(0.1, disk.go_on).start()
    ledger.close()
    assert len(Ledger(path).events()) == 10
