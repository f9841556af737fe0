"""A Slurm controller of the benchmark's own: many nodes that are down, many jobs that are held, no slurmd.

It is of the release that is installed on the machine, or of one that was built from source into a directory.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.slurm.cli.scontrol import parse_release
from testbed.release import Release
from testbed.slurmrestd import as_root, rest_plugins
from testbed.starting import Logs, wait_until_ready
from testbed.tree import PATH

# One submission of a heterogeneous job makes as many job records as Slurm takes components, 128.
_COMPONENTS = 125
_CONF = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/slurmctld.pid
SlurmctldLogFile={directory}/slurmctld.log
MessageTimeout=100
SlurmctldTimeout=600
SlurmdTimeout=0
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MailProg=/bin/true
MaxJobCount=200000
MaxArraySize=10001
NodeName=DEFAULT Port={slurmd_port} CPUs=16 RealMemory=64000 Feature=small,gpu
NodeName=pc[1-{nodes}] NodeAddr=127.0.0.1 State=DOWN
PartitionName=main Nodes=ALL Default=YES
"""


class Cluster:
    """The running controller.

    Attributes:
        conf: path of slurm.conf.
        environment: what a Slurm command needs to find this cluster, and to be of its release.
        rest_socket: path of slurmrestd's unix socket.
        daemons: munged, slurmctld and slurmrestd.
    """

    def __init__(self, directory: Path, prefix: Path | None = None) -> None:
        own = "" if prefix is None else f"{prefix}/bin:{prefix}/sbin:"
        self.conf = directory / "slurm.conf"
        self.environment = {"PATH": own + PATH, "SLURM_CONF": str(self.conf)}
        self.rest_socket = directory / "slurmrestd.socket"
        self.daemons: list[subprocess.Popen[bytes]] = []

    @property
    def release(self) -> tuple[int, int]:
        """Which Slurm it is, such as (22, 5)."""
        return parse_release(self.run("squeue", "--version"))

    def hurry(self) -> None:
        """Let munged, slurmctld and this process run before the machine's other processes (``SCHED_FIFO``).

        Not slurmrestd, which would keep the machine to itself for minutes.
        """
        for process in self.daemons[:2]:
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(10))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))

    def run(self, *command: str) -> str:
        """Run a Slurm command and return what it prints."""
        return subprocess.run(
            command, env=self.environment, check=True, timeout=300, capture_output=True, text=True
        ).stdout

    def fill(self, jobs: int) -> None:
        """Submit at least so many held jobs, of a few dozen kinds, and ten arrays."""
        script = self.conf.with_name("job.sh")
        script.write_text("#!/bin/sh\nsleep 60\n")
        kinds: list[str] = []
        for number in range(_COMPONENTS):
            kinds += [
                "--hold",
                f"--ntasks={1 + number % 4}",
                f"--time={10 + number % 12}",
                f"--mem={100 + number % 3}",
            ]
            kinds += ["--constraint=small"] if number % 2 else []
            kinds += [":"]
        for _ in range(-(-jobs // _COMPONENTS)):
            self.run("sbatch", "--parsable", *kinds[:-1], str(script))
        for _ in range(10):
            self.run("sbatch", "--parsable", "--hold", "--array=0-999", str(script))


@contextmanager
def running(directory: Path, nodes: int, prefix: Path | None = None) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmrestd in a directory of their own, and end them afterwards.

    Args:
        directory: for all their files.
        nodes: how many the cluster has.
        prefix: where a Slurm was built from source to; None is the machine's own.

    Raises:
        BedError: one of them ends; its last error, and the log that holds it, are in the message.
        NotInTimeError: one of them is not ready in time; likewise.
    """
    (directory / "state").mkdir()
    key = directory / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(64))
    cluster = Cluster(directory, prefix)
    cluster.conf.write_text(
        _CONF.format(
            host=socket.gethostname().partition(".")[0],
            port=_free_port(),
            slurmd_port=_free_port(),
            directory=directory,
            nodes=nodes,
        )
    )
    socket_of_munge = directory / "munge.socket"
    munged = (
        *("munged", "--foreground", "--force"),
        *(f"--key-file={key}", f"--socket={socket_of_munge}"),
        *(f"--pid-file={directory}/munged.pid", f"--seed-file={directory}/munged.seed"),
    )
    with ExitStack() as stack:
        stack.enter_context(_daemon(cluster, directory, munged, socket_of_munge.exists))
        stack.enter_context(_daemon(cluster, directory, ("slurmctld", "-D"), lambda: _answers(cluster)))
        release = Release("{}.{:02}".format(*cluster.release), "true")
        plugins = rest_plugins(release)
        restd = ("slurmrestd", "-a", "rest_auth/local", *plugins, f"unix:{cluster.rest_socket}")
        stack.enter_context(
            _daemon(cluster, directory, restd, cluster.rest_socket.exists, through=as_root(release))
        )
        yield cluster


@contextmanager
def _daemon(
    cluster: Cluster,
    directory: Path,
    command: tuple[str, ...],
    is_ready: Callable[[], bool],
    through: tuple[str, ...] = (),
) -> Iterator[None]:
    """Run a daemon, from when it is ready on."""
    name = command[0]
    out = directory / f"{name}.out"
    logs = Logs(directory / f"{name}.log", out)
    with out.open("wb") as stream:
        process = subprocess.Popen(
            [*through, *command],
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd="/",
        )
    cluster.daemons.append(process)
    try:
        wait_until_ready(name, process, logs, is_ready)
        yield
    finally:
        process.kill()
        process.wait(30)


def _answers(cluster: Cluster) -> bool:
    try:
        return " is UP" in cluster.run("scontrol", "ping")
    except subprocess.SubprocessError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
