"""What draining costs, and how it will go."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.figures import foresee, lost_cpu_seconds
from agent.cluster.drain.jobs import Fate, Outlook
from agent.cluster.reasons import Drain, DrainCause
from agent.slurm.model import Job
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


ONE, TWO = running("7", "pc1"), running("8", "pc2")


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
