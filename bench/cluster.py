"""A Slurm controller of the benchmark's own: many nodes that are down, many jobs that are held, no slurmd."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.tree import PATH
from testbed.waiting import wait_for

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
    """The running controller."""

    def __init__(self, directory: Path) -> None:
        self.conf = directory / "slurm.conf"
        self.environment = {"PATH": PATH, "SLURM_CONF": str(self.conf)}

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
def running(directory: Path, nodes: int) -> Iterator[Cluster]:
    """Start munged and slurmctld in a directory of their own, and end them afterwards.

    Raises:
        NotInTimeError: one of them does not come up; its ``.out`` in the directory tells why.
    """
    (directory / "state").mkdir()
    key = directory / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(64))
    cluster = Cluster(directory)
    cluster.conf.write_text(
        _CONF.format(
            host=socket.gethostname().partition(".")[0],
            port=_free_port(),
            slurmd_port=_free_port(),
            directory=directory,
            nodes=nodes,
        )
    )
    munged = (
        "munged",
        "--foreground",
        "--force",
        *(f"--{name}={directory}/munge.{name.partition('-')[0]}" for name in ("key-file", "socket")),
        *(
            f"--{name}={directory}/munged.{name.partition('-')[0]}"
            for name in ("pid-file", "seed-file", "log-file")
        ),
    )
    with ExitStack() as stack:
        stack.enter_context(_daemon(cluster, directory, *munged))
        wait_for("munged", (directory / "munge.socket").exists, timeout=30)
        stack.enter_context(_daemon(cluster, directory, "slurmctld", "-D"))
        wait_for("slurmctld", lambda: _answers(cluster), timeout=60)
        yield cluster


@contextmanager
def _daemon(cluster: Cluster, directory: Path, *command: str) -> Iterator[None]:
    with (directory / f"{command[0]}.out").open("wb") as log:
        process = subprocess.Popen(
            command, env=cluster.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
        )
    try:
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
