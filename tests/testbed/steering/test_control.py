"""Steering a running test bed, and its files."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from testbed.bedfile import BedFileError, read_bed_file, write_bed_file
from testbed.cli import app
from testbed.cloudlab import SimulatedCloudlab
from testbed.cloudlab.steering.control import SteeringError, ask

NAN = float("nan")


@pytest.fixture
def holding(cloudlab, ada):
    """A simulator in which pc100 is held."""
    ada.register().create()
    return cloudlab


@pytest.fixture
def refusing(shared, eva):
    """The shared simulator, with pc100 held from the first test on that needs it."""
    if not shared.machines()[0].slice_urn:
        eva.register().create()
    return shared


def run(cloudlab, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(cloudlab.directory)])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["value", "pc100", "nan"], "a resource value is a number from 0 to 1, not nan"),
        (["value", "pc100", "1.5"], "from 0 to 1"),
        (["value", "pc999", "0.5"], "there is no machine 'pc999'; there are pc100, "),
        (["revoke", "pc100", "--in", "nan"], "seconds must be a number from 0"),
        (["revoke", "pc100", "--in", "-1"], "seconds must be a number from 0"),
        (["revoke", "pc101", "--in", "5"], "pc101 is not held by any slice"),
        (["revoke", "pc100", "pc101", "--in", "5"], "pc101 is not held by any slice"),
        (["callbacks", "cluster.example.net", "--on"], "without an address for callbacks"),
        (["callbacks", "rack.example.net", "--on"], "there is no CM 'rack.example.net'; there are cluster."),
        (["withdraw", "pc100"], "pc100 has no revocation"),
    ],
)
def test_rubbish_is_refused_with_a_clear_message(refusing, arguments, words):
    code, output = run(refusing, *arguments)
    assert (code, words in output) == (1, True), output
    assert all(machine.deadline is None and machine.value == 0 for machine in refusing.machines())


def test_the_commands_steer_the_running_one(holding):
    assert run(holding, "value", "pc100", "0.9") == (0, "pc100: resource value 0.9\n")
    assert run(holding, "revoke", "pc100", "--in", "120") == (0, "pc100: taken in 120 s\n")
    machine = holding.machines()[0]
    assert (machine.value, machine.deadline is not None) == (0.9, True)
    code, output = run(holding, "machines", "--json")
    shown = json.loads(output)[0]
    assert (code, shown["node_id"], shown["client_id"], shown["value"]) == (0, "pc100", "node-1", 0.9)
    assert run(holding, "withdraw", "pc100") == (0, "pc100: not taken\n")
    assert "pc100" in run(holding, "machines")[1]


def test_the_list_of_machines_is_whole_in_a_pipe_and_has_whole_seconds(holding, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    holding.revoke("pc100", 3600)
    line = next(x for x in run(holding, "machines")[1].splitlines() if "pc100" in x)
    deadline = holding.machines()[0].deadline
    assert line.split()[-1] == f"{deadline:%Y-%m-%dT%H:%M:%SZ}"
    assert holding.machines()[0].slice_urn in line


def test_the_journal_is_read_as_words_and_as_json(holding):
    code, output = run(holding, "journal")
    assert code == 0
    assert "ada -> cm of cluster.example.net CreateSliver code 0" in output
    kinds = {json.loads(line)["kind"] for line in run(holding, "journal", "--json")[1].splitlines()}
    assert "call" in kinds
    holding.stop()
    assert "pc100 held by" in run(holding, "journal", "--follow")[1]


@pytest.mark.parametrize(
    "command",
    [
        {}, {"do": "dance"}, {"do": "revoke"}, {"do": "revoke", "nodes": "pc100", "seconds": 1},
        {"do": "revoke", "nodes": ["pc100"], "seconds": "1"}, {"do": "value", "node": 1, "value": 1},
        {"do": "value", "node": "pc100", "value": True}, {"do": "withdraw"},
        {"do": "revoke", "nodes": ["pc100"], "seconds": float("inf")},
        {"do": "value", "node": "pc100", "value": NAN},
    ],
)  # fmt: skip
def test_rubbish_on_the_socket_is_an_error(refusing, command):
    with pytest.raises(SteeringError):
        ask(refusing.directory, command)
    assert ask(refusing.directory, {"do": "ping"}) == "running"


def test_none_running_is_said(tmp_path):
    result = CliRunner().invoke(app, ["machines", "--dir", str(tmp_path)])
    assert (result.exit_code, f"no test bed is running in {tmp_path}" in result.output) == (1, True)
    result = CliRunner().invoke(app, ["journal", "--dir", str(tmp_path)])
    assert (result.exit_code, "no test bed has been started" in result.output) == (1, True)


def test_two_in_one_directory_are_refused_and_the_first_goes_on(cloudlab):
    with pytest.raises(SteeringError, match=r"is running in .* already"):
        SimulatedCloudlab(cloudlab.directory).start()
    assert ask(cloudlab.directory, {"do": "ping"}) == "running"


def test_a_socket_left_by_a_killed_one_is_no_hindrance(start, tmp_path):
    first = start(directory=tmp_path / "bed")
    path = first.directory / "control.sock"
    first.stop()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert ask(start(directory=tmp_path / "bed").directory, {"do": "ping"}) == "running"
    assert (tmp_path / "bed" / "journal.jsonl.1").exists()


def test_the_directory_may_be_deep(start, tmp_path):
    """unix(7): the address of a socket has 107 bytes."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    assert ask(start(directory=deep).directory, {"do": "ping"}) == "running"


@pytest.mark.parametrize("speed", [0, -1, NAN, float("inf")])
def test_a_speed_that_is_none_is_refused(tmp_path, speed):
    with pytest.raises(SteeringError, match="speed must be a positive number"):
        SimulatedCloudlab(tmp_path, speed=speed)


def test_ports_are_given_for_all_or_for_none(tmp_path):
    with pytest.raises(SteeringError, match="3 ports are needed"):
        SimulatedCloudlab(tmp_path, ports=(1, 2))


def test_the_bed_file_is_read_as_it_was_written(cloudlab):
    bed = cloudlab.bed_file()
    path = write_bed_file(bed)
    assert read_bed_file(cloudlab.directory) == bed
    assert path.stat().st_mode & 0o777 == 0o600
    assert bed.user_key.stat().st_mode & 0o777 == 0o600
    path.write_text("{}")
    with pytest.raises(BedFileError, match="is not the file of a test bed"):
        read_bed_file(cloudlab.directory)
    path.unlink()
    with pytest.raises(BedFileError, match="is missing"):
        read_bed_file(cloudlab.directory)


def test_the_command_runs_until_sigterm_and_tells_where_everything_is(keys, tmp_path):
    """``python -m testbed cloudlab``: testbed.json while it runs, a quick and clean end."""
    directory = tmp_path / "bed"
    shutil.copytree(keys, directory / "pki")
    command = [sys.executable, "-m", "testbed", "cloudlab", "--dir", str(directory), "--speed", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "journal --follow" in line:
                    break
            raw = json.loads((directory / "testbed.json").read_text())
            bed = read_bed_file(directory)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    needed = "sa_url cms ca_bundle user_urn user_pem user_key passphrase agent_conf slurm_conf"
    assert set(needed.split()) <= set(raw)
    assert (bed.pid, bed.slurm_conf, bed.agent_conf.exists()) == (process.pid, None, True)
    assert bed.sa_url in "".join(lines)
    assert not (directory / "testbed.json").exists()
    assert not (directory / "control.sock").exists()
