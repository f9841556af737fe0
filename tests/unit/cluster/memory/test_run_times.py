"""How long jobs ran is learnt from one reading of Slurm after another, and from its accounting."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.memory import run_times
from agent.cluster.memory.run_times import NEWEST, RunTimes
from agent.core.errors import SlurmRefusedError
from agent.slurm.model import EarlierRun, Job, JobEnd, Node, Snapshot
from tests.unit.cluster.conftest import NOW

NODE = Node("pc1", "MIXED")
JOB = Job("7", "RUNNING", user="eve", name="fit", nodes=frozenset({"pc1"}), started=NOW)

WAITS = replace(JOB, state="PENDING", nodes=frozenset(), started=None)


def read(seconds: float, *jobs: Job, node: Node = NODE) -> Snapshot:
    return Snapshot(NOW + timedelta(seconds=seconds), {node.name: node}, jobs)


def say_nothing(ids: Iterable[str]) -> Mapping[str, JobEnd]:
    raise SlurmRefusedError("sacct: Slurm accounting storage is disabled")


def learnt(*readings: Snapshot, end: JobEnd | None = None) -> tuple[float, ...]:
    runs = RunTimes(threading.RLock())
    for reading in readings:
        runs.learn(reading, say_nothing if end is None else lambda ids: dict.fromkeys(ids, end))
    return runs.of(JOB)


def test_a_job_that_is_gone_ended_midway_between_two_readings() -> None:
    assert learnt(read(10, JOB), read(70, JOB), read(130)) == (100,)


def test_of_a_job_that_cleans_up_slurm_tells_when_it_ended() -> None:
    cleans_up = replace(JOB, state="COMPLETING", ends=NOW + timedelta(seconds=75))
    assert learnt(read(70, JOB), read(130, cleans_up), read(190)) == (75,)
    assert learnt(read(70, JOB), read(130, replace(cleans_up, ends=None)), read(190)) == (130,)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("COMPLETED", (77,)), ("FAILED", (77,)), ("CANCELLED", ()), ("NODE_FAIL", ()), ("PENDING", ())],
)
def test_where_slurm_tells_how_a_job_ended_only_those_count_that_nobody_ended(
    state: str, expected: tuple[float, ...]
) -> None:
    end = JobEnd(state, ended=NOW + timedelta(seconds=77))
    assert learnt(read(70, JOB), read(130), end=end) == expected


def test_slurm_is_not_asked_where_no_job_ended() -> None:
    asked: list[str] = []
    runs = RunTimes(threading.RLock())
    for seconds in (70, 80):
        runs.learn(read(seconds, JOB), lambda ids: {job: asked.append(job) for job in ids})  # type: ignore[misc]
    assert asked == []


def test_no_job_ran_beyond_its_limit() -> None:
    limited = replace(JOB, ends=NOW + timedelta(seconds=90))
    assert learnt(read(70, limited), read(130)) == (90,)


NO_RUN = {
    "it was requeued": (read(70, JOB), read(130, WAITS)),
    "it was requeued and cleaned up": (
        read(70, JOB), read(80, replace(JOB, state="COMPLETING")), read(90, WAITS), read(99),
    ),
    "it still runs": (read(70, JOB), read(130, JOB)),
    "its node was emptied": (read(70, JOB, node=replace(NODE, flags=frozenset({"DRAIN"}))), read(130)),
    "its node was lost": (read(70, JOB, node=replace(NODE, state="DOWN")), read(130)),
    "it was not seen to start": (read(70, replace(JOB, started=None)), read(130)),
    "nobody looked for long": (read(70, JOB), read(7000)),
    "the clock was set back": (read(70, JOB), read(60)),
}  # fmt: skip


@pytest.mark.parametrize("why", NO_RUN)
def test_a_job_is_no_example_where(why: str) -> None:
    assert learnt(*NO_RUN[why]) == ()


def test_jobs_of_others_and_of_other_names_tell_nothing() -> None:
    runs = RunTimes(threading.RLock())
    runs.learn(read(10, JOB), say_nothing)
    runs.learn(read(20), say_nothing)
    assert runs.of(replace(JOB, id="8")) == (15,)
    assert runs.of(replace(JOB, user="bob")) == runs.of(replace(JOB, name="fit2")) == ()


def test_only_the_newest_are_kept_of_the_names_that_were_seen_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_times, "_MOST", 2)
    many = [replace(JOB, id=f"7_{n}", started=NOW - timedelta(seconds=n)) for n in range(NEWEST + 5)]
    others = [replace(JOB, id=f"9{n}", name=f"other{n}") for n in range(2)]
    runs = RunTimes(threading.RLock())
    runs.learn(read(0, *others, *many), say_nothing)
    runs.learn(read(0.1, *others), say_nothing)
    assert len(runs.of(JOB)) == NEWEST
    assert runs.of(JOB)[-1] == pytest.approx(NEWEST + 4.05)
    runs.learn(read(0.2), say_nothing)
    assert runs.of(JOB) == ()
    assert all(runs.of(other) for other in others)


def asked(runs: RunTimes) -> None:
    """Have the accounts asked, and wait for the answer."""
    runs.look_up()
    for thread in threading.enumerate():
        if thread.name == "run-times":
            thread.join()


def test_what_the_accounts_tell_is_older_than_what_was_seen_and_is_asked_for_once() -> None:
    calls: list[int] = []

    def accounts() -> list[EarlierRun]:
        calls.append(1)
        return [EarlierRun("eve", "fit", 1), EarlierRun("eve", "fit", 2), EarlierRun("bob", "fit", 3)]

    runs = RunTimes(threading.RLock())
    runs.accounts = accounts
    runs.learn(read(10, JOB), say_nothing)
    runs.learn(read(20), say_nothing)
    asked(runs)
    asked(runs)
    assert runs.of(JOB) == (1, 2, 15)
    assert runs.of(replace(JOB, user="bob")) == (3,)
    assert calls == [1]


def test_without_accounts_what_is_seen_is_all() -> None:
    def accounts() -> list[EarlierRun]:
        raise SlurmRefusedError("sacct: Slurm accounting storage is disabled")

    runs = RunTimes(threading.RLock())
    runs.accounts = accounts
    asked(runs)
    assert runs.of(JOB) == ()
