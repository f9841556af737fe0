"""The queue that the replay draws, and how it counts."""

from collections import Counter

from bench.replay.__main__ import table
from bench.replay.run import Outcome
from bench.replay.workload import KINDS, draw


def test_one_seed_draws_one_queue_in_the_order_in_which_its_jobs_come() -> None:
    queue = draw(1, 48, 10)
    assert queue == draw(1, 48, 10)
    assert queue != draw(2, 48, 10)
    assert list(queue) == sorted(queue, key=lambda each: each.at)
    assert all(each.limit >= each.runs and each.at < 48 * 60 for each in queue)


def test_every_kind_of_job_comes_within_two_days() -> None:
    assert {each.kind for each in draw(1, 48, 10)} == {kind.name for kind in KINDS}


def test_jobs_that_no_machine_takes_are_not_counted_as_left_waiting() -> None:
    outcome = Outcome("1, now", for_nothing=Counter(T1=2), never={"never": ["-n 99"], "mpi": ["-n 9"]})
    row = table([outcome]).splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")[6:9]] == ["**2**", "0.0", "1"]
