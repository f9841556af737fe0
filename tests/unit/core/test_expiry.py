"""The certificate's end is told early, once a day."""

from datetime import UTC, datetime, timedelta

from agent.core.expiry import ExpiryWarning

END = datetime(2026, 12, 31, tzinfo=UTC)


def test_nothing_is_said_while_there_is_time():
    assert ExpiryWarning(END).look(END - timedelta(days=14)) == ""


def test_the_end_is_told_once_a_day_and_when_it_has_come():
    warning = ExpiryWarning(END)
    now = END - timedelta(days=13, hours=23)
    said = []
    while now < END + timedelta(hours=30):
        if words := warning.look(now):
            said.append(words)
        now += timedelta(minutes=10)
    assert len(said) == 16
    assert said[0].endswith("ends at 2026-12-31T00:00:00Z, in 13 days and 23 hours")
    assert "ended at 2026-12-31T00:00:00Z" in said[-1]
