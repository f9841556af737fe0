"""What ends is told early, once a day."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.tell.expiry import ExpiryWarning

END = datetime(2026, 12, 31, tzinfo=UTC)


@pytest.fixture
def warning():
    return ExpiryWarning("the certificate", "get a new one")


def test_nothing_is_said_while_there_is_time(warning):
    assert warning.look(END, END - timedelta(days=14)) == ""
    assert warning.look(END, END - timedelta(hours=2), timedelta(hours=2)) == ""


def test_the_end_is_told_once_a_day_and_when_it_has_come(warning):
    now = END - timedelta(days=13, hours=23)
    said = []
    while now < END + timedelta(hours=30):
        if words := warning.look(END, now):
            said.append(words)
        now += timedelta(minutes=10)
    assert len(said) == 16
    assert said[0] == ("the certificate ends at 2026-12-31T00:00:00Z, in 13 days and 23 hours; get a new one")
    assert said[-1] == "the certificate ended at 2026-12-31T00:00:00Z: get a new one"


def test_what_was_renewed_is_told_again_near_its_new_end_only(warning):
    now = END - timedelta(hours=1)
    later = END + timedelta(days=30)
    assert warning.look(END, now)
    assert warning.look(later, now) == ""
    assert warning.look(later, later - timedelta(hours=1))
