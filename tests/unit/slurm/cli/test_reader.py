"""Reading Slurm through its commands: whole or an error, and again and again without keeping more."""

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.slurm.cli.command import Finished, Take
from agent.slurm.cli.reader import CliReader
from agent.slurm.model import Job, Snapshot
from tests.unit.slurm.cli.conftest import SAMPLES, FixedClock, backend, cat

NEWER = SAMPLES / "24.11"
VALUES = {
    "State": "PENDING", "NumNodes": "1", "NumCPUs": "1", "OverSubscribe": "OK", "Requeue": "1",
    "BatchFlag": "1", "RestartCnt": "0", "TimeLimit": "30:00", "StartTime": "N/A", "EndTime": "N/A",
    "MinMemory": "0", "Partition": "main", "UserName": "alice", "Reason": "JobHeldUser",
}  # fmt: skip


class Commands:
    """Slurm's commands over a queue in which each list of jobs shows some that the one before did not."""

    def __init__(self, jobs: int) -> None:
        self.first, self.count, self.renewed = 1, jobs, jobs // 10
        self.read: list[str] = []
        self.job: dict[str, Any] = json.loads((NEWER / "rest-v0.0.42-jobs.json").read_text())["jobs"][0]

    def __call__(self, command: str, /, *arguments: str, take: Take | None = None) -> Finished:
        output = ""
        if arguments == ("--version",):
            output = "slurm 24.11.5\n"
        elif "--json" in arguments:
            self.read.append("json")
            told = {
                "meta": {"slurm": {"release": "24.11.5"}},
                "jobs": [self.as_json(n) for n in self.numbers()],
            }
            output = json.dumps(told)
        elif take is not None:
            self.read.append("text")
            for number in self.numbers():
                take(self.as_text(number, arguments[-1]))
        elif command == "sinfo":
            output = "n[1-4]\n"
        else:
            output = (NEWER / "nodes.txt").read_text()
        return Finished((command, *arguments), 0, output, "")

    def numbers(self) -> Iterator[int]:
        self.first += self.renewed
        yield from range(self.first, self.first + self.count)

    def as_json(self, number: int) -> dict[str, Any]:
        return self.job | {
            "job_id": number,
            "submit_time": {"set": True, "infinite": False, "number": number},
        }

    def as_text(self, number: int, form: str) -> str:
        own = {"JobArrayID": str(number), "SubmitTime": str(number % 1000)}
        fields = (part.partition(":") for part in form.split(","))
        return "".join((own | VALUES).get(name, "") + end for name, _, end in fields) + "\n"


@pytest.mark.parametrize(("jobs", "way"), [(600, "text"), (40, "json")])
def test_memory_is_flat_over_many_snapshots(jobs: int, way: str) -> None:
    commands = Commands(jobs)
    reader = CliReader(commands, FixedClock())
    blocks: list[int] = []
    for number in range(1, 37):
        commands.read.clear()
        snapshot = (reader.nodes(), reader.jobs())
        assert (len(snapshot[0]), len(snapshot[1])) == (4, jobs)
        if number % 12 == 0:
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    assert commands.read == [way]
    # A job alone is several blocks; 12 snapshots have shown more new jobs than the queue is long.
    assert blocks[2] - blocks[1] < jobs, blocks


def test_a_job_on_a_node_whose_name_the_text_cannot_hold_is_read_as_json() -> None:
    commands = Commands(600)
    commands.job["nodes"] = "a|1,n1"
    own = commands.as_text
    commands.as_text = lambda number, form: own(number, form).replace("|", "|a|1,n1|", 1)  # type: ignore[method-assign]
    jobs = CliReader(commands, FixedClock()).jobs()
    assert commands.read == ["text", "json"]
    assert {job.nodes for job in jobs} == {frozenset({"a|1", "n1"})}


@pytest.mark.parametrize("name", ["a+b1", "a|1", "-a1", "a]1", "\u00e9", "x" * 70])
def test_a_node_that_is_not_ours_may_be_called_anything(name: str) -> None:
    commands = Commands(0)
    text = (NEWER / "nodes.txt").read_text().replace("NodeName=n4 ", f"NodeName={name} ")

    def answer(command: str, /, *arguments: str, take: Take | None = None) -> Finished:
        told = commands(command, *arguments, take=take)
        if command == "sinfo":
            return Finished((command, *arguments), 0, f"n[1-3],{name}\n", "")
        return told if command != "scontrol" else Finished((command, *arguments), 0, text, "")

    assert sorted(CliReader(answer, FixedClock()).nodes()) == sorted(["n1", "n2", "n3", name])


