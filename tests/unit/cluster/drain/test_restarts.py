"""Requeued jobs start as soon as there is room, rather than when Slurm's own hold is over."""

from dataclasses import replace

import pytest

from agent.cluster.settings.drain import DrainSettings
from agent.slurm.model import Job, Node
from tests.unit.cluster.drain.conftest import Bench, Slurm, at, busy, revoked


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


def let_start(bench: Bench, *seconds: float) -> list[object]:
    for each in seconds:
        bench.after(each).drainer.tick()
    return bench.slurm.said("let_start")


def test_a_job_is_let_go_whose_requeue_slurm_did_not_confirm() -> None:
    node, job = busy("pc7", "7")
    bench = Bench(Slurm([node], [replace(job, restarts=0)]), revoked("pc7", 100))
    bench.obey(DrainSettings())
    bench.slurm.hang_at = "requeue"
    bench.drainer.tick()
    change(bench, "7", state="PENDING", nodes=frozenset(), restarts=1, reason="BeginTime")
    assert let_start(bench, 5, 8) == [("7",)]


def test_a_job_is_let_go_that_lost_its_machine_unseen_by_the_drains_unless_slurm_runs_it_no_more() -> None:
    """Who drops the record of a machine that went tells it, and no machine may be left."""
    bench = Bench(Slurm([], [Job("7", "PENDING", reason="BeginTime")]))
    bench.drainer.tick()
    bench.desk.losses.hand_over(Job("7", "RUNNING"))
    bench.desk.losses.hand_over(Job("8", "RUNNING", requeueable=False))
    bench.desk.losses.hand_over(Job("9", "RUNNING", batch=False))
    assert let_start(bench, 5, 8) == [("7",)]


@pytest.mark.parametrize(
    ("words", "put_off", "expected"),
    [
        ("requeued by esagent: its machine has to be empty at 2026-11-22T12:00:00Z.", 0, [("7",)]),
        ("requeued by esagent: its machine has to be empty at 2026-11-22T12:00:00Z.", 7200, []),
        ("the site's own", 0, []),
    ],
    ids=["an earlier run requeued it", "its user put it off since", "somebody else requeued it"],
)
def test_a_job_is_let_go_that_an_earlier_run_of_the_agent_requeued(
    words: str, put_off: float, expected: list[object]
) -> None:
    begins = at(120 + put_off)
    node, job = Node("pc1", "IDLE"), Job("7", "PENDING", reason="BeginTime", restarts=1, begins=begins)
    slurm = Slurm([node], [job])
    slurm.notes["7"] = words
    assert let_start(Bench(slurm), 0, 3, 6)[:1] == expected
