"""Requeued jobs start as soon as there is room, rather than when Slurm's own hold is over."""

from dataclasses import replace

import pytest

from agent.cluster.settings.drain import DrainSettings
from agent.slurm.model import Job
from tests.unit.cluster.drain.conftest import Bench, Slurm, busy, revoked


def requeued(*jobs: str) -> Bench:
    """A bench at which these jobs were requeued just now; a machine is still to be emptied."""
    pairs = [busy(f"pc{job}", job) for job in jobs]
    other, stays = busy("pc0", "99")
    slurm = Slurm([other, *(node for node, _ in pairs)], [stays, *(job for _, job in pairs)])
    bench = Bench(slurm, revoked("pc0", 10_000), *(revoked(f"pc{job}", 100) for job in jobs))
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert slurm.said("requeue") == list(jobs)
    return bench


def change(bench: Bench, job: str, **fields: object) -> None:
    bench.slurm.jobs[job] = replace(bench.slurm.jobs[job], **fields)  # type: ignore[arg-type]


def test_slurms_hold_is_lifted_when_the_credential_will_be_younger_and_with_one_request() -> None:
    bench = requeued("7", "8")
    for job in ("7", "8"):
        change(bench, job, reason="BeginTime")
    bench.after(1).drainer.tick()
    assert bench.slurm.said("let_start") == []
    bench.after(2).drainer.tick()
    assert bench.slurm.said("let_start") == [("7", "8")]
    for job in ("7", "8"):
        change(bench, job, reason="Resources")
    bench.after(4).drainer.tick()
    assert bench.slurm.said("let_start") == [("7", "8")]


@pytest.mark.parametrize(
    "fields",
    [{"reason": "JobHeldUser"}, {"reason": "JobHeldAdmin"}, {"reason": "Dependency"}],
    ids=["its user holds it", "an administrator holds it", "it waits for another"],
)
def test_a_job_that_something_else_keeps_back_is_left_alone(fields: dict[str, str]) -> None:
    bench = requeued("7")
    change(bench, "7", **fields)
    bench.after(3).drainer.tick()
    change(bench, "7", reason="BeginTime")
    bench.after(6).drainer.tick()
    assert bench.slurm.said("let_start") == []


def test_a_job_that_is_completing_is_waited_for() -> None:
    bench = requeued("7")
    change(bench, "7", state="COMPLETING", nodes=frozenset({"pc7"}))
    bench.after(3).drainer.tick()
    assert bench.slurm.said("let_start") == []
    change(bench, "7", state="PENDING", nodes=frozenset(), reason="BeginTime")
    bench.after(4).drainer.tick()
    assert bench.slurm.said("let_start") == [("7",)]


def test_a_task_that_slurm_shows_with_its_array_alone_is_tried_a_few_times() -> None:
    bench = requeued("7")
    del bench.slurm.jobs["7"]
    bench.slurm.jobs["5_[1-3]"] = Job("5_[1-3]", "PENDING", reason="Priority")
    for look in range(1, 10):
        bench.after(3 * look).drainer.tick()
    assert len(bench.slurm.said("let_start")) == 5


def test_a_job_that_is_to_be_held_stays_so() -> None:
    node, job = busy("pc7", "7")
    bench = Bench(Slurm([node], [job]), revoked("pc7", 100))
    bench.obey(DrainSettings(requeue_hold=True))
    bench.drainer.tick()
    change(bench, "7", reason="BeginTime")
    bench.after(3).drainer.tick()
    assert bench.slurm.said("let_start") == []


def test_it_is_said_of_a_suspended_job_that_somebody_has_to_release_it() -> None:
    node, job = busy("pc7", "7")
    bench = Bench(Slurm([node], [replace(job, state="SUSPENDED")]), revoked("pc7", 100))
    bench.obey(DrainSettings())
    bench.drainer.tick()
    assert bench.slurm.said("requeue") == ["7"]
    (_, words) = bench.slurm.said("comment")[-1]
    assert "waits until somebody says `scontrol release`" in words
