"""What a refused renewal is hindered by, and when it is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import (
    AccountError,
    BusyError,
    EndingError,
    ForbiddenError,
    InsufficientNodesError,
    PromisedError,
    QuotaError,
    RefusedError,
    RenewalRefusedError,
    UnreachableError,
)
from agent.core.obstacles import RenewalObstacle
from agent.core.slice.hindrance import KINDS, hindrance_of, hindrance_words, may_admit_less, pause_after

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("error", "kind", "less"),
    [
        *(
            (
                RenewalRefusedError("no", obstacle=obstacle),
                obstacle.value,
                obstacle.value in {"reserved", "prereserve", "limit", "maximum", "other"},
            )
            for obstacle in RenewalObstacle
        ),
        (PromisedError("no", node_id="pc1"), "promised", False),
        (EndingError("no"), "ending", False),
        (AccountError("no"), "account", False),
        (RefusedError("no"), "other", True),
        (QuotaError("no"), "other", False),
    ],
)
def test_what_a_refusal_means(error, kind, less):
    hindrance = hindrance_of(error)
    assert hindrance.kind == kind
    assert kind in KINDS
    assert hindrance.mend
    assert may_admit_less(error) is less


@pytest.mark.parametrize("error", [BusyError, UnreachableError, ForbiddenError, InsufficientNodesError])
def test_what_may_pass_by_itself_is_no_obstacle(error):
    assert hindrance_of(error("no")) is None


def test_the_pauses_double_and_end_right_before_the_machines_are_emptied():
    pauses = [pause_after(tries, 20 * HOUR, HOUR) for tries in range(1, 6)]
    assert pauses == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR]
    assert pause_after(5, HOUR + 35 * MINUTE, HOUR) == 30 * MINUTE
    assert pause_after(5, HOUR, HOUR) == 5 * MINUTE
    assert pause_after(5, 8 * MINUTE, HOUR) == 2 * MINUTE
    assert pause_after(5, -MINUTE, HOUR) == timedelta()


def test_it_is_said_what_is_in_the_way_and_what_follows():
    promised = hindrance_of(PromisedError("Refused cause pc1 is pre-reserved.", node_id="pc1"))
    words = hindrance_words(promised, NOON, goes=True)
    assert words.startswith("the sliver is not renewed, since pc1 is promised to others; it is emptied and ")
    assert "give it back to renew the others" in hindrance_words(promised, NOON, goes=False)
    idle = hindrance_of(RenewalRefusedError("idle for too long", obstacle=RenewalObstacle.IDLE))
    assert hindrance_words(idle, NOON, goes=False).startswith(
        "the sliver lasts until 2026-11-22T12:00:00Z and no longer: "
    )