def test_odd_nodes_in_no_partition_are_read_as_json() -> None:
    """No text can fake them there, and no other command takes all such names."""
    text = (NEWER / "nodes.txt").read_text().replace("NodeName=n4 ", "NodeName=a+b1 ")
    told = json.loads((NEWER / "nodes.json").read_text())
    told["nodes"][3]["name"] = "a+b1"

    def answer(command: str, /, *arguments: str, take: Take | None = None) -> Finished:
        outputs = {"sinfo": "n[1-3]\n", "squeue": "slurm 24.11.5\n", "scontrol": text}
        output = json.dumps(told) if "--json" in arguments else outputs[command]
        return Finished((command, *arguments), 0, output, "")

    assert sorted(CliReader(answer, FixedClock()).nodes()) == ["a+b1", "n1", "n2", "n3"]


def test_a_cluster_without_jobs_is_a_whole_answer(tmp_path: Path) -> None:
    snapshot = backend(tmp_path, scontrol=cat("nodes.txt")).snapshot()
    assert sorted(snapshot.nodes) == ["n1", "n2", "n3", "n4"]
    assert snapshot.jobs == ()
    assert snapshot.taken == FixedClock().now()


PRINTS_JOBS = r"""
echo "$@" >> {asked}
case "$*" in
*%x*) echo '4_[1-5]|n[2-3]|'; echo '5||';;
*)
    for argument; do form=$argument; done
    mark=$(echo "$form" | sed 's/.*Partition:\(<[a-z0-9]*>\).*/\1/')
    end=$(echo "$form" | sed 's/.*:\(<[a-z0-9]*>\)$/\1/')
    excluded=
    case "$form" in *ExcNodes*) excluded=${{mark}}n2;; esac
    cat {jobs} | while read -r own reason; do
        m=$mark
        none=$m$m$m$m$m$m$m$m$m
        echo "$own|main${{m}}eve${{m}}${{m}}$reason$none$excluded${{m}}x$end"
    done;;
esac
"""
SHAPE = "||1|N/A|N/A|PENDING|1|1|OK|1|1|0|5:00|0||1|1|1|1|0|N/A|N/A|*:*:*|N/A|0|0"


def test_excluded_nodes_are_asked_for_once_where_the_list_of_jobs_cannot_tell_them(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"4_[1-5]{SHAPE} Resources\n5{SHAPE} Priority\n6{SHAPE} JobHeldUser\n")
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=PRINTS_JOBS.format(asked=asked, jobs=jobs))
    for _ in range(3):
        first, second, held = slurm.snapshot().jobs
        assert (first.id, first.excluded_nodes) == ("4_[1-5]", {"n2", "n3"})
        assert second.excluded_nodes == held.excluded_nodes == frozenset()
    closer = [line for line in asked.read_text().splitlines() if "%x" in line]
    assert len(closer) == 1
    assert "-j 4,5 " in closer[0]
    jobs.write_text(jobs.read_text().replace("Priority", "Resources"))
    slurm.snapshot()
    assert sum("%x" in line for line in asked.read_text().splitlines()) == 2


def test_a_job_that_changed_before_the_closer_look_is_looked_at_again(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} Resources\n7{SHAPE} Resources\n")
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=PRINTS_JOBS.format(asked=asked, jobs=jobs))
    for _ in range(2):
        slurm.snapshot()
    closer = [line for line in asked.read_text().splitlines() if "%x" in line]
    assert ["-j 5,7 " in closer[0], "-j 7 " in closer[1]] == [True, True]


def test_excluded_nodes_are_in_the_list_of_jobs_of_newer_releases(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} Priority\n")
    script = PRINTS_JOBS.format(asked=asked, jobs=jobs)
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=script, release="24.11.5")
    assert slurm.snapshot().jobs[0].excluded_nodes == {"n2"}
    assert "%x" not in asked.read_text()


