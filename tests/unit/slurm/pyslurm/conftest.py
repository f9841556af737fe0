"""The way in through pyslurm over a stand-in for the library."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.settings import SlurmSettings

DATA = Path(__file__).parents[3] / "data"
NODE = {"name": "n1", "state": "IDLE", "total_cpus": 2, "partitions": ["main"]}
JOB = {
    "id": 4,
    "state": "RUNNING",
    "user_id": 0,
    "partition": "main",
    "allocated_nodes": "n1",
    "is_requeueable": True,
}
Start = Callable[..., PyslurmBackend]


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    shutil.copy(DATA / "pyslurm-standin" / "pyslurm.py", tmp_path)
    (tmp_path / "slurm.conf").touch()
    return tmp_path


@pytest.fixture
def start(standin: Path) -> Iterator[Start]:
    """Start a backend over a scenario; each is closed at the end."""
    started: list[PyslurmBackend] = []

    def start(timeout: float = 20, **scenario: Any) -> PyslurmBackend:
        scenario.setdefault("nodes", [NODE])
        (standin / "scenario.json").write_text(json.dumps(scenario))
        # A name that is in no PATH: nothing may fall back to Slurm's commands unseen.
        settings = SlurmSettings(
            command_timeout=timeout, conf=standin / "slurm.conf", bin_dir=Path("/nowhere")
        )
        environment = {"PYTHONPATH": str(standin)}
        commands = CliBackend(settings, SystemClock(), environment)
        started.append(PyslurmBackend(settings, SystemClock(), commands, environment))
        return started[-1]

    yield start
    for backend in started:
        backend.close()


def journal(standin: Path) -> list[list[Any]]:
    path = standin / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
