"""What `esagent state` prints of a snapshot."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import cli, config
from agent.check import state
from agent.cli import local
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.request import Request

AT = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
SNAPSHOT = Snapshot(
    taken=AT,
    nodes={
        "pc2": Node("pc2", "IDLE", features=frozenset({"b", "a"}), cpus=8, memory=1000),
        "pc1": Node(
            "pc1", "MIXED", frozenset({"DRAIN"}), "10.0.0.1", 7, cpus=8, allocated_cpus=2, booted=AT,
            reason="[bold]two\nlines\x1b[2J", reason_user="root", partitions=("main",),
        ),
    },
    jobs=(
        Job("12_3", "RUNNING", "eve", "None", nodes=frozenset({"pc1", "pc3"}), node_count=2, cpus=4,
            ends=AT, time_limit=timedelta(minutes=90), requeueable=True, restarts=1),
        Job("13", "PENDING", "eve", "Resources", request=Request(tasks=2)),
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "read_slurm", lambda _: SNAPSHOT)
    monkeypatch.setattr(config, "load", lambda _: None)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["state", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_has_every_field_by_its_name() -> None:
    told = json.loads(run("--json"))
    assert told["taken"] == "2026-11-22T14:00:00+00:00"
    first, second = told["nodes"]
    assert (first["name"], first["flags"], first["booted"]) == ("pc1", ["DRAIN"], "2026-11-22T14:00:00+00:00")
    assert first["reason"] == "[bold]two\nlines\x1b[2J"
    assert (second["features"], second["booted"], second["partitions"]) == (["a", "b"], None, [])
    job, pending = told["jobs"]
    assert (job["array"], job["nodes"], job["time_limit"]) == ("12", ["pc1", "pc3"], 5400)
    assert (job["requeueable"], pending["requeueable"], pending["ends"]) == (True, None, None)
    assert set(job) == {*Job.__dataclass_fields__, "array"}
    assert set(first) == set(Node.__dataclass_fields__)
    assert set(first["layout"]) == set(Layout.__dataclass_fields__)
    assert (job["request"], set(pending["request"])) == (None, set(Request.__dataclass_fields__))


def test_a_pipe_gets_one_line_each_and_nothing_that_a_terminal_obeys() -> None:
    assert [line.split() for line in run().splitlines()] == [
        [name.upper() for name in state.NODE_COLUMNS],
        ["pc1", "MIXED+DRAIN", "2/8", "0/0", "7", "-", "[bold]two", "lines", "[2J", "[root]"],
        ["pc2", "IDLE", "0/8", "0/1000", "1", "a,b", "-"],
        [name.upper() for name in state.JOB_COLUMNS],
        ["12_3", "RUNNING", "eve", "-", "2x2", "pc[1,3]", "1:30:00", "2026-11-22T14:00:00+00:00"],
        ["13", "PENDING", "eve", "Resources", "1x1", "-", "-", "-"],
    ]


def test_a_terminal_gets_tables_whose_text_is_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "dumb")
    local.state(Path("agent.conf"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [name.upper() for name in state.NODE_COLUMNS]
    assert "[bold]two lines [2J [root]" in lines[1]
    assert lines[3].split() == [name.upper() for name in state.JOB_COLUMNS]
