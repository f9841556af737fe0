"""CMs that agent.conf has no more: those that only have another URN, and those that are to be emptied."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from agent.cloudlab.retired import Departed, find_departed, take_leave
from agent.cloudlab.settings import CmSettings
from agent.core.model import CmTeardown, Holding, Intent, IntentKind
from agent.ledger.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
UTAH_URL = "https://utah.example.net:12369/protogeni/xmlrpc/cm/2.0"
WISC_URL = "https://wisc.example.net:12369/protogeni/xmlrpc/cm/2.0"
IN_USE = (CmSettings(urn=WISC, url=WISC_URL),)
URLS = {UTAH: UTAH_URL, WISC: WISC_URL}


def held(cm: str, *names: str, there: bool = True, made: bool = False) -> Holding:
    return Holding(cm, {name: f"id-{name}" for name in names}, NOON, there=there, made=made)


def asked(cm: str, kind: IntentKind = IntentKind.ADD) -> Intent:
    return Intent(kind, cm, "es-1", NOON)


def test_what_is_in_use_is_not_retired() -> None:
    assert find_departed(IN_USE, [held(WISC, "es-1")], [asked(WISC)], URLS) == Departed()


def test_one_with_machines_is_retired_with_its_url() -> None:
    assert find_departed(IN_USE, [held(UTAH, "es-1")], [], URLS) == Departed(retired={UTAH: UTAH_URL})


def test_a_sliver_of_ours_without_machines_or_a_lost_call_is_enough() -> None:
    for holdings, intents in (
        ([held(UTAH, made=True)], []),
        ([], [asked(UTAH)]),
        ([held(UTAH, there=False)], [asked(UTAH, IntentKind.DELETE)]),
    ):
        assert find_departed(IN_USE, holdings, intents, URLS).retired == {UTAH: UTAH_URL}


def test_one_that_has_nothing_of_ours_is_no_matter() -> None:
    nothing = [held(UTAH, there=False), held("urn:other", there=True, made=False)]
    assert find_departed(IN_USE, nothing, [], URLS) == Departed()


def test_where_an_older_agent_kept_no_url_it_is_not_known() -> None:
    assert find_departed(IN_USE, [held(UTAH, "es-1")], [], {}).retired == {UTAH: ""}


def test_the_same_url_under_another_urn_is_the_same_cm() -> None:
    urls = {UTAH: WISC_URL.upper().replace("HTTPS", "https") + "/"}
    assert find_departed(IN_USE, [held(UTAH, "es-1")], [], urls) == Departed(renamed={UTAH: WISC})
    empty = [held(UTAH, "es-1"), held(WISC, there=False)]
    assert find_departed(IN_USE, empty, [], urls) == Departed(renamed={UTAH: WISC})


def test_another_spelling_of_a_urn_is_the_same_cm_whatever_its_url() -> None:
    spelt = WISC.replace("wisc", "Wisc")
    assert find_departed(IN_USE, [held(spelt, "es-1")], [], {}) == Departed(renamed={spelt: WISC})


def test_another_url_under_the_same_urn_is_the_same_cm() -> None:
    urls = {WISC: "https://old.example.net:12369/protogeni/xmlrpc/cm/2.0"}
    assert find_departed(IN_USE, [held(WISC, "es-1")], [], urls) == Departed()


def test_one_is_never_asked_at_the_url_of_another_that_holds_something_too() -> None:
    urls = {UTAH: WISC_URL, WISC: WISC_URL}
    both = [held(UTAH, "es-1"), held(WISC, "es-2")]
    assert find_departed(IN_USE, both, [], urls) == Departed(retired={UTAH: ""})
    two_old = [held(UTAH, "es-1"), held(f"{UTAH}2", "es-2")]
    found = find_departed(IN_USE, two_old, [], {UTAH: WISC_URL, f"{UTAH}2": WISC_URL})
    assert found == Departed(renamed={UTAH: WISC}, retired={f"{UTAH}2": ""})


def test_at_a_start_what_is_remembered_follows_a_cm_to_its_new_urn() -> None:
    with closing(Ledger(":memory:")) as ledger:
        ledger.put_holding(held(UTAH, "es-1"))
        ledger.add_intents([asked(UTAH)])
        ledger.cms.put_urls({UTAH: WISC_URL})
        assert take_leave(IN_USE, ledger) == Departed(renamed={UTAH: WISC})
        assert [(h.cm, set(h.machines)) for h in ledger.holdings()] == [(WISC, {"es-1"})]
        assert [intent.cm for intent in ledger.intents()] == [WISC]
        assert ledger.cms.urls() == {WISC: WISC_URL}
        assert take_leave(IN_USE, ledger) == Departed()


def test_one_that_was_emptied_on_demand_stays_so_under_another_urn() -> None:
    spelt = WISC.replace("wisc", "Wisc")
    with closing(Ledger(":memory:")) as ledger:
        ledger.cms.put_teardown(CmTeardown(spelt, "root", NOON, None))
        assert take_leave(IN_USE, ledger) == Departed(renamed={spelt: WISC})
        assert [wish.cm for wish in ledger.cms.teardowns()] == [WISC]


def test_a_wish_alone_makes_no_cm_one_that_left() -> None:
    assert find_departed(IN_USE, [], [], URLS, {UTAH, WISC}) == Departed()
    assert find_departed(IN_USE, [held(WISC, "es-1")], [], {UTAH: WISC_URL}, {UTAH}) == Departed()
