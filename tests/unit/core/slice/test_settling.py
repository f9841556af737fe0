"""What a manifest settles."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model import Intent, IntentKind
from agent.core.said import Revocation
from agent.core.slice.settling import settle_intents, withdrawn

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"


def later(seconds):
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("kind", "present", "age", "expected"),
    [
        (IntentKind.ADD, True, 0, "done"),
        (IntentKind.ADD, False, 0, "open"),
        (IntentKind.ADD, False, 900, "open"),
        (IntentKind.ADD, False, 901, "void"),
        (IntentKind.ADD, True, 901, "done"),
        (IntentKind.DELETE, False, 0, "done"),
        (IntentKind.DELETE, True, 0, "open"),
        (IntentKind.DELETE, True, 901, "void"),
    ],
)
def test_intents_are_settled_by_the_manifest_and_patience(kind, present, age, expected):
    intent = Intent(kind, CM, "node-1", NOON)
    settled = settle_intents([intent], {"node-1"} if present else set(), later(age), patience=900)
    assert (settled.done, settled.void) == {
        "done": ((intent,), ()),
        "void": ((), (intent,)),
        "open": ((), ()),
    }[expected]


@pytest.mark.parametrize(
    ("deadline", "noticed", "present", "expected"),
    [
        (100, 0, True, True),
        (100, 0, False, False),
        (300, 0, True, False),
        (250, 0, True, False),
        (100, 250, True, False),
        (100, 300, True, False),
    ],
)
def test_a_revocation_is_over_when_its_time_is_long_past_and_the_machine_still_ours(
    deadline, noticed, present, expected
):
    revocation = Revocation("pc1", "node-1", later(deadline), NOON, later(noticed))
    found = withdrawn([revocation], {("", "pc1")} if present else {("", "pc2")}, later(400), 150)
    assert found == ((revocation,) if expected else ())
