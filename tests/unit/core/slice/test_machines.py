"""What becomes of a new machine, by its status and the time."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model import NodeStatus
from agent.core.slice.machines import judge_boot

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


def status(state="started", status="changing"):
    return NodeStatus("node-1", "pc1", "s1", state, status, error="TBFAILED")


@pytest.mark.parametrize(
    ("entry", "age", "expected"),
    [
        (status(), 10, ""),
        (status(), 601, "failed"),
        (status(status="ready"), 10, "ready"),
        (status(status="ready"), 6000, "ready"),
        (status(state="stopped", status="ready"), 10, ""),
        (status(status="failed"), 10, "failed"),
        (status(status="never heard of"), 10, ""),
        (None, 10, ""),
        (None, 601, "failed"),
    ],
)
def test_a_boot_is_judged_by_status_and_time(entry, age, expected):
    verdict = judge_boot(entry, NOON, later(age), 600)
    assert verdict.status == expected
    assert bool(verdict.reason) == bool(expected)
