"""Which jobs start over at once, since they would lose more if they were left until they are requeued."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.cluster.drain.foresight import FEWEST, Method, expect, look_further
from agent.cluster.drain.jobs import Fate, Outlook, RequeueJob, plan_jobs
from agent.cluster.drain.saving import Saving
from agent.slurm.model import Job
from tests.unit.cluster.drain.conftest import NOW, SETTINGS, at

REQUEUED = at(600)
"""When a job that does not end in time is requeued, the deadline being two minutes later."""


def job(ran: float, limit: float | None = 86400, cpus: int = 1, job_id: str = "7") -> Job:
    """One that has run for so many seconds."""
    ends = None if limit is None else at(limit - ran)
    return Job(
        *(job_id, "RUNNING"),
        user="eve",
        name="fit",
        nodes=frozenset({"pc1"}),
        cpus=cpus,
        started=at(-ran),
        ends=ends,
    )


def doomed(which: Job, **changes: object) -> Outlook:
    outlook = Outlook(which, frozenset({"pc1"}), at(720), Fate.REQUEUE, REQUEUED)
    return replace(outlook, **changes)  # type: ignore[arg-type]


def everywhere(jobs: Sequence[Job]) -> Collection[str]:
    return [each.id for each in jobs]


def nowhere(jobs: Sequence[Job]) -> Collection[str]:
    return ()


def look(
    *outlooks: Outlook,
    method: Method = "limits",
    runs: Sequence[float] = (),
    find=everywhere,
    certain=("pc1",),
):
    return look_further(outlooks, NOW, method, lambda _: runs, find, certain)


def starts_over(which: Job, requeue: datetime, now: datetime, method: Method, runs: Sequence[float]) -> bool:
    expected = expect(which, requeue, now, method, runs)
    return expected is not None and expected.starts_over


def test_a_job_that_its_limit_does_not_end_in_time_starts_over_at_once_where_it_has_run_for_less() -> None:
    (outlook,) = look(doomed(job(180)))
    assert outlook.at == NOW
    assert outlook.expected == (
        "expected to end at 2026-11-23T11:57:00Z, by its limit; starting over now loses 3m, later 13m"
    )


def test_a_job_that_has_run_for_longer_than_what_is_left_is_left_to_try() -> None:
    (outlook,) = look(doomed(job(601)))
    assert outlook.at == REQUEUED
    assert "starting over now loses 10m, later 20m" in outlook.expected


def test_a_job_that_finds_no_place_is_left_to_try_and_that_is_said() -> None:
    (outlook,) = look(doomed(job(180)), find=nowhere)
    assert outlook.at == REQUEUED
    assert outlook.expected.endswith("; there is no place for it now")


def test_of_a_job_without_a_limit_its_limit_tells_nothing() -> None:
    before = doomed(job(1, limit=None))
    assert look(before) == (before,)


LEFT_ALONE = {
    "it can save its work": {"saving": Saving("USR1")},
    "somebody would have to release it": {"hold": True},
    "it may not be requeued": {"fate": Fate.CANCEL},
    "it is only to finish": {"fate": Fate.STAYS, "at": None},
    "it is due": {"at": NOW},
    "it is suspended": {"job": replace(job(1), state="SUSPENDED")},
    "it is heterogeneous": {"job": replace(job(1), id="7+0")},
    "it has not started": {"job": replace(job(1), started=None)},
    "one of its nodes may be kept": {"nodes": frozenset({"pc1", "pc2"})},
}


@pytest.mark.parametrize("why", LEFT_ALONE)
def test_a_job_is_left_alone_where(why: str) -> None:
    before = doomed(job(1), **LEFT_ALONE[why])
    assert look(before, method="limits") == look(before, method="history", runs=[9999] * 9) == (before,)


def test_a_job_whose_like_ends_in_time_is_left_to_try() -> None:
    (outlook,) = look(doomed(job(60)), method="history", runs=[200, 300, 250, 280])
    assert outlook.at == REQUEUED
    assert outlook.expected == (
        "expected to end at 2026-11-22T12:03:40Z, from 4 earlier jobs of the same user and name;"
        " starting over now loses 60s, later 0s"
    )


def test_a_job_whose_like_does_not_end_in_time_starts_over_also_without_a_limit() -> None:
    (outlook,) = look(doomed(job(60, limit=None)), method="history", runs=[4000] * 5)
    assert outlook.at == NOW


def test_earlier_jobs_that_ended_before_this_one_had_run_so_long_tell_nothing() -> None:
    before = doomed(job(60))
    assert look(before, method="history", runs=[5, 20, 59, 4000, 4000]) == (before,)


def test_places_are_looked_for_once_and_only_for_jobs_that_had_better_start_over() -> None:
    asked: list[list[str]] = []

    def find(jobs: Sequence[Job]) -> Collection[str]:
        asked.append([each.id for each in jobs])
        return ["8"]

    outlooks = look(*(doomed(job(ran, job_id=str(n))) for n, ran in ((7, 10), (8, 20), (9, 700))), find=find)
    assert asked == [["7", "8"]]
    assert [outlook.at for outlook in outlooks] == [REQUEUED, NOW, REQUEUED]
    look(doomed(job(700)), find=find)
    assert len(asked) == 1


def test_why_a_job_starts_over_is_handed_on_with_the_requeue() -> None:
    outlooks = look(doomed(job(180)))
    (action,) = plan_jobs(outlooks, {}, (), SETTINGS, NOW)
    assert isinstance(action, RequeueJob)
    assert action.expected == outlooks[0].expected


RAN = st.floats(0, 1e5)
LEFT = st.floats(1, 1e5)
RUNS = st.lists(st.floats(0, 3e5), max_size=30)


@given(RAN, LEFT, st.integers(0, FEWEST - 1), st.floats(0, 3e5))
def test_without_a_history_nothing_changes(ran: float, left: float, count: int, run: float) -> None:
    assert expect(job(ran), at(left), NOW, "history", [run] * count) is None
    outlook = doomed(job(ran), at=at(left))
    assert look_further([outlook], NOW, "history", lambda _: [run] * count, everywhere, ["pc1"]) == (outlook,)


@given(RAN, LEFT, st.floats(0, 3e5), st.integers(FEWEST, 60))
def test_with_a_history_that_holds_no_job_loses_more_than_if_it_were_left(
    ran: float, left: float, run: float, count: int
) -> None:
    assume(run > ran + 1e-3 and abs(run - ran - left) > 1e-3)
    lost_if_left = 0 if run <= ran + left else ran + left
    lost = ran if starts_over(job(ran, None), at(left), NOW, "history", [run] * count) else lost_if_left
    assert lost <= lost_if_left


@given(RAN, LEFT, RUNS)
def test_on_average_over_its_like_no_job_loses_more_than_if_it_were_left(
    ran: float, left: float, runs: list[float]
) -> None:
    like = [run for run in runs if run > ran]
    if starts_over(job(ran, None), at(left), NOW, "history", runs):
        average = sum(ran + left for run in like if run > ran + left + 1e-3) / len(like)
        assert ran <= average + 1e-3


@given(RAN, LEFT, RUNS)
def test_one_more_that_ended_in_time_never_speaks_for_starting_over(
    ran: float, left: float, runs: list[float]
) -> None:
    assume(sum(run > ran for run in runs) >= FEWEST)
    before = starts_over(job(ran, None), at(left), NOW, "history", runs)
    after = starts_over(job(ran, None), at(left), NOW, "history", [*runs, ran + left / 2])
    assert before or not after


@given(RAN, LEFT, st.floats(0, 1))
def test_what_is_left_to_try_by_its_limit_is_not_started_over_later(
    ran: float, left: float, part: float
) -> None:
    which, later = job(ran, 1e6), at(left * part)
    if not starts_over(which, at(left), NOW, "limits", ()):
        assert not starts_over(which, at(left), later, "limits", ())


@given(RAN, LEFT, RUNS, st.floats(1, 3e5))
def test_no_job_is_expected_to_end_after_its_limit(
    ran: float, left: float, runs: list[float], rest: float
) -> None:
    which = job(ran, ran + rest)
    expected = expect(which, at(left), NOW, "history", runs)
    assert expected is None or (which.ends is not None and expected.ends <= which.ends)
