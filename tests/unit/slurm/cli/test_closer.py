"""The closer look at what waiting jobs ask for: exact, once a job, and on the safe side where it fails."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from agent.core.errors import SlurmDownError, SlurmError
from agent.slurm.asked import with_requests
from agent.slurm.cli.closer import CloserLook, Details, asking, read_details
from agent.slurm.cli.command import Finished
from agent.slurm.model import Job
from agent.slurm.request import Request

SIZE = "NumNodes={} NumCPUs=5 NumTasks=5 CPUs/Task={} ReqB:S:C:T=0:0:*:*"


def line(head: str, nodes: str, name: str = "wrap", per_task: str = "1", tail: str = "") -> str:
    return f"{head} JobName={name} UserId=a(1) {SIZE.format(nodes, per_task)} Command=(null) {tail}\n"


def job(job_id: str = "7", *, listed: int = 1, **request: object) -> Job:
    asks = replace(Request(max_nodes=1, tasks=5, cpus=5), **request)  # type: ignore[arg-type]
    return Job(job_id, "PENDING", reason="Resources", node_count=listed, request=asks)


class Clock:
    at = 0.0

    def monotonic(self) -> float:
        return self.at


class Slurm:
    """Prints a text for each job; of all where none is named."""

    def __init__(self, **told: str) -> None:
        self.told = {name[1:].replace("p", "+"): text for name, text in told.items()}
        self.asked: list[tuple[str, ...]] = []
        self.fault: SlurmError | None = None
        self.clock = Clock()
        self.look = CloserLook(self.ask, self.clock)  # type: ignore[arg-type]

    def ask(self, jobs: Collection[str]) -> str:
        self.asked.append(tuple(jobs))
        if self.fault:
            raise self.fault
        return "".join(self.told.get(name, "") for name in (jobs or self.told))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("JobId=7", "7"),
        ("JobId=7 ArrayJobId=7 ArrayTaskId=1-4%2", "7"),
        ("JobId=9 ArrayJobId=7 ArrayTaskId=3", "7_3"),
        ("JobId=8 HetJobId=7 HetJobOffset=1", "7+1"),
    ],
)
def test_jobs_are_told_by_the_names_that_act_on_them(head: str, name: str) -> None:
    assert read_details(line(head, "1-3", per_task="2")) == {name: {Details(3, 2, 0)}}


def test_tasks_for_each_gpu_and_no_maximum_are_read() -> None:
    assert read_details(line("JobId=7", "2", tail="TresPerJob=gres:gpu:2 NtasksPerTRES=2 ")) == {
        "7": {Details(0, 1, 2)}
    }


def test_a_job_that_may_be_spread_is_told_from_one_that_may_not() -> None:
    slurm = Slurm(j7=line("JobId=7", "1"), j8=line("JobId=8", "1-1"))
    told = slurm.look.requests_of([job("7"), job("8")])
    assert (told["7"].max_nodes, told["8"].max_nodes) == (0, 1)


def test_the_number_of_nodes_that_slurm_thinks_of_is_no_maximum() -> None:
    slurm = Slurm(j7=line("JobId=7", "2"))
    told = slurm.look.requests_of([job("7", listed=2, max_nodes=2)])
    assert (told["7"].min_nodes, told["7"].max_nodes) == (1, 0)


def test_a_job_of_which_all_is_told_is_not_asked_about() -> None:
    slurm = Slurm()
    jobs = [
        job("1", max_nodes=3, tasks_per_gres=1),
        job("2", tasks=1, max_nodes=0),
        Job("3", "RUNNING"),
        replace(job("4", tasks=1, max_nodes=0), cpus=1, memory=500, memory_per_cpu=True),
    ]
    assert (slurm.look.requests_of(jobs), slurm.asked) == ({}, [])


def test_gpus_that_slurm_derives_from_tasks_for_each_are_asked_for_in_all() -> None:
    slurm = Slurm(j7=line("JobId=7", "1", tail="NtasksPerTRES=2 "))
    told = slurm.look.requests_of([job("7", max_nodes=3)])["7"]
    assert (told.per_job, told.tasks_per_gres) == ("gpu:2", 2)


def test_a_job_of_one_cpu_is_asked_whether_its_memory_is_for_that() -> None:
    jobs = [replace(job(i, tasks=1, cpus=1, max_nodes=0), cpus=1, memory=500) for i in ("7", "8")]
    slurm = Slurm(
        j7=line("JobId=7", "1", tail="MinMemoryCPU=500M "),
        j8=line("JobId=8", "1", tail="MinMemoryNode=500M "),
    )
    told = with_requests(jobs, slurm.look.requests_of(jobs))
    assert [each.memory_per_cpu for each in told] == [True, False]
    assert told[0].request == told[1].request


def test_in_a_long_queue_nobody_is_asked_for_what_few_ask_for() -> None:
    slurm = Slurm()
    jobs = [job(str(number), max_nodes=3) for number in range(1001)]
    assert (slurm.look.requests_of(jobs), slurm.asked) == ({}, [])


def test_each_job_is_asked_about_once_until_it_changes_or_that_is_long_ago() -> None:
    slurm = Slurm(j7=line("JobId=7", "1"))
    for _ in range(3):
        slurm.look.requests_of([job("7")])
    assert slurm.asked == [("7",)]
    slurm.look.requests_of([job("7", cpus=6)])
    assert slurm.asked == [("7",)] * 2
    slurm.clock.at = 301.0
    slurm.look.requests_of([job("7", cpus=6)])
    assert slurm.asked == [("7",)] * 3


def test_many_jobs_are_asked_about_with_the_list_of_all() -> None:
    told = {f"j{number}": line(f"JobId={number}", "1") for number in range(1, 31)}
    slurm = Slurm(**told)
    requests = slurm.look.requests_of([job(str(number)) for number in range(1, 31)])
    assert (slurm.asked, {r.max_nodes for r in requests.values()}) == ([()], {0})


def test_what_a_job_is_called_tells_nothing_of_another() -> None:
    name = f"x\nJobId=8 JobName=y {SIZE.format('9-9', '4')} NtasksPerTRES=3"
    slurm = Slurm(j7=line("JobId=7", "1-1", name), j8=line("JobId=8", "1"))
    told = slurm.look.requests_of([job("7"), job("8")])
    assert (told["8"].max_nodes, told["8"].cpus_per_task, told["8"].tasks_per_gres) == (0, 1, 0)
    assert told["7"].max_nodes == 1


def test_of_a_job_that_contradicts_itself_the_safe_side_is_taken() -> None:
    slurm = Slurm(j7=line("JobId=7", "1-1", SIZE.format("1", "1")))
    assert slurm.look.requests_of([job("7")])["7"].max_nodes == 1


def test_where_scontrol_fails_a_job_may_not_be_spread() -> None:
    slurm = Slurm()
    slurm.fault = SlurmError("it is not there")
    told = slurm.look.requests_of([job("7", cpus=10, cpus_per_node=2, cpus_per_task=0)])
    assert (told["7"].max_nodes, told["7"].cpus_per_task) == (1, 2)
    slurm.fault = SlurmDownError("no answer")
    with pytest.raises(SlurmDownError):
        slurm.look.requests_of([job("7")])


def test_one_scontrol_asks_for_many_jobs_and_a_job_that_is_over_is_no_error() -> None:
    ran: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> Finished:
        ran.append(tuple(argv))
        return Finished(tuple(argv), 1, "told", "slurm_load_jobs error: Invalid job id specified")

    assert asking(run, "scontrol")(["7", "8_1"]) == "told"  # type: ignore[arg-type]
    assert ran[0][-3:] == ("scontrol", "7", "8_1")


def test_no_answer_is_an_error() -> None:
    def run(argv: tuple[str, ...], **_: object) -> Finished:
        return Finished(tuple(argv), 1, "", "Unable to contact slurm controller (connect failure)")

    with pytest.raises(SlurmDownError):
        asking(run, "scontrol")(["7"])  # type: ignore[arg-type]
