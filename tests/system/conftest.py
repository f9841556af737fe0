"""One test bed for all system tests: real namespaces, sshd and Slurm, and a simulated Cloudlab."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.client import call
from agent.core.errors import AgentError, ConfigError
from agent.core.ports import SystemClock
from agent.slurm.choice import Choice, choose
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import SlurmBackend
from agent.slurm.settings import SlurmSettings
from testbed import release
from testbed.emptying import add_nodes, remove_nodes
from testbed.needs import require_programs, require_rights
from testbed.registry import MARKER, BedError
from testbed.slurm import BACKUP_HEAD
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

ESAGENT = Path(sys.executable).with_name("esagent")

SOON = 30.0
"""Seconds that a daemon has to end, on a machine that is busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, which have a time limit of their own: begun last, they are waited for."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failure what the daemons said last."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        logs = []
        for part in item.funcargs.values():
            if isinstance(part, Agent):
                logs.append(part.log)
            elif isinstance(part, TestBed):
                logs.append(part.slurm.directory / "slurmctld.log")
        for log in dict.fromkeys(logs):
            if log.exists():
                newest = log.read_text(errors="replace").splitlines()[-25:]
                report.sections.append((f"the end of {log}", "\n".join(line[:240] for line in newest)))
    return report


def pytest_configure() -> None:
    """Say what the test bed lacks before the first test, and once."""
    try:
        require_rights()
        require_programs()
    except BedError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """A running test bed; tests leave it as they found it: no job, no borrowed machine, only n1 in Slurm."""
    directory = tmp_path_factory.mktemp("bed")
    with (
        TestBed(directory, speed=120, slurm=release.wanted()) as bed,
        pytest.MonkeyPatch.context() as patch,
    ):
        if bed.slurm.bin_dir is not None:
            # What tests start finds the commands of the test bed's Slurm, whatever its release.
            patch.setenv("PATH", str(bed.slurm.bin_dir), prepend=os.pathsep)
        yield bed


@pytest.fixture(scope="session")
def pyslurm_site() -> str:
    """Where the Python that ``PYSLURM_PYTHON`` names keeps pyslurm; "" where there is none."""
    python = os.environ.get("PYSLURM_PYTHON")
    if not python:
        return ""
    # pyslurm is not imported: that would end the process where there is no slurm.conf.
    script = "import importlib.util as u; print(u.find_spec('pyslurm').submodule_search_locations[0])"
    found = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return str(Path(found.stdout.strip()).parent) if found.returncode == 0 else ""


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest, bed: TestBed) -> Iterator[tuple[str, str]]:
    """The dynamic nodes that the module names in ``NODES``: 2 CPUs, 1000 MB, features small and x."""
    names: tuple[str, str] = request.module.NODES
    add_nodes(bed.machines, bed.slurm, names, features="small,x")
    bed.slurm.wait_until_usable()
    yield names
    remove_nodes(bed.machines, bed.slurm, names)


@pytest.fixture
def nodes_as_found(bed: TestBed, two_nodes: tuple[str, str]) -> Iterator[None]:
    """Afterwards no job is left, and ``two_nodes`` and n1 are as they were."""
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()
    listed = ",".join(two_nodes)
    bed.slurm.run("scontrol", "update", f"NodeName=n1,{listed}", "Comment=", "Extra=")
    for name in two_nodes:
        # A test may have stopped it.
        bed.machines.run(name, "pkill -CONT -x slurmd", timeout=PATIENCE)
    for name, state in bed.slurm.nodes().items():
        if state & {"DOWN", "DRAIN"}:
            bed.slurm.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
    bed.slurm.run("scontrol", "update", f"NodeName={listed}", "Weight=1")
    bed.slurm.wait_until_usable()


@pytest.fixture(scope="module")
def nodes_alone(request: pytest.FixtureRequest, bed: TestBed) -> Iterator[None]:
    """The dynamic nodes that the module names in ``NODES``, of ``CPUS`` each; no other takes jobs."""
    names = request.module.NODES
    add_nodes(bed.machines, bed.slurm, names, cpus=request.module.CPUS)
    bed.slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    yield
    bed.slurm.run("scontrol", "update", "NodeName=n1", "State=UNDRAIN")
    remove_nodes(bed.machines, bed.slurm, names)
    bed.slurm.wait_for_node("n1", "IDLE")


@pytest.fixture
def idle_again(request: pytest.FixtureRequest, bed: TestBed, nodes_alone: None) -> Iterator[None]:
    """Afterwards no job is left, and ``nodes_alone`` take jobs."""
    yield
    names = request.module.NODES
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(names)}", "State=UNDRAIN")
    wait_for("all nodes idle", lambda: all("IDLE" in bed.slurm.node_state(n) for n in names))


WAYS_IN = ("cli", "rest", "pyslurm")


