"""What is told of each sliver's end."""

from datetime import UTC, datetime, timedelta

from agent.core.settings import LeaseSettings
from agent.core.slice.hindrance import Hindrance
from agent.core.slice.outlook import outlook, what_is_done
from agent.core.slice.sparing import Sparing
from agent.core.views import Lapse

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_what_is_done_about_a_refusal():
    hindrance = Hindrance("reserved", "Insufficient free nodes", "reserve them", again=NOON)
    assert what_is_done(hindrance, None, HOUR) == "it is tried again at 2026-11-22T13:00:00Z"
    plan = Sparing("m510", 1, NOON + 2 * HOUR, NOON + 3 * HOUR)
    assert what_is_done(hindrance, plan, HOUR).endswith(
        ", and 1 of type m510 is emptied from 2026-11-22T14:00:00Z to 2026-11-22T15:00:00Z and given back,"
        " so that the others are renewed"
    )


EMPTIED = "unless it is renewed before, our machines there are emptied from 2026-11-22T11:00:00Z on"


def test_each_sliver_is_told_with_its_end_and_what_is_in_the_way():
    lease = LeaseSettings(duration="24h")
    at_a = Lapse("urn:a", NOON, "no", obstacle="reserved", mend="reserve them", follows="it is tried again")
    at_b = Lapse("urn:b", NOON, "no", obstacle="idle", mend="ask")
    told = outlook(
        {"urn:a": NOON, "urn:b": NOON, "urn:c": NOON}, [at_a, at_b, Lapse("", NOON, "never")], lease
    )
    assert told[0] == (
        "the sliver at urn:a lasts until 2026-11-22T12:00:00Z and no longer (reserved): no; reserve them;"
        f" it is tried again; {EMPTIED};"
        " machines are admitted there until a lease ends: one shorter than 1d admits more"
    )
    assert told[1:] == (
        f"the sliver at urn:b lasts until 2026-11-22T12:00:00Z and no longer (idle): no; ask; {EMPTIED}",
        "the sliver at urn:c lasts until 2026-11-22T12:00:00Z",
    )


def test_a_sliver_that_nobody_renews_is_told_though_its_cm_is_silent():
    [told] = outlook({}, [Lapse("urn:a", NOON, "nobody answers there", answered=False)], LeaseSettings())
    lasts = "the sliver at urn:a lasts until 2026-11-22T12:00:00Z"
    assert told == f"{lasts}, and nobody renews it: nobody answers there; {EMPTIED}"
