"""What draining costs, and how it will go."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.figures import JobFigures, foresee, lost_cpu_seconds
from agent.cluster.drain.jobs import Fate, Outlook
from agent.cluster.reasons import Drain, DrainCause
from agent.slurm.model import Job, Snapshot
from tests.unit.cluster.drain.conftest import NOW, at, revoked, running

SURPLUS = Drain("pc2", DrainCause.SURPLUS)


@pytest.mark.parametrize(
    ("started", "lost"), [(None, 0.0), (at(-50), 200.0), (at(-0.04), 0.2), (at(60), 0.0)]
)
def test_the_run_time_of_every_cpu_is_lost(started, lost) -> None:
    job = replace(running("7", "pc1"), cpus=4, started=started)
    assert lost_cpu_seconds(job, NOW) == lost


def outlook(job: Job, deadline=None, ends=None) -> Outlook:
    """What becomes of a job all of whose nodes are emptied."""
    return Outlook(job, job.nodes, deadline, Fate.ENDS, ends)


class Looks:
    """Figures that have looked at jobs on a revoked node and on a surplus one."""

    def __init__(self, *jobs: Job) -> None:
        self.figures = JobFigures()
        self.drains = {"pc1": revoked("pc1", 900), "pc2": SURPLUS}
        assert self.look(*jobs) == []

    def look(self, *jobs: Job) -> list[tuple[str, str]]:
        """Look at these jobs; return those that ended by themselves since, and why drained."""
        outlooks = [outlook(job, at(900) if "pc1" in job.nodes else None) for job in jobs if job.nodes]
        gone = self.figures.finished(Snapshot(NOW, {}, jobs), outlooks, self.drains)
        return [(job.id, cause) for job, cause in gone]


ONE, TWO = running("7", "pc1"), running("8", "pc2")


def test_a_job_that_ends_by_itself_is_told_once_with_the_cause_of_its_drain() -> None:
    looks = Looks(ONE, TWO)
    assert looks.look(TWO) == [("7", "revoked")]
    assert looks.look() == [("8", "surplus")]
    assert looks.look() == []


def test_a_job_that_completes_has_ended() -> None:
    looks = Looks(ONE)
    assert looks.look(replace(ONE, state="COMPLETING")) == [("7", "revoked")]


def test_a_job_that_we_ended_or_that_somebody_requeued_has_not_ended_by_itself() -> None:
    looks = Looks(ONE, TWO)
    looks.figures.ended(ONE)
    waiting = replace(TWO, state="PENDING", nodes=frozenset())
    assert looks.look(waiting) == []
    assert looks.look() == []


def test_a_job_that_comes_back_after_we_ended_it_may_end_by_itself() -> None:
    looks = Looks(ONE)
    looks.figures.ended(ONE)
    assert looks.look() == []
    assert looks.look(ONE) == []
    assert looks.look() == [("7", "revoked")]


def test_of_several_nodes_the_one_with_the_earliest_deadline_says_the_cause() -> None:
    looks = Looks(running("7", "pc1", "pc2"))
    assert looks.figures.cause(running("7", "pc1", "pc2")) == "revoked"


def test_of_several_nodes_with_one_deadline_the_first_by_name_says_the_cause() -> None:
    looks = Looks()
    looks.drains["pc2"] = Drain("pc2", DrainCause.ADMIN, at(900))
    looks.look(running("7", "pc1", "pc2"))
    assert looks.figures.cause(running("7", "pc1", "pc2")) == "revoked"


# --- how it will go


def test_a_node_without_a_job_is_empty_now() -> None:
    (forecast,) = foresee({"pc1": revoked("pc1", 900)}, [], NOW)
    assert (forecast.empty, forecast.margin, forecast.outlooks) == (NOW, timedelta(seconds=900), ())


def test_a_node_is_empty_when_its_last_job_is_gone_and_others_jobs_do_not_count() -> None:
    drains = {"pc1": revoked("pc1", 900)}
    jobs = [outlook(running("7", "pc1"), at(900), at(60)), outlook(running("8", "pc1"), at(900), at(90))]
    (forecast,) = foresee(drains, [*jobs, outlook(TWO, None, at(5000))], NOW)
    assert (forecast.empty, forecast.margin) == (at(90), timedelta(seconds=810))
    assert forecast.outlooks == tuple(jobs)


def test_a_job_that_should_have_ended_long_ago_ends_now() -> None:
    (forecast,) = foresee({"pc1": revoked("pc1", 900)}, [outlook(ONE, at(900), at(-60))], NOW)
    assert forecast.empty == NOW


def test_nothing_is_promised_of_a_node_with_a_job_whose_end_is_not_known() -> None:
    jobs = [outlook(ONE, at(900), at(60)), outlook(running("9", "pc1"), at(900))]
    (forecast,) = foresee({"pc1": revoked("pc1", 900)}, jobs, NOW)
    assert (forecast.empty, forecast.margin) == (None, None)


def test_a_drain_without_a_deadline_has_no_margin() -> None:
    (forecast,) = foresee({"pc2": SURPLUS}, [outlook(TWO, None, at(60))], NOW)
    assert (forecast.empty, forecast.margin) == (at(60), None)


@given(st.dictionaries(st.sampled_from(["pc1", "pc2", "pc3", "pc4"]), st.none() | st.integers(-100, 900)))
def test_the_earliest_deadline_comes_first_and_those_without_one_last(dues) -> None:
    drains = {
        name: Drain(name, DrainCause.ADMIN, None if due is None else at(due), "ada", "x")
        for name, due in dues.items()
    }
    forecasts = foresee(drains, [], NOW)
    assert sorted(f.drain.node for f in forecasts) == sorted(dues)
    ends = [f.drain.deadline for f in forecasts]
    dated = [end for end in ends if end is not None]
    assert ends[: len(dated)] == sorted(dated)