@pytest.fixture(scope="module")
def choices(bed: TestBed, pyslurm_site: str) -> Iterator[dict[str, Choice | str]]:
    """Each way in, or in words why it does not work with this cluster."""
    found: dict[str, Choice | str] = {}
    with pytest.MonkeyPatch.context() as patch:
        if pyslurm_site:
            patch.setenv("PYTHONPATH", pyslurm_site)
        for name in WAYS_IN:
            settings = SlurmSettings.model_validate(
                {"backend": name, "conf": bed.slurm.conf, "rest_url": f"unix:{bed.slurm.rest_socket}"}
            )
            try:
                found[name] = choose(settings, SystemClock(), CliBackend(settings, SystemClock()))
            except ConfigError as error:
                found[name] = str(error)
        yield found
    for choice in found.values():
        if isinstance(choice, Choice):
            choice.close()


@pytest.fixture(scope="module")
def ways_in(choices: dict[str, Choice | str]) -> dict[str, SlurmBackend]:
    """Every way in that works with this cluster."""
    return {name: choice.backend for name, choice in choices.items() if isinstance(choice, Choice)}


@pytest.fixture(params=WAYS_IN)
def each_way_in(request: pytest.FixtureRequest, choices: dict[str, Choice | str]) -> SlurmBackend:
    """One way in after the other."""
    choice = choices[request.param]
    if isinstance(choice, str):
        pytest.skip(choice)
    return choice.backend


