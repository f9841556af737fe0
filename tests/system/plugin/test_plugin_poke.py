"""esagent-poke: what it says, that Slurm's epilog says it, and that nothing can hold it up."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.waiting import PATIENCE, wait_for


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(1)
        yield server


Poke = Callable[..., None]


@pytest.fixture
def poke(built: Path, inside) -> Poke:
    """Run it; it has to end by itself, with status 0 and without a word."""

    def run(path: object, *arguments: str, **environment: str) -> None:
        done = subprocess.run(
            inside([built / "build/esagent-poke", *arguments]),
            env={"ESAGENT_SOCKET": str(path), **environment},
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stdout + done.stderr == b""

    return run


def heard(listener: socket.socket) -> str:
    """Take the next call; return all of it."""
    listener.settimeout(PATIENCE)
    call, _ = listener.accept()
    with call, call.makefile() as stream:
        return stream.read()


def test_it_tells_the_job_and_its_nodes(poke: Poke, listener: socket.socket) -> None:
    poke(listener.getsockname(), SLURM_JOB_ID="7", SLURM_JOB_NODELIST="n[1-2]")
    assert '{"nodes": "n[1-2]", "job": "7"}' in heard(listener)
    poke(listener.getsockname(), 'a"b\\c\nd')
    assert '{"nodes": "a?b?c?d", "job": ""}' in heard(listener)


@pytest.mark.parametrize("name", ["esagent-resume", "esagent-suspend", "esagent-resume-fail"])
def test_the_programs_of_power_saving_have_the_agent_look_at_slurm(
    built: Path, inside, tmp_path: Path, listener: socket.socket, name: str
) -> None:
    (tmp_path / name).hardlink_to(built / "build/esagent-poke")
    command = inside([tmp_path / name, "node-[1-2]"])
    subprocess.run(command, env={"ESAGENT_SOCKET": listener.getsockname()}, timeout=PATIENCE, check=True)
    told = heard(listener)
    assert told.startswith("POST /v1/power ")
    assert '"nodes": "node-[1-2]"' in told


def test_it_ends_while_the_agent_never_answers(poke: Poke, listener: socket.socket) -> None:
    # Its connection is never taken, and stays open at this end for as long as it runs, and longer.
    poke(listener.getsockname())


def test_it_ends_when_the_agent_takes_no_more_connections(poke: Poke, listener: socket.socket) -> None:
    waiting: list[socket.socket] = []
    try:
        while True:
            client = socket.socket(socket.AF_UNIX)
            waiting.append(client)
            client.setblocking(False)
            client.connect(listener.getsockname())
    except BlockingIOError:
        poke(listener.getsockname())
    finally:
        for client in waiting:
            client.close()


@pytest.mark.parametrize("path", ["missing", "plain", "dead", "x" * 4000, ""])
def test_it_ends_when_there_is_no_agent(poke: Poke, tmp_path: Path, path: str) -> None:
    (tmp_path / "plain").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "dead"))
    poke(tmp_path / path)


@pytest.fixture
def slurms_listener(plugged) -> Iterator[socket.socket]:
    """What Slurm's programs poke, in the agent's place."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plugged.socket))
        server.listen(5)
        yield server
    plugged.socket.unlink()


def test_the_epilog_of_each_job_pokes(plugged, slurms_listener: socket.socket) -> None:
    job = plugged.bed.slurm.submit("true", "--nodelist=n1")
    assert f'"nodes": "n1", "job": "{job}"' in heard(slurms_listener)


def test_a_trigger_pokes_when_a_node_is_drained(plugged, slurms_listener: socket.socket) -> None:
    slurm = plugged.bed.slurm
    slurm.run(*shlex.split(plugged.fragment("sh trigger")))
    slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    try:
        assert '"nodes": "n1", "job": ""' in heard(slurms_listener)
    finally:
        slurm.run("strigger", "--clear", "--node", "--quiet", "--user=root")
        slurm.run("scontrol", "update", "NodeName=n1", "State=UNDRAIN")
        slurm.wait_for_node("n1", "IDLE")


def test_the_end_of_a_job_lets_its_machine_go_at_once(agent, plugged) -> None:
    slurm = plugged.bed.slurm
    agent.change('tick = "1s"', 'tick = "10m"')
    agent.start()
    node, job = agent.borrow()
    assert agent.ask("drain", node, "--release").returncode == 0
    slurm.wait_for_node(node, "DRAIN")
    # Its end is heard by nobody: the tick would be the next to tell, in ten minutes.
    slurm.run("scancel", str(job))
    wait_for("the machine is empty", lambda: not slurm.run("squeue", "-h", "-w", node))
    journal = agent.bed.cloudlab.journal
    looks = len(journal.calls("Resolve")) + 4
    wait_for("a few looks at Cloudlab", lambda: len(journal.calls("Resolve")) >= looks)
    assert not agent.said("gave back")
    plugged.socket.symlink_to(agent.socket)
    try:
        slurm.run("scancel", "--nodelist=n1")
        wait_for("it is given back", lambda: agent.said("gave back"))
    finally:
        plugged.socket.unlink()
