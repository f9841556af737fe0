"""What ends is told early, once a day, and once more at the last."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.views import Lapse
from agent.tell.expiry import ExpiryWarning, LeaseWarnings

END = datetime(2026, 12, 31, tzinfo=UTC)
THEN = "get a new one"


@pytest.fixture
def warning():
    return ExpiryWarning("the certificate")


def test_nothing_is_said_while_there_is_time(warning):
    assert warning.look(END, THEN, END - timedelta(days=14)) == ""
    assert warning.look(END, THEN, END - timedelta(hours=2), timedelta(hours=2)) == ""


def test_the_end_is_told_once_a_day_at_the_last_and_when_it_has_come(warning):
    now = END - timedelta(days=13, hours=23)
    said = []
    while now < END + timedelta(hours=30):
        if words := warning.look(END, THEN, now):
            said.append(words)
        now += timedelta(minutes=10)
    assert len(said) == 16
    assert [words.partition("in ")[2][:19] for words in said[12:15]] == [
        "1 days and 23 hours",
        "0 days and 23 hours",
        "0 days and 6 hours;",
    ]
    assert said[0] == ("the certificate ends at 2026-12-31T00:00:00Z, in 13 days and 23 hours; get a new one")
    assert said[-1] == "the certificate ended at 2026-12-31T00:00:00Z: get a new one"


def test_what_was_renewed_is_told_again_near_its_new_end_only(warning):
    now = END - timedelta(hours=1)
    later = END + timedelta(days=30)
    assert warning.look(END, THEN, now)
    assert warning.look(later, THEN, now) == ""
    assert warning.look(later, THEN, later - timedelta(hours=1))


def test_a_lease_that_nobody_renews_is_told_once_a_day_from_three_days_before_and_at_the_last():
    warnings, said = LeaseWarnings(), []
    lapse = Lapse("", END, '[lease] renew is "never"')
    now = END - timedelta(days=6)
    while now < END:
        said += [(now, words) for _, words in warnings.look([lapse], now)]
        now += timedelta(minutes=10)
    assert [END - at for at, _ in said] == [
        timedelta(days=2, hours=23, minutes=50),
        timedelta(days=1, hours=23, minutes=50),
        timedelta(hours=23, minutes=50),
        timedelta(hours=6),
    ]
    assert said[0][1] == (
        "the slice ends at 2026-12-31T00:00:00Z, in 2 days and 23 hours; every machine in it is lost then. "
        'Nobody renews it: [lease] renew is "never". `esagent renew` does now'
    )


def test_a_refusal_is_told_with_what_can_be_done_and_once_though_minutes_are_granted():
    warnings, now = LeaseWarnings(), END - timedelta(hours=20)
    refused = Lapse("urn:a", END, "idle for too long", obstacle="idle", mend="ask its operators")
    [(_, words)] = warnings.look([refused], now)
    assert words.endswith("It is not renewed: idle for too long; ask its operators")
    later = replace(refused, expires=END + timedelta(minutes=3))
    assert list(warnings.look([later], now + timedelta(minutes=1))) == []
    moved = replace(refused, expires=END + timedelta(minutes=30))
    assert len(list(warnings.look([moved], now + timedelta(minutes=2)))) == 1


def test_in_the_last_hour_minutes_are_told():
    [(_, words)] = LeaseWarnings().look([Lapse("", END, "no")], END - timedelta(minutes=59, seconds=30))
    assert words.startswith("the slice ends at 2026-12-31T00:00:00Z, in 59 minutes; ")


def test_where_nobody_answers_no_command_is_said_to_renew():
    silent = Lapse("urn:a", END, "nobody answers there", answered=False)
    [(_, words)] = LeaseWarnings().look([silent], END - timedelta(hours=20))
    assert words.endswith("Nobody renews it: nobody answers there")


def test_each_lease_has_warnings_of_its_own_whatever_hinders_it_this_time():
    warnings = LeaseWarnings()
    now = END - timedelta(days=1)
    first = [Lapse("urn:a", END, "no connection"), Lapse("urn:b", END, "refused")]
    assert [(e.cm, "urn:" in words) for e, words in warnings.look(first, now)] == [
        ("urn:a", True),
        ("urn:b", True),
    ]
    other_words = [Lapse("urn:a", END, "no answer")]
    assert list(warnings.look(other_words, now + timedelta(hours=1))) == []