class Agent:
    """An `esagent run` of the test's own, with files of its own."""

    def __init__(self, bed: TestBed, directory: Path, machine: str = "") -> None:
        """Prepare one, on a machine of the test bed or ("") beside it; it is not started."""
        assert bed.bedfile.agent_conf is not None
        self.bed = bed
        self.machine = machine
        self.log = directory / "agent.log"
        self.conf = directory / "agent.conf"
        self.socket = directory / "admin.sock"
        self.ledger = directory / "ledger.db"
        text = bed.bedfile.agent_conf.read_text()
        self.conf.write_text(text.replace(str(bed.bedfile.agent_conf.parent), str(directory)))
        self.change("[metrics]\nport = 0", f"[metrics]\nport = {_free_port()}")
        self.process: subprocess.Popen[bytes] | None = None

    def change(self, old: str, new: str) -> None:
        """Edit agent.conf."""
        text = self.conf.read_text()
        assert old in text, f"{old!r} is not in agent.conf"
        self.conf.write_text(text.replace(old, new))

    @property
    def metrics_port(self) -> int:
        match = re.search(r"\[metrics\]\nport = (\d+)", self.conf.read_text())
        assert match is not None
        return int(match[1])

    def start(self, **environment: str) -> None:
        """Start it; return when it answers."""
        self.launch(**environment)
        wait_for("the daemon answers", lambda: self.look("/v1/status"))

    def launch(self, **environment: str) -> None:
        """Start it, and do not wait."""
        command = [str(ESAGENT), "run", "--config", str(self.conf)]
        if self.machine:
            command = self.bed.machines.machine(self.machine).inside(command)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                # With the mark, it is ended with the test bed even if this process is killed.
                env={**os.environ, "PYTHONFAULTHANDLER": "1", MARKER: self.bed.instance.id, **environment},
            )

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an administrator's command."""
        return subprocess.run(
            [ESAGENT, *arguments],
            env={**os.environ, "ESAGENT_SOCKET": str(self.socket)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def look(self, route: str) -> dict[str, Any]:
        """Read from the daemon, without the cost of a command; empty when it does not answer."""
        try:
            answer: dict[str, Any] = call(self.socket, "GET", route)
        except AgentError:
            return {}
        return answer

    def status(self) -> dict[str, object]:
        """Return what `esagent status` says."""
        return self.look("/v1/status")

    def told(self, words: str) -> bool:
        """Tell whether `esagent events` says something."""
        return any(words in e["message"] for e in self.look("/v1/events?subject=&newest=500")["events"])

    def figure(self, name: str) -> str:
        """Return the value of a metric without labels."""
        address = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            match = re.search(rf"(?m)^{name} (\S+)$", answer.read().decode())
        assert match is not None, f"there is no {name}"
        return match[1]

    def let_it_look_again(self) -> None:
        """Wait until it has read its manifests a few times: it had every chance to ask for a machine."""
        journal = self.bed.cloudlab.journal
        before = len(journal.calls("Resolve"))
        wait_for("a few looks", lambda: len(journal.calls("Resolve")) >= before + 10)

    def nodes(self) -> dict[str, dict[str, object]]:
        """Return node name -> record of `esagent nodes`; empty when the daemon does not answer."""
        return {node["node"]: node for node in self.look("/v1/nodes").get("nodes", [])}

    def borrow(self, script: str = "sleep 600", *options: str) -> tuple[str, int]:
        """Fill n1, and wait until a job runs on a borrowed machine; return node name and job id."""
        blocker = self.bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
        self.bed.slurm.wait_for_job(blocker, "RUNNING")
        job = self.bed.slurm.submit(script, *(options or ("--cpus-per-task=2", "--time=30")))
        self.bed.slurm.wait_for_job(job, "RUNNING")
        return self.bed.slurm.job_nodes(job), job

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon; it has to do so within ``SOON`` seconds.

        Raises:
            AssertionError: it runs on; its log tells where each of its threads is.
        """
        assert self.process is not None
        self.send(number)
        try:
            return self.process.wait(SOON)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)
            self.process.wait()
        newest = self.log.read_text(errors="replace")[-20_000:]
        raise AssertionError(f"the daemon did not end in {SOON:g} s after signal {number}:\n{newest}")

    def said(self, pattern: str) -> bool:
        """Tell whether the daemon has logged something."""
        return re.search(pattern, self.log.read_text(errors="replace")) is not None

    def wait_for_log(self, pattern: str) -> None:
        """Wait until the daemon has logged something."""
        wait_for(f"the log says {pattern!r}", lambda: self.said(pattern))


@pytest.fixture
def two_heads(tmp_path: Path) -> Iterator[tuple[TestBed, Agent, Agent]]:
    """A test bed with two head nodes, and an agent for each: where slurmctld is primary, and the other."""
    with TestBed(tmp_path / "bed", speed=120, slurm=release.wanted(), backup=True) as bed:
        agents = []
        for name, machine in (("one", ""), ("two", BACKUP_HEAD)):
            (tmp_path / name).mkdir()
            agents.append(Agent(bed, tmp_path / name, machine))
        agents[1].change(f'listen = "{bed.instance.address}"', 'listen = "0.0.0.0"')
        yield bed, agents[0], agents[1]
        for agent in agents:
            if agent.process is not None and agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait()


@pytest.fixture
def predeclare(bed: TestBed) -> Iterator[Callable[..., str]]:
    """Declare Cloudlab's machines, or those named, in slurm.conf in a state such as CLOUD; returns names."""
    text = bed.slurm.conf.read_text()
    changed = []

    def declare(state: str, names: str = "") -> str:
        names = names or ",".join(sorted(m.node_id for m in bed.cloudlab.machines()))
        permanent = re.search(r"^NodeName=n1 .*$", text, re.MULTILINE)
        assert permanent is not None
        line = f"NodeName={names} NodeAddr=127.0.0.1 CPUs=2 State={state} Feature=cloudlab"
        bed.slurm.conf.write_text(text.replace(permanent[0], f"{permanent[0]}\n{line}"))
        bed.slurm.restart_slurmctld()
        changed.append(state)
        return names

    yield declare
    if changed:
        bed.slurm.conf.write_text(text)
        bed.slurm.restart_slurmctld()


@pytest.fixture
def patient_slurm(bed: TestBed) -> Iterator[None]:
    """Slurm does not find out in time that a machine is gone: it has its usual SlurmdTimeout."""
    text = bed.slurm.conf.read_text()
    bed.slurm.conf.write_text(text.replace("SlurmdTimeout=30", "SlurmdTimeout=300"))
    bed.slurm.restart_slurmctld()
    yield
    bed.slurm.conf.write_text(text)
    bed.slurm.restart_slurmctld()
    wait_for("all nodes are known", lambda: not any("UNKNOWN" in s for s in bed.slurm.nodes().values()))


@pytest.fixture
def agent(bed: TestBed, tmp_path: Path) -> Iterator[Agent]:
    """An agent that is not started yet; afterwards nothing of its work is left on the test bed."""
    agent = Agent(bed, tmp_path)
    yield agent
    if agent.process is not None and agent.process.poll() is None:
        agent.process.kill()
        agent.process.wait()
    give_everything_back(bed)


def give_everything_back(bed: TestBed) -> None:
    """Leave no job, no borrowed machine and no node but n1."""
    bed.cloudlab.clear_faults()
    bed.slurm.resume_slurmctld()
    for job in bed.slurm.run("squeue", "-h", "-o", "%A").split():
        bed.slurm.run("scancel", job)
    if machines := held(bed):
        bed.cloudlab.revoke(machines, 0)
    wait_for("no machine is held", lambda: not held(bed))
    for fence in re.findall(
        r"(?m)^ReservationName=(esagent-\S+)", bed.slurm.run("scontrol", "-o", "show", "res")
    ):
        bed.slurm.run("scontrol", "delete", f"ReservationName={fence}")
    for name in set(bed.slurm.nodes()) - {"n1"}:
        bed.slurm.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=test")
        wait_for(f"{name} is empty", lambda n=name: not bed.slurm.run("squeue", "-h", "-w", n))
        bed.slurm.run("scontrol", "delete", f"NodeName={name}")


def held(bed: TestBed) -> list[str]:
    """List the machines that Cloudlab says some slice holds, by their names in the test bed."""
    return sorted(m.name for m in bed.cloudlab.machines() if m.slice_urn)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
