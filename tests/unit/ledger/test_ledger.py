"""The ledger: what is written survives, and trouble with the file is told by its name."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import LedgerError
from agent.core.estimates import WrongEstimate
from agent.core.events import Event, EventKind, Failures, OfCm, PastEvent, Release, Request
from agent.core.model import AdminDrain, CmTeardown, GrowOrder, Holding, Intent, IntentKind
from agent.core.said import Revocation
from agent.ledger.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADD = Intent(IntentKind.ADD, "urn:cm", "node-1", NOON)
REVOKED = Revocation("pc100", "node-1", NOON + timedelta(minutes=5), NOON, NOON)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path):
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def reopened(path):
    return Ledger(path)


def event(number, subject=""):
    time = NOON + timedelta(seconds=number)
    return Event(time, EventKind.GROWTH_STOPPED, subject, f"event {number}", Failures(number))


def written(event):
    return PastEvent(event.time, event.kind.value, event.subject, event.message, event.fields)


def test_everything_survives_a_restart(path, ledger):
    meant = ("urn:sliver+1", "urn:cm", "node-7")
    said = ("new disk", "ada", NOON, NOON + timedelta(hours=1), True)
    drain = AdminDrain("pc7", *said, *meant, takes_over=True, lifted=True)
    ledger.add_intents([ADD])
    ledger.put_revocation(REVOKED)
    ledger.put_drain(drain)
    ledger.put_grow_order(order := GrowOrder(3, "ada", NOON))
    ledger.record(event(1, "pc100"))
    ledger.close()

    again = reopened(path)

    assert again.intents() == (ADD,)
    assert again.revocations() == (REVOKED,)
    assert again.drains() == (drain,)
    assert again.grow_order() == order
    assert again.events() == (written(event(1, "pc100")),)
    again.close()


def test_intents_come_oldest_first_and_a_repeat_replaces(ledger):
    later = replace(ADD, client_id="node-0", asked=NOON + timedelta(milliseconds=1))
    ledger.add_intents([later, ADD])
    ledger.add_intents([replace(ADD, asked=NOON + timedelta(hours=1))])
    assert [i.client_id for i in ledger.intents()] == ["node-0", "node-1"]


def test_the_same_name_at_another_cm_or_of_another_kind_is_another_intent(ledger):
    others = [replace(ADD, cm="urn:other"), replace(ADD, kind=IntentKind.DELETE)]
    ledger.add_intents([ADD, *others])
    ledger.remove_intents([ADD])
    assert set(ledger.intents()) == set(others)


def test_what_is_not_there_can_be_removed(ledger):
    ledger.remove_intents([ADD])
    ledger.remove_revocation(("", "pc1"))
    ledger.remove_drain("urn:cm", "pc1")
    ledger.remove_grow_order()


def test_revocations_come_by_deadline_and_the_newest_word_counts(ledger):
    ledger.put_revocation(REVOKED)
    ledger.put_revocation(replace(REVOKED, node_id="pc1", deadline=NOON))
    ledger.put_revocation(replace(REVOKED, releasable=True))
    assert [(r.node_id, r.releasable) for r in ledger.revocations()] == [("pc1", False), ("pc100", True)]
    ledger.remove_revocation(("", "pc1"))
    assert [r.node_id for r in ledger.revocations()] == ["pc100"]


def test_a_drain_may_have_no_deadline(ledger):
    ledger.put_drain(AdminDrain("pc7", "why", "ada", NOON))
    assert ledger.drains()[0].deadline is None
    ledger.remove_drain("", "pc7")
    assert ledger.drains() == ()


def test_the_newest_events_are_told_oldest_first(ledger):
    for number in range(6):
        ledger.record(event(number, f"pc{number % 2}"))
    assert [e.data["failures"] for e in ledger.events(newest=2)] == [4, 5]
    assert [e.data["failures"] for e in ledger.events("pc0", newest=2)] == [2, 4]


def test_events_can_be_followed(ledger):
    for number in range(3):
        ledger.record(event(number))
    first, *rest = ledger.history(after=0)
    assert list(ledger.history(after=first[0])) == rest
    assert ledger.history(after=first[0], newest=1) == (rest[0],)
    assert ledger.history(after=rest[-1][0]) == ()
    assert ledger.last_event() == rest[-1][0]


def test_an_event_about_several_nodes_is_found_by_each_of_them_and_by_no_other_name(ledger):
    ledger.record(event(1, "pc1,pc10"))
    ledger.record(event(2, "pc2"))
    assert [e.data["failures"] for e in ledger.events("pc10")] == [1]
    assert [e.data["failures"] for _, e in ledger.history(["pc1", "pc2"])] == [1, 2]
    assert ledger.events("pc") == ()
    assert ledger.events("%") == ()


def test_whoever_waits_for_an_event_is_let_go_for_good(ledger):
    ledger.let_go()
    ledger.wait_for_event(0, 60)


def test_the_history_is_bounded():
    ledger = Ledger(":memory:", max_events=10)
    for number in range(100):
        ledger.record(event(number))
    kept = ledger.events(newest=1000)
    assert len(kept) <= 20
    assert kept[-1] == written(event(99))
    ledger.close()


@pytest.mark.parametrize(
    "data", [None, OfCm("urn:cm"), Release(-3.5, None), Request(0, 100, "drain", 'refused: "é"')]
)
def test_data_comes_back_by_its_names(ledger, data):
    ledger.record(told := Event(NOON, EventKind.ADMIN, "", "x", data))
    assert ledger.events() == (written(told),)


def test_an_event_of_a_kind_that_only_another_version_knows_is_read(path, ledger):
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        row = ("2026-11-22T12:00:00.000000+00:00", "moonshine", "pc1", "x", '{"proof": 80}')
        connection.execute(
            "INSERT INTO events (time, kind, subject, message, data) VALUES (?, ?, ?, ?, ?)", row
        )
    again = reopened(path)
    assert again.events() == (PastEvent(NOON, "moonshine", "pc1", "x", {"proof": 80}),)
    again.close()


def test_machines_of_one_node_id_at_two_cms_have_a_drain_each(ledger):
    drains = tuple(AdminDrain("pc7", "why", "ada", NOON, cm=cm) for cm in ("urn:a", "urn:b"))
    for drain in drains:
        ledger.put_drain(drain)
    assert ledger.drains() == drains
    ledger.remove_drain("urn:a", "pc7")
    assert ledger.drains() == drains[1:]


def test_a_drain_at_a_cm_takes_the_place_of_an_older_agents_and_of_no_other(ledger):
    whole, older, other = (AdminDrain(name, "why", "ada", NOON) for name in ("", "pc7", "pc8"))
    for drain in (whole, older, other):
        ledger.put_drain(drain)
    ledger.put_drain(bound := replace(older, cm="urn:cm", reason="why not"))
    ledger.put_drain(nameless := replace(whole, cm="urn:cm"))
    assert set(ledger.drains()) == {whole, other, bound, nameless}


def test_hostile_text_comes_back_as_it_was(ledger):
    text = "a'; DROP TABLE intents; -- \x00 \n é"
    ledger.put_drain(AdminDrain("pc7", text, text, NOON))
    assert ledger.drains()[0].reason == text


@pytest.mark.parametrize("place", ["file", ":memory:"])
def test_many_threads_may_write_at_once(place, path):
    ledger = Ledger(path if place == "file" else place)

    def write(number):
        for turn in range(10):
            ledger.add_intents([replace(ADD, client_id=f"node-{number}-{turn}")])
            ledger.record(event(turn))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ledger.intents()) == 40
    assert len(ledger.events(newest=100)) == 40
    ledger.close()


@pytest.mark.parametrize("damage", ["no database", "torn page"])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path, damage):
    ledger = Ledger(path)
    for number in range(500):
        ledger.record(event(number, "pc" * 50))
    ledger.close()
    content = path.read_bytes()
    torn = content[:8192] + b"\xff" * (len(content) - 8192)
    path.write_bytes(b"not a database at all" * 50 if damage == "no database" else torn)

    again = Ledger(path)

    assert again.intents() == ()
    assert len(list(path.parent.glob("ledger.db.corrupt-*"))) == 1
    again.add_intents([ADD])
    again.close()


def test_what_each_cm_held_is_replaced_by_the_newest_word(ledger):
    holding = Holding(
        "urn:cm", {"node-2": "s2", "node-1": ""}, NOON, made=True, sliver_urn="s", parts=frozenset({"data"})
    )
    ledger.put_holding(replace(holding, expires=None, there=False, made=False))
    ledger.put_holding(holding)
    assert ledger.holdings() == (holding,)


def test_where_each_cm_is_called_is_replaced_by_the_newest_word(path, ledger):
    ledger.cms.put_urls({"urn:cm": "https://old.example.net/cm", "urn:other": "https://other.example.net/cm"})
    ledger.cms.put_urls({"urn:cm": "https://new.example.net/cm"})
    ledger.close()
    known = {"urn:cm": "https://new.example.net/cm", "urn:other": "https://other.example.net/cm"}
    with closing(reopened(path)) as again:
        assert again.cms.urls() == known


def test_a_wish_for_a_whole_cm_is_kept_until_it_is_struck(path, ledger):
    wish = CmTeardown("urn:cm", "ada", NOON)
    ledger.cms.put_teardown(wish)
    ledger.cms.put_teardown(due := replace(wish, who="bob", deadline=NOON + timedelta(hours=1)))
    ledger.close()
    with closing(reopened(path)) as again:
        assert again.cms.teardowns() == (due,)
        again.cms.put_teardown(lifted := replace(due, lifted=True))
        assert again.cms.teardowns() == (lifted,)
        again.cms.remove_teardown("urn:cm")
        again.cms.remove_teardown("urn:cm")
        assert again.cms.teardowns() == ()


@pytest.fixture
def of_two_cms(ledger):
    """A ledger that knows something of urn:cm and of urn:other."""
    for cm in ("urn:cm", "urn:other"):
        ledger.put_holding(Holding(cm, {"node-2": "s2"}, NOON))
        ledger.add_intents([replace(ADD, cm=cm)])
        ledger.cms.put_teardown(CmTeardown(cm, "ada", NOON, NOON + timedelta(hours=1)))
        ledger.cms.put_urls({cm: f"https://{cm[4:]}.example.net/cm"})
    return ledger


def cms_of(ledger):
    """Of which CMs each kind of record is."""
    return [
        {holding.cm for holding in ledger.holdings()},
        {intent.cm for intent in ledger.intents()},
        {wish.cm for wish in ledger.cms.teardowns()},
        set(ledger.cms.urls()),
    ]


def test_a_cm_that_is_forgotten_leaves_what_people_wished_there_and_costs_no_other(of_two_cms):
    of_two_cms.forget_cm("urn:cm")
    of_two_cms.forget_cm("urn:unknown")
    assert cms_of(of_two_cms) == [{"urn:other"}, {"urn:other"}, {"urn:cm", "urn:other"}, {"urn:other"}]


def test_a_renamed_cm_is_known_by_its_new_name_alone(of_two_cms):
    of_two_cms.put_holding(Holding("urn:new", {}, None, there=False))
    of_two_cms.cms.rename("urn:cm", "urn:new")
    assert cms_of(of_two_cms) == [{"urn:new", "urn:other"}] * 4
    assert {h.cm: h.machines for h in of_two_cms.holdings()}["urn:new"] == {"node-2": "s2"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=str(tmp_path / "file" / "ledger.db")):
        Ledger(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(Path(tmp_path))


def test_a_fault_while_writing_leaves_nothing_half_done(ledger, path):
    with pytest.raises(LedgerError, match=str(path)):
        ledger.add_intents([ADD, replace(ADD, client_id=object())])
    assert ledger.intents() == ()
    ledger.add_intents([ADD])
    assert ledger.intents() == (ADD,)


def test_credentials_of_slices_are_kept_until_they_end(path):
    one, other, hour = "urn:publicid:IDN+example.net+slice+One", "urn:two", timedelta(hours=1)
    ledger = Ledger(path)
    ledger.put_credential(one, "a", "first", NOON + hour, NOON)
    ledger.put_credential(one, "b", "second", NOON + 3 * hour, NOON)
    ledger.put_credential(other, "c", "another's", NOON + 3 * hour, NOON)
    ledger.put_credential(one, "a", "renewed", NOON + 2 * hour, NOON + hour / 2)
    ledger.close()
    ledger = Ledger(path)
    assert ledger.credentials(one.upper()) == ("second", "renewed"), "the one that was stored last at the end"
    ledger.put_credential(other, "c", "another's", NOON + 4 * hour, NOON + 2 * hour)
    assert ledger.credentials(one) == ("second",)
    ledger.close()


def test_an_event_that_cannot_be_written_is_not_the_callers_trouble():
    ledger = Ledger(":memory:")
    ledger.close()
    ledger.record(event(1))
    with pytest.raises(LedgerError):
        ledger.intents()


def test_what_was_told_of_some_kinds_is_read_oldest_first(ledger):
    for number in range(4):
        ledger.record(event(number))
    ledger.record(Event(NOON, EventKind.STEP, "", "another kind"))
    kinds = (EventKind.GROWTH_STOPPED, EventKind.PROBE)
    assert ledger.told(kinds, newest=2) == (written(event(2)), written(event(3)))
    assert ledger.told((EventKind.PROBE,)) == ()


def test_fences_are_kept_until_they_are_struck(path, ledger):
    for name in ("esagent-a-1", "esagent-a-2", "esagent-a-1"):
        ledger.put_fence(name)
    ledger.remove_fence("esagent-a-2")
    ledger.remove_fence("esagent-never")
    ledger.close()
    assert Ledger(path).fences() == ("esagent-a-1",)


def test_estimates_that_were_wrong_are_kept_as_a_whole(path, ledger):
    mark = WrongEstimate("a1", "m510", False, "b2", "12", "Resources", NOON, "c3")
    alone = replace(mark, where="head", is_node=True, since=NOON - timedelta(hours=1), rules="", alone=True)
    ledger.keep_wrong([replace(mark, job="9")])
    ledger.keep_wrong([mark, alone])
    ledger.close()
    assert Ledger(path).wrong() == (alone, mark)


def test_what_machines_are_is_kept_by_type_the_newest_words_of_each(path, ledger):
    for kind, words in (("m510", "old"), ("xl170", "{}"), ("m510", "new")):
        ledger.put_machine_type(kind, words)
    ledger.close()
    assert Ledger(path).machine_types() == {"m510": "new", "xl170": "{}"}
