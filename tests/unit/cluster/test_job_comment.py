"""The agent's words in a job's AdminComment, beside the site's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.job_comment import MOST, can_be_written, ours_in, with_ours, without_ours
from agent.cluster.reasons import (
    cancel_comment,
    must_be_empty,
    requeue_comment,
    signal_comment,
    signal_told,
    told_before,
    warn_comment,
)
from tests.unit.cluster.drain.conftest import NOW, at

WHY = must_be_empty(at(600))
OURS = [warn_comment(WHY), signal_comment("USR1", NOW, WHY), requeue_comment(WHY), cancel_comment(WHY)]
THEIRS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["two\nlines", "a|b", "[x]", "[", " ", "ends with a space ", "[esagent", "esagent: x", "[] [[esagent:"]
)
words = st.sampled_from(OURS)


@given(THEIRS, words, words)
def test_what_the_site_wrote_is_there_meanwhile_and_afterwards_to_the_letter(theirs, one, other) -> None:
    noted = with_ours(theirs, one)
    assert noted.startswith(theirs)
    assert ours_in(noted) == one
    assert without_ours(noted) == theirs
    assert with_ours(noted, other) == with_ours(theirs, other), "one in place of the other"
    assert without_ours(theirs) == theirs


@given(THEIRS, words, THEIRS)
def test_what_the_site_adds_later_is_kept(theirs, ours, later) -> None:
    assert without_ours(with_ours(theirs, ours) + later) == theirs + later


def test_ours_is_a_sentence_alone_and_in_brackets_beside_the_sites_words() -> None:
    assert with_ours("", requeue_comment("x")) == "requeued by esagent: x."
    assert with_ours("theirs", requeue_comment("x.y [z]")) == "theirs [requeued by esagent: x,y (z)]"


@pytest.mark.parametrize("earlier", OURS)
def test_what_an_earlier_version_wrote_in_place_of_all_is_ours(earlier: str) -> None:
    assert ours_in(earlier) == earlier
    assert without_ours(earlier) == ""


def test_what_a_job_was_told_is_read_back_from_beside_the_sites_words() -> None:
    noted = with_ours("project 7", signal_comment("USR1", NOW, WHY))
    assert told_before(ours_in(noted), NOW) == (True, NOW.replace(microsecond=0))
    assert signal_told(ours_in(noted)) == "USR1"
    requeued = with_ours(noted, requeue_comment(WHY))
    assert told_before(ours_in(requeued), NOW) == (False, None)
    assert signal_told(ours_in(requeued)) == ""
    assert ours_in("project 7") == ""


def test_what_could_not_be_read_to_the_letter_or_is_too_long_is_not_written() -> None:
    assert can_be_written("x" * MOST)
    assert not can_be_written("x" * (MOST + 1))
    assert not can_be_written("caf\N{REPLACEMENT CHARACTER}")
