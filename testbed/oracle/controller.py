"""A slurmctld of the oracle's own, with no slurmd: CLOUD nodes on which a job that fits is allocated at once."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.slurm.names import expand
from testbed.instance import Claim
from testbed.oracle.shapes import SHAPES, Combination, Configuration
from testbed.registry import BedError
from testbed.release import Release
from testbed.tree import PATH, ProcessTree
from testbed.waiting import PATIENCE, wait_for

WAITING_ROOM = "wait"
"""A partition of no nodes, with the rules of all others: what the planner reads waits there."""
_CONF = """\
ClusterName=oracle
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/slurmctld.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,default_queue_depth=1000000,\
bf_interval=1,bf_max_job_test=100000,bf_max_time=30
SlurmdTimeout=0
ResumeTimeout=65533
SuspendTime=65533
SuspendProgram=/bin/true
ResumeProgram=/bin/true
TreeWidth=65533
MaxJobCount=200000
MaxArraySize=1001
MinJobAge=2
AllowSpecResourcesUsage=YES
GresTypes=gpu
PrivateData=cloud
{cluster}
PartitionName={waiting_room} Default=YES {partition}
"""
_STOP_TIMEOUT = 20.0


@dataclass(frozen=True)
class Seen:
    """What became of a submission in one partition, once Slurm has looked at all of it."""

    started: int
    """Tasks of an array, or components, that were allocated."""
    waiting: int
    nodes: frozenset[str]
    """Names of those that it was given."""


class Controller:
    """slurmctld and munged; use it as a context manager.

    Args:
        directory: for all its files; it is emptied.
        configuration: how it chooses nodes.
        combinations: each is a partition of nodes of its own, in every copy.
        copies: submissions that can be asked about at once.
        release: which Slurm.
    """

    def __init__(
        self,
        directory: Path,
        configuration: Configuration,
        combinations: Sequence[Combination],
        copies: int,
        release: Release,
    ) -> None:
        self.directory = directory
        self.conf = directory / "slurm.conf"
        self.bin_dir = None if release.is_own else directory / "bin"
        self._configuration = configuration
        self._combinations = combinations
        self.copies = copies
        self._release = release
        self._trees: list[ProcessTree] = []
        self._claim: Claim | None = None

    def __enter__(self) -> Self:
        self._claim = Claim(self.directory)
        try:
            self._start(self._claim)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; doing so again is harmless."""
        while self._trees:
            self._trees.pop().close()
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _start(self, claim: Claim) -> None:
        for left in self.directory.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        (self.directory / "state").mkdir()
        key = self.directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(64))
        self.conf.write_text(self._slurm_conf(claim.free_ports(2)))
        for name in ("cgroup.conf", "gres.conf"):
            (self.directory / name).touch()
        if self.bin_dir is not None:
            self._release.write_commands(self.bin_dir)
        munged = self._run_daemon(
            claim,
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={self.directory}/munge.socket",
            f"--pid-file={self.directory}/munged.pid",
            f"--seed-file={self.directory}/munged.seed",
        )
        munged.wait_until_ready((self.directory / "munge.socket").exists)
        slurmctld = self._run_daemon(claim, "slurmctld", "-D", "-c")
        slurmctld.wait_until_ready(lambda: " is UP" in self.run("scontrol", "ping", check=False))

    def _run_daemon(self, claim: Claim, program: str, *arguments: str) -> ProcessTree:
        tree = ProcessTree(
            program,
            self._release.inside([program, *arguments]),
            instance=claim.instance,
            log=self.directory / f"{program}.out",
            own_log=self.directory / f"{program}.log",
            environment={"SLURM_CONF": str(self.conf)},
        )
        self._trees.append(tree)
        return tree

    def _slurm_conf(self, ports: Sequence[int]) -> str:
        text = _CONF.format(
            host=socket.gethostname().partition(".")[0],
            port=ports[0],
            other_port=ports[1],
            directory=self.directory,
            cluster=self._configuration.cluster,
            waiting_room=WAITING_ROOM,
            partition=self._configuration.partition,
        )
        counts: Counter[str] = Counter()
        partitions = []
        for copy in range(self.copies):
            for number, combination in enumerate(self._combinations):
                nodes = []
                for kind in combination.types:
                    counts[kind] += 1
                    nodes.append(f"{kind}n{counts[kind]}")
                partitions.append(
                    f"PartitionName=p{copy}x{number} Nodes={','.join(nodes)} {self._configuration.partition}\n"
                )
        declared = [
            f"NodeName={s.name}n[1-{counts[s.name]}] {s.conf} State=CLOUD\n" for s in SHAPES if counts[s.name]
        ]
        return text + "".join(declared + partitions)

    def run(self, *command: str, check: bool = True) -> str:
        """Run one of Slurm's commands, and return what it prints.

        Raises:
            BedError: it failed, and ``check`` is set.
        """
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=self.directory,
            env={
                "PATH": PATH if self.bin_dir is None else f"{self.bin_dir}:{PATH}",
                "LANG": "C.UTF-8",
                "SLURM_CONF": str(self.conf),
            },
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
        if check and done.returncode != 0:
            raise BedError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def submit(self, line: Sequence[str], partition: str) -> int | str:
        """Submit; return the id of the job, or sbatch's words where it takes none."""
        # Of a heterogeneous job each component names its partition.
        options = [f"--partition={partition}"]
        for word in line:
            options += [word, f"--partition={partition}"] if word == ":" else [word]
        try:
            told = self.run("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap=true")
        except BedError as error:
            return str(error)
        return int(told.strip().partition(";")[0])

    def ask(self, lines: Sequence[Sequence[str]], numbers: Iterable[int]) -> list[dict[int, Seen | str]]:
        """Submit lines to combinations, each on machines that nothing else has.

        Args:
            lines: of sbatch's options; no more than there are copies.
            numbers: of the combinations.

        Returns:
            For each line: number of a combination -> what became of it there, or why sbatch refused it.
        """
        numbers = list(numbers)
        answers: list[dict[int, Seen | str]] = [{} for _ in lines]
        where: dict[int, tuple[int, int]] = {}
        for copy, line in enumerate(lines):
            for number in numbers:
                told = self.submit(line, f"p{copy}x{number}")
                if isinstance(told, str):
                    answers[copy][number] = told
                else:
                    where[told] = (copy, number)
        if where:
            for job, seen in wait_for("a look at every job", self._look).items():
                copy, number = where[job]
                answers[copy][number] = seen
            self.clear()
        return answers

    def _look(self) -> Mapping[int, Seen]:
        """Return the id of each submission -> what became of it; empty while Slurm has not looked at all."""
        started: Counter[int] = Counter()
        waiting: Counter[int] = Counter()
        nodes: dict[int, set[str]] = defaultdict(set)
        listing = self.run("squeue", "-h", "-r", "-o", "%F|%i|%T|%r|%N")
        for row in listing.splitlines():
            array, job_id, state, reason, names = row.split("|", 4)
            job = int(job_id.partition("+")[0]) if "+" in job_id else int(array)
            if state == "PENDING":
                if reason in {"None", ""}:
                    return {}
                waiting[job] += 1
            else:
                started[job] += 1
                nodes[job] |= expand(names) if names else frozenset()
        return {
            job: Seen(started[job], waiting[job], frozenset(nodes[job]))
            for job in started.keys() | waiting.keys()
        }

    def clear(self) -> None:
        """End all jobs; return when none is there."""
        self.run("scancel", "--user=root")
        wait_for("an empty queue", lambda: not self.run("squeue", "-h"))