def test_a_short_queue_is_read_as_json_from_the_second_look_on(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    document = SAMPLES / "22.05" / "rest-v0.0.38-jobs.json"
    slurm = backend(
        tmp_path,
        scontrol=cat("nodes.txt"),
        squeue=f'echo "$@" >> {asked}; case "$*" in *--json*) cat {document};; esac',
    )
    assert slurm.snapshot().jobs == ()
    assert "3_0" in {job.id for job in slurm.snapshot().jobs}
    forms = [line.split()[-2] for line in asked.read_text().splitlines()]
    assert forms == ["-O", "--noconvert"]


def test_jobs_are_read_as_the_release_means_them_that_squeue_has_become(tmp_path: Path) -> None:
    """From 26.05 on OverSubscribe is NO for every job, and the newest JSON tells nothing of it."""
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} JobHeldUser\n")
    text = PRINTS_JOBS.format(asked=asked, jobs=jobs)
    json_of = "sed s/25.11.8/26.05.5/ " + str(SAMPLES / "25.11" / "rest-v0.0.44-jobs.json")
    release = tmp_path / "release"
    release.write_text("24.11.5")
    slurm = backend(
        tmp_path,
        scontrol=cat("nodes.txt"),
        squeue=f'case "$*" in *--json*) echo "$@" >> {asked}; {json_of};; *) {text};; esac',
        release=f"$(cat {release})",
    )
    slurm.snapshot()
    assert "OverSubscribe:|" in asked.read_text()
    asked.write_text("")
    release.write_text("26.05.5")
    slurm.snapshot()
    told = asked.read_text()
    assert told.index("--json\n") < told.index("Exclusive:|")
    assert "OverSubscribe" not in told
    asked.write_text("")
    assert "1" in {job.id for job in slurm.snapshot().jobs}
    assert "--json=v0.0.44" in asked.read_text()
    assert "Exclusive" not in asked.read_text()


@pytest.mark.parametrize(
    "said", ["exit 1", "echo no JSON", "echo '[]'", """echo '{"errors": ["cut"]}'""", "echo '{}'"]
)
def test_a_squeue_without_json_is_read_as_text_and_left_alone(tmp_path: Path, said: str) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} JobHeldUser\n")
    text = PRINTS_JOBS.format(asked=asked, jobs=jobs)
    slurm = backend(
        tmp_path,
        scontrol=cat("nodes.txt"),
        squeue=f'case "$*" in *--json*) echo json >> {asked}; {said};; *) {text};; esac',
    )
    for _ in range(4):
        assert [job.id for job in slurm.snapshot().jobs] == ["5"]
    assert asked.read_text().count("json") == 1


def test_an_empty_answer_is_no_cluster_without_nodes(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match="at least one node"):
        backend(tmp_path).snapshot()


def test_a_cluster_without_nodes_is_one_where_slurm_says_so(tmp_path: Path) -> None:
    slurm = backend(tmp_path, scontrol='echo "No nodes in the system"')
    snapshot = slurm.snapshot()
    assert (snapshot.nodes, snapshot.jobs) == ({}, ())


def test_a_cluster_without_nodes_that_runs_jobs_is_no_answer() -> None:
    jobs = Job("1", "PENDING"), Job("2", "RUNNING", nodes=frozenset({"n1"}))
    with pytest.raises(
        SlurmError, match="scontrol: expected at least one node, got none, and a job is on n1"
    ):
        Snapshot(FixedClock().now(), {}, jobs).check("scontrol")


def test_a_phantom_in_a_comment_is_found_out_by_asking_for_it(tmp_path: Path) -> None:
    phantom = "sed 's/NodeName=n4 /NodeName=ghost /' " + str(SAMPLES / "22.05" / "nodes.txt")
    script = f'case "$*" in *"show nodes"*) {phantom};; *) echo Node ghost not found; exit 1;; esac'
    names = f'case "$*" in *%N*) echo "n[1-3]";; *) {cat("nodes.json")};; esac'
    snapshot = backend(tmp_path, scontrol=script, sinfo=names).snapshot()
    assert sorted(snapshot.nodes) == ["n1", "n2", "n3", "n4"]


def test_a_failed_read_of_jobs_is_not_an_empty_queue(tmp_path: Path) -> None:
    with pytest.raises(SlurmRefusedError, match="slurm_load_jobs"):
        backend(
            tmp_path, scontrol=cat("nodes.txt"), squeue="echo slurm_load_jobs error >&2; exit 1"
        ).snapshot()
