"""What stands in Slurm is read back as it was meant."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.jobs import SignalJob, WarnJob
from agent.cluster.reasons import Drain, DrainCause, parse_reason, told_before
from agent.slurm.model import Job, SignalTarget

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "drain",
    [
        Drain("pc1", DrainCause.REVOKED, at(60)),
        Drain("pc1", DrainCause.ADMIN, who="ada", why="disk: 3 bad blocks, due soon"),
        Drain("pc1", DrainCause.ADMIN, at(60), who="ada", why="disk"),
        Drain("pc1", DrainCause.SURPLUS),
    ],
)
def test_a_reason_in_slurm_tells_a_restarted_agent_all_it_needs(drain: Drain) -> None:
    assert parse_reason("pc1", drain.reason) == drain


@given(st.text())
def test_no_text_of_others_is_taken_for_our_reason(text: str) -> None:
    parsed = parse_reason("pc1", text)
    assert parsed is None or parsed.reason == text


def test_what_slurm_adds_to_a_reason_does_not_hide_the_deadline() -> None:
    drain = Drain("pc1", DrainCause.REVOKED, at(900))
    assert parse_reason("pc1", f"{drain.reason} : Not responding") == drain


def test_what_a_job_was_told_can_be_read_back_from_its_comment() -> None:
    warning = WarnJob(
        Job("7", "RUNNING", nodes=frozenset({"pc1"})),
        "its machine has to be empty at 2026-11-22T12:10:00Z; it may not",
    )
    assert told_before(warning.comment, NOW) == (True, None)
    assert told_before(warning.comment, at(601)) == (False, None)
    due = "its machine has to be empty at 2026-11-22T12:10:00Z"
    signal = SignalJob(Job("7", "RUNNING", nodes=frozenset({"pc1"})), "USR1", SignalTarget.ALL, due, at(5))
    assert told_before(signal.comment, NOW) == (True, at(5))
    for words in ("", "mine", f"requeued by esagent: {due}", "esagent: anything"):
        assert told_before(words, NOW) == (False, None)
