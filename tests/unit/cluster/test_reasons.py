"""What stands in Slurm is read back as it was meant."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.jobs import SignalJob, WarnJob
from agent.cluster.reasons import (
    TEARDOWN,
    Drain,
    DrainCause,
    cancel_comment,
    is_ours,
    is_same_time,
    marks,
    parse_reason,
    prospect,
    requeue_comment,
    taken_from,
    told_before,
    why_cancelled,
    why_requeued,
)
from agent.slurm.model import Job, SignalTarget
from tests.unit.cluster.conftest import a_machine

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
        Drain("pc1", DrainCause.SURPLUS, at(60)),
        Drain("pc1", DrainCause.SURPLUS, at(60), slivers=frozenset({"4021", "4023"})),
        Drain("pc1", DrainCause.TAKEN),
        Drain("pc1", DrainCause.SURPLUS, slivers=frozenset({"4021"})),
        Drain("pc1", DrainCause.TAKEN, slivers=frozenset({"4021", "4023"})),
        Drain("pc1", DrainCause.ADMIN, who="ada", why="see, sliver 7: bad", slivers=frozenset({"4021"})),
    ],
)
def test_a_reason_in_slurm_tells_a_restarted_agent_all_it_needs(drain: Drain) -> None:
    assert parse_reason("pc1", drain.reason) == drain


marks_st = st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True)
words_st = st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1)


@given(
    st.builds(
        Drain,
        st.just("pc1"),
        st.sampled_from(DrainCause),
        st.integers(0, 10**6).map(at),
        st.from_regex(r"[a-z][a-z0-9_-]{0,30}", fullmatch=True),
        st.lists(words_st, min_size=1).map(" ".join),
        st.booleans(),
        slivers=st.frozensets(marks_st, max_size=10),
    ),
    st.sampled_from(["", " : Not responding"]),
)
def test_whatever_was_said_of_whichever_machine_is_read_back(drain: Drain, slurms_own: str) -> None:
    parsed = parse_reason("pc1", f"{drain.reason}{slurms_own}")
    assert parsed is not None
    assert (parsed.cause, parsed.slivers, parsed.reason) == (drain.cause, drain.slivers, drain.reason)
    if drain.cause is DrainCause.ADMIN:
        assert parsed == drain


def test_a_reason_names_the_machine_by_the_last_part_of_its_sliver_id() -> None:
    machine = replace(a_machine(1), sliver_id="urn:publicid:IDN+cm.example.net+sliver+4021")
    assert taken_from("pc1", machine) == "esagent: taken by Cloudlab, sliver 4021"
    drain = Drain("pc1", DrainCause.REVOKED, at(60), slivers=marks(machine))
    assert drain.reason == "esagent: revoked by Cloudlab, due 2026-11-22T12:01:00Z, sliver 4021"
    assert drain.words == "esagent: revoked by Cloudlab, due 2026-11-22T12:01:00Z"


@pytest.mark.parametrize(
    ("sliver_id", "expected"),
    [
        ("", frozenset()),
        ("urn:sliver+", frozenset()),
        ("urn:sliver+é: 'x'", {"x"}),
        ("no-urn", {"no-urn"}),
        ("urn:sliver+" + "1" * 50, {"1" * 40}),
    ],
)
def test_a_mark_is_what_comes_back_from_slurm_for_certain(sliver_id: str, expected: frozenset[str]) -> None:
    assert marks(replace(a_machine(1), sliver_id=sliver_id)) == expected


ALL_CAUSES = [
    Drain("pc1", DrainCause.TAKEN),
    Drain("pc1", DrainCause.REVOKED, at(60)),
    Drain("pc1", DrainCause.ADMIN, who="ada", why="disk"),
    Drain("pc1", DrainCause.ADMIN, who="ada", why=TEARDOWN),
    Drain("pc1", DrainCause.SURPLUS),
]


@pytest.mark.parametrize("drain", ALL_CAUSES)
def test_a_drain_holds_for_the_machine_that_it_names_and_for_no_other(drain: Drain) -> None:
    for slivers, expected in (({"1"}, True), ({"0", "1"}, True), ({"0"}, False)):
        assert replace(drain, slivers=frozenset(slivers)).is_meant_for(a_machine(1), NOW) is expected


@pytest.mark.parametrize("drain", ALL_CAUSES)
def test_a_drain_holds_for_a_machine_that_cannot_be_told_from_others(drain: Drain) -> None:
    machine = replace(a_machine(1), sliver_id="")
    for slivers in (frozenset(), frozenset({"0"})):
        assert replace(drain, slivers=slivers).is_meant_for(machine, NOW)


def test_of_what_an_older_version_wrote_only_what_is_found_out_anew_does_not_hold() -> None:
    held = [drain for drain in ALL_CAUSES if drain.is_meant_for(a_machine(1), NOW)]
    assert held == ALL_CAUSES[:4]
    assert not ALL_CAUSES[1].is_meant_for(a_machine(1), at(60)), "its deadline is past"
    assert Drain("pc1", DrainCause.REVOKED).is_meant_for(a_machine(1), NOW), "it has no deadline"


@pytest.mark.parametrize(
    ("drain", "reason"),
    [
        (Drain("pc1", DrainCause.REVOKED, at(60)), "esagent: revoked by Cloudlab, due 2026-11-22T12:01:00Z"),
        (Drain("pc1", DrainCause.ADMIN, None, "ada", TEARDOWN), "esagent: drained by ada: teardown"),
        (
            Drain("pc1", DrainCause.ADMIN, at(60), "ada", "disk", give_back=True),
            "esagent: drained by ada, to be given back, due 2026-11-22T12:01:00Z: disk",
        ),
        (Drain("pc1", DrainCause.SURPLUS), "esagent: surplus, to be given back"),
        (Drain("pc1", DrainCause.TAKEN), "esagent: taken by Cloudlab"),
    ],
)
def test_a_reason_reads_as_versions_before_wrote_it(drain: Drain, reason: str) -> None:
    assert drain.reason == reason
    assert parse_reason("pc1", reason) == drain


def test_a_machine_that_goes_for_the_others_is_not_called_surplus_while_its_jobs_run() -> None:
    spared = Drain("pc1", DrainCause.SURPLUS, at(60))
    assert spared.reason == "esagent: given back for the lease of the others, due 2026-11-22T12:01:00Z"


def test_an_administrator_may_have_said_nothing() -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada")
    assert parse_reason("pc1", drain.reason.rstrip()) == drain


def test_a_drain_is_no_more_than_was_said() -> None:
    assert Drain("pc1", DrainCause.ADMIN) == Drain(
        *("pc1", DrainCause.ADMIN, None, "", ""),
        give_back=False,
        takes_over=False,
        since=None,
        seconded=False,
        begun=None,
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("esagent: its machine joins", True),
        ("esagent: no machine behind it", True),
        ("esagent: no machine for it: none is free", True),
        ("esagent: silent for too long, no new jobs", True),
        ("esagent: surplus, to be given back", True),
        ("esagent: flaky disk, ask bob", False),
        ("disk is dying", False),
        ("", False),
    ],
)
def test_our_reasons_are_told_from_others(reason: str, expected: bool) -> None:
    assert is_ours(reason) is expected


def test_a_machine_is_left_where_cloudlab_wants_it_or_we_do_not() -> None:
    left = {cause for cause in DrainCause if Drain("pc1", cause).leaves}
    assert left == {"revoked", "surplus"}
    assert Drain("pc1", DrainCause.ADMIN, give_back=True).leaves
    assert not any(Drain("pc1", cause, give_back=True, foreign=True).leaves for cause in DrainCause)


def test_causes_go_by_these_words_the_most_urgent_first() -> None:
    assert list(DrainCause) == ["taken", "revoked", "lease", "admin", "surplus"]


@pytest.mark.parametrize(("since", "expected"), [(None, False), (-1, False), (0, False), (1, True)])
def test_a_drain_begins_at_once_or_at_its_time(since: int | None, expected: bool) -> None:
    drain = Drain("pc1", DrainCause.REVOKED, since=None if since is None else at(since))
    assert drain.is_later_than(NOW) is expected


@pytest.mark.parametrize(("seconds", "expected"), [(0, True), (5, True), (5.1, False)])
def test_times_within_five_seconds_come_of_one_deadline(seconds: float, expected: bool) -> None:
    assert is_same_time(NOW, at(seconds)) is expected
    assert is_same_time(at(seconds), NOW) is expected


def test_what_users_read_about_their_jobs() -> None:
    due = "its machine has to be empty at 2026-11-22T12:00:00Z"
    assert why_requeued(NOW) == f"{due} and it would not end before"
    assert why_cancelled(NOW) == f"{due}, it would not end before, and it may not be requeued"
    assert prospect(None) == "it is left to end, and is lost if it still runs then"
    assert prospect(at(5)) == (
        "it may not be requeued and is cancelled at 12:00:05 UTC if it still runs then"
    )
    assert requeue_comment("x") == "requeued by esagent: x"
    assert cancel_comment("x") == "cancelled by esagent: x"


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
    assert told_before(warning.comment, at(600)) == (False, None)
    assert told_before(warning.comment, at(601)) == (False, None)
    due = "its machine has to be empty at 2026-11-22T12:10:00Z"
    signal = SignalJob(Job("7", "RUNNING", nodes=frozenset({"pc1"})), "USR1", SignalTarget.ALL, due, at(5))
    assert told_before(signal.comment, NOW) == (True, at(5))
    for words in ("", "mine", f"requeued by esagent: {due}", "esagent: anything"):
        assert told_before(words, NOW) == (False, None)
