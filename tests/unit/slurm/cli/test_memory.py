"""Reading Slurm through its commands again and again keeps no more than the last snapshot."""

import gc
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.slurm.cli.command import Finished, Take
from agent.slurm.cli.reader import CliReader

SAMPLES = Path(__file__).parents[3] / "data" / "slurm" / "24.11"
VALUES = {
    "State": "PENDING", "NumNodes": "1", "NumCPUs": "1", "OverSubscribe": "OK", "Requeue": "1",
    "RestartCnt": "0", "TimeLimit": "30:00", "StartTime": "N/A", "EndTime": "N/A", "MinMemory": "0",
    "Partition": "main", "UserName": "alice", "Reason": "JobHeldUser",
}  # fmt: skip


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Commands:
    """Slurm's commands over a queue in which each list of jobs shows some that the one before did not."""

    def __init__(self, jobs: int) -> None:
        self.first, self.count, self.renewed = 1, jobs, jobs // 10
        self.read: list[str] = []
        self.job: dict[str, Any] = json.loads((SAMPLES / "rest-v0.0.42-jobs.json").read_text())["jobs"][0]

    def __call__(self, command: str, /, *arguments: str, take: Take | None = None) -> Finished:
        output = ""
        if arguments == ("--version",):
            output = "slurm 24.11.5\n"
        elif "--json" in arguments:
            self.read.append("json")
            output = json.dumps({"jobs": [self.as_json(n) for n in self.numbers()]})
        elif take is not None:
            self.read.append("text")
            for number in self.numbers():
                take(self.as_text(number, arguments[-1]))
        elif command == "sinfo":
            output = "n[1-4]\n"
        else:
            output = (SAMPLES / "nodes.txt").read_text()
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
