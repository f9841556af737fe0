"""Which job a line of complaint is about, in the words of every release."""

import pytest

from agent.slurm.cli.refusals import Refusals, read_refusals

DISABLED = "Requested operation is presently disabled"


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("Invalid job id specified for job 9999", "9999"),
        ("5_99: Invalid job id specified", "5_99"),
        ("5_[99]: Invalid job id specified", "5_99"),
        ("75_[0]: Job is pending execution", "75_0"),
        ("5_1-2: Job is pending execution", "5"),
        ("5_[1-3]: Job is pending execution", "5_2"),
        ("5_[1-3]: Job is pending execution", "5_[3-4]"),
        ("5_[1,7-9:2]: Job is pending execution", "5_9"),
        ("5_[2]: Requested partition configuration not available now (no, says the plugin for job 7)", "5_2"),
        ("scancel: error: Kill job error on job id 12: Invalid job id specified", "12"),
        ("scancel: error: Kill job error on job id 12_[3]: Access/permission denied", "12_3"),
        ("scancel: error: Kill job error on job id 12_3: Access/permission denied", "12_3"),
        ("scancel: error: Kill job error on job id 12+1: Access/permission denied", "12"),
    ],
)
def test_a_complaint_is_about_the_job_that_it_names_and_no_other(line: str, job: str) -> None:
    others = ["1", "2", "7", "13_3", "750_0", "5_10", "5_8", "1_2", "99", "3"]
    assert read_refusals(line + "\n", [*others, job]) == Refusals({job: line}, ())


def test_a_complaint_about_a_whole_array_is_about_each_of_its_tasks() -> None:
    line = f"{DISABLED} for job 5"
    assert read_refusals(line, ["5_1", "5_2", "6"]).of_jobs == {"5_1": line, "5_2": line}


def test_a_task_that_it_was_done_to_is_no_complaint() -> None:
    told = read_refusals("5_[0]: Job is pending execution\n5_[1]: No error\n", ["5_0", "5_1"])
    assert told == Refusals({"5_0": "5_[0]: Job is pending execution"}, ())


@pytest.mark.parametrize(
    "line",
    [
        "slurm_update error: Invalid user id",
        "8: Invalid job id specified",
        f"{DISABLED} for job 8",
        "x for job 1x",
    ],
)
def test_what_is_about_none_of_them_is_told_apart(line: str) -> None:
    assert read_refusals(line, ["1", "5_1"]) == Refusals({}, (line,))


def test_many_complaints_about_a_job_are_all_told() -> None:
    told = read_refusals("1: one thing\n1: another\n2: a third\n", ["1", "2", "3"])
    assert told == Refusals({"1": "1: one thing; 1: another", "2": "2: a third"}, ())
