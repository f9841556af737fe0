"""Pauses grow."""

from datetime import UTC, datetime, timedelta

from agent.core.scaling.backoff import Backoff, lengthen

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


def test_a_pause_doubles_up_to_its_limit():
    pause = lengthen(None, NOON, "why", first=60, limit=200)
    assert pause == Backoff(later(60), 60, "why")
    pause = lengthen(pause, NOON, "why", first=60, limit=200)
    assert pause.delay == 120
    assert lengthen(pause, NOON, "why", first=60, limit=200).delay == 200
