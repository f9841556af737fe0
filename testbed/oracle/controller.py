"""A slurmctld of the oracle's own, without slurmd: on CLOUD nodes a job that fits is allocated at once."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.slurm.names import expand
from testbed.instance import Claim
from testbed.oracle.shapes import MOST, NAMES, SHAPES, WAITING_ROOM, Combination, Configuration
from testbed.registry import BedError
from testbed.release import Release
from testbed.tree import PATH, ProcessTree
from testbed.waiting import PATIENCE, wait_for

_NOT_LOOKED_AT = frozenset({"", "None", "Priority"})
"""Reasons of a job for which no room has been looked for; a task of an array says so after one that waits."""
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
PartitionName={waiting_room} Default=YES {waiting_nodes}{partition}
"""
_REFUSES_EARLY = (24, 5)
"""The first release that was seen to refuse what no node of a partition fits, also where it has none."""
_STOP_TIMEOUT = 20.0
_SHUT = f"s[1-{MOST}]"
"""Names of the nodes that take no job, after their type."""


@dataclass(frozen=True)
class Seen:
    """What became of a submission in one partition, once Slurm has looked at all of it."""

    started: int
    """Tasks of an array, or components, that were allocated."""
    waiting: int
    nodes: frozenset[str]
    """Names of those that it was given."""


class Controller:
    """munged, and one slurmctld after the other; use it as a context manager.

    Each question has machines of its own that no job had before: slurmctld 22.05 keeps typed GPUs of a job
    over several nodes after its end, and would answer the next one differently.

    Args:
        directory: for all files; what is in it goes.
        configuration: how slurmctld chooses nodes.
        release: which Slurm.
    """

    def __init__(self, directory: Path, configuration: Configuration, release: Release) -> None:
        self.directory = directory
        self.conf = directory / "slurm.conf"
        self.bin_dir = None if release.is_own else directory / "bin"
        self._configuration = configuration
        self._release = release
        self._munged: ProcessTree | None = None
        self._slurmctld: ProcessTree | None = None
        self._claim: Claim | None = None

    def __enter__(self) -> Self:
        self._claim = Claim(self.directory)
        try:
            self._start_munged()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; doing so again is harmless."""
        for tree in (self._slurmctld, self._munged):
            if tree is not None:
                tree.close()
        self._slurmctld = self._munged = None
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _start_munged(self) -> None:
        for left in self.directory.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        key = self.directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(64))
        for name in ("cgroup.conf", "gres.conf"):
            (self.directory / name).touch()
        if self.bin_dir is not None:
            self._release.write_commands(self.bin_dir)
        self._munged = self._daemon(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={self.directory}/munge.socket",
            f"--pid-file={self.directory}/munged.pid",
            f"--seed-file={self.directory}/munged.seed",
        )
        self._munged.wait_until_ready((self.directory / "munge.socket").exists)

    def start(self, combinations: Sequence[Combination]) -> None:
        """Start a slurmctld that knows of nothing but these machines; an earlier one is ended.

        Args:
            combinations: each is a partition, ``p0`` and so on, of nodes of its own.
        """
        if self._slurmctld is not None:
            self._slurmctld.close()
        shutil.rmtree(self.directory / "state", ignore_errors=True)
        (self.directory / "state").mkdir()
        assert self._claim is not None
        self.conf.write_text(self._slurm_conf(self._claim.free_ports(2), combinations))
        self._slurmctld = self._daemon("slurmctld", "-D", "-c")
        self._slurmctld.wait_until_ready(lambda: " is UP" in self.run("scontrol", "ping", check=False))
        if self._shut:
            listed = ",".join(self._shut)
            self.run("scontrol", "update", f"NodeName={listed}", "State=DRAIN", "Reason=waiting room")

    @property
    def _shut(self) -> list[str]:
        """Nodes that take no job, for the partition in which jobs wait; none where it needs none."""
        return [f"{name}{_SHUT}" for name in NAMES] if self._release.number >= _REFUSES_EARLY else []

    def _daemon(self, program: str, *arguments: str) -> ProcessTree:
        assert self._claim is not None
        return ProcessTree(
            program,
            self._release.inside([program, *arguments]),
            instance=self._claim.instance,
            log=self.directory / f"{program}.out",
            own_log=self.directory / f"{program}.log",
            environment={"SLURM_CONF": str(self.conf)},
        )

    def _slurm_conf(self, ports: Sequence[int], combinations: Sequence[Combination]) -> str:
        shut = self._shut
        text = _CONF.format(
            host=socket.gethostname().partition(".")[0],
            port=ports[0],
            other_port=ports[1],
            directory=self.directory,
            cluster=self._configuration.cluster,
            waiting_room=WAITING_ROOM,
            waiting_nodes=f"Nodes={','.join(shut)} " if shut else "",
            partition=self._configuration.partition,
        )
        # The first of each type is in no partition: it shows what the type is.
        counts = Counter(dict.fromkeys(NAMES, 1))
        partitions = []
        for number, combination in enumerate(combinations):
            nodes = []
            for kind in combination.types:
                counts[kind] += 1
                nodes.append(f"{kind}n{counts[kind]}")
            partitions.append(
                f"PartitionName=p{number} Nodes={','.join(nodes)} {self._configuration.partition}\n"
            )
        declared = [
            f"NodeName={kind}{_SHUT} {s.conf} State=CLOUD\n" for s in SHAPES for kind in [s.name] if shut
        ]
        declared += [f"NodeName={s.name}n[1-{counts[s.name]}] {s.conf} State=CLOUD\n" for s in SHAPES]
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

    def ask(self, questions: Sequence[tuple[Sequence[str], Combination]]) -> list[Seen | str]:
        """Submit each line to machines that nothing else has; they are asked side by side.

        Args:
            questions: sbatch's options, and the machines.

        Returns:
            For each what became of it, or why sbatch refused it.
        """
        self.start([combination for _, combination in questions])
        told = [self.submit(line, f"p{number}") for number, (line, _) in enumerate(questions)]
        seen = wait_for("a look at every job", self._look) if any(isinstance(t, int) for t in told) else {}
        return [each if isinstance(each, str) else seen[each] for each in told]

    def _look(self) -> Mapping[int, Seen]:
        """Return the id of each submission -> what became of it; empty while Slurm has not looked at all."""
        started: Counter[int] = Counter()
        waiting: Counter[int] = Counter()
        looked_at: set[int] = set()
        nodes: dict[int, frozenset[str]] = {}
        listing = self.run("squeue", "-h", "-r", "-o", "%F|%i|%T|%r|%S|%N")
        for row in listing.splitlines():
            array, job_id, state, reason, starts, names = row.split("|", 5)
            job = int(job_id.partition("+")[0]) if "+" in job_id else int(array)
            if state == "PENDING":
                waiting[job] += 1
                # Backfill tells when it may start, and leaves the reason alone.
                if reason not in _NOT_LOOKED_AT or starts != "N/A":
                    looked_at.add(job)
            else:
                started[job] += 1
                nodes[job] = nodes.get(job, frozenset()) | expand(names)
        if waiting.keys() - looked_at:
            return {}
        return {
            job: Seen(started[job], waiting[job], nodes.get(job, frozenset()))
            for job in started.keys() | waiting.keys()
        }
