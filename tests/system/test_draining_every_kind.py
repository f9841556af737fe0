"""Random revocations of a queue of every kind of job, while all kinds of things fail: each job is counted."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testbed.cloudlab.journal import Held
from testbed.registry import MARKER, BedError
from testbed.up import TestBed
from testbed.waiting import PATIENCE, NotInTimeError, wait_for

LONG = bool(os.environ.get("ESAGENT_LONG_TESTS"))
ONE_CPU, TWO_CPUS = "--cpus-per-task=1", "--cpus-per-task=2"
SAVES = """\
saved=$(cat {name}.saved 2>/dev/null || echo 0)
trap 'echo $saved > {name}.saved; echo $(date +%s) >> {name}.signals' USR1
while [ $saved -lt {seconds} ]; do sleep 1 & wait $!; saved=$((saved + 1)); done
touch {name}.done
"""
"""Goes on where it was when it had its signal."""


@dataclass
class Work:
    """What somebody wanted done, and what is to be found when it was."""

    done: list[Path]
    """Files that it leaves when all of it was done."""
    jobs: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    """Of an interactive job: what its user looks at."""
    may_be_ended: bool = False
    """No requeue saves it: it may be ended, where somebody is told."""
    kind: str = ""
    seconds: int = 0
    """How long it works."""

    def __str__(self) -> str:
        return f"{self.kind}, {self.seconds} s"


class People:
    """Submit jobs, and look at what became of them.

    Args:
        bed: the test bed.
        directory: where jobs leave what they did.
        log: what the agent said.
        chance: decides.
    """

    def __init__(self, bed: TestBed, directory: Path, log: Path, chance: random.Random) -> None:
        self.bed = bed
        self.log = log
        self.directory = directory
        self.chance = chance
        self.works: list[Work] = []
        self.kinds: dict[str, Callable[[str, int], Work]] = {
            "plain": lambda name, n: self.batch(name, n, TWO_CPUS),
            "with a limit": lambda name, n: self.batch(name, n, ONE_CPU, "--time=2"),
            "for itself": lambda name, n: self.batch(name, n, ONE_CPU, "--exclusive"),
            "on two nodes": lambda name, n: self.batch(name, n, "--nodes=2-2", "--ntasks=2"),
            "not to be requeued": lambda name, n: self.batch(name, n, TWO_CPUS, "--no-requeue", ends=True),
            "suspended": lambda name, n: self.batch(name, n, TWO_CPUS),
            "array": self.array,
            "heterogeneous": self.heterogeneous,
            "with its own signal": self.saving,
            "srun": lambda name, n: self.interactive(name, n, "srun"),
            "salloc": lambda name, n: self.interactive(name, n, "salloc"),
        }

    def submit(self, kind: str) -> Work:
        """Submit a job of a kind."""
        number = len(self.works)
        seconds = self.chance.choice([1, 4, 12, 25, 60] if LONG else [1, 4, 12, 25])
        work = self.kinds[kind](f"{self.directory}/{number}", seconds)
        work.kind, work.seconds = kind, seconds
        self.works.append(work)
        return work

    def batch(self, name: str, seconds: int, *options: str, ends: bool = False) -> Work:
        job = self.bed.slurm.submit(f"sleep {seconds}; touch {name}.done", *options)
        return Work([Path(f"{name}.done")], [job], may_be_ended=ends)

    def array(self, name: str, seconds: int) -> Work:
        script = f"sleep {seconds}; touch {name}.$SLURM_ARRAY_TASK_ID"
        job = self.bed.slurm.submit(script, "--array=1-4%2", ONE_CPU)
        return Work([Path(f"{name}.{task}") for task in range(1, 5)], [job])

    def heterogeneous(self, name: str, seconds: int) -> Work:
        script = f"sleep {seconds}; touch {name}.done"
        parts = ("--ntasks=1", ":", "--ntasks=1", f"--wrap={script}")
        job = int(self.bed.slurm.run("sbatch", "--parsable", f"--output={name}.out", *parts))
        return Work([Path(f"{name}.done")], [job])

    def saving(self, name: str, seconds: int) -> Work:
        script = SAVES.format(name=name, seconds=seconds)
        job = self.bed.slurm.submit(script, TWO_CPUS, "--signal=B:USR1@5", "--time=10")
        return Work([Path(f"{name}.done")], [job])

    def interactive(self, name: str, seconds: int, program: str) -> Work:
        script = f"sleep {seconds} && touch {name}.done"
        command = [program, TWO_CPUS, f"--job-name={Path(name).name}", "sh", "-c", script]
        with Path(f"{name}.out").open("wb") as terminal:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                env={**os.environ, **self.bed.slurm.environment, MARKER: self.bed.instance.id},
            )
        return Work([Path(f"{name}.done")], process=process, may_be_ended=True)

    def is_waited_for(self, work: Work) -> bool:
        if work.process is not None:
            return work.process.poll() is None
        return bool(set(work.jobs) & listed(self.bed))

    def waiting(self) -> list[str]:
        """Name the works that are not over."""
        works = enumerate(self.works)
        return [f"{n} ({work}) is not over" for n, work in works if self.is_waited_for(work)]

    def suspend_some(self) -> None:
        """Suspend the jobs that are meant for it, where they run."""
        for work in self.works:
            if work.kind == "suspended" and work.jobs[0] in listed(self.bed, "RUNNING"):
                with contextlib.suppress(BedError):  # it may have ended meanwhile
                    self.bed.slurm.run("scontrol", "suspend", str(work.jobs[0]))

    def resume_all(self) -> None:
        """Let the suspended go on, as their user does who reads in the AdminComment what is to be done."""
        for job in listed(self.bed, "SUSPENDED"):
            with contextlib.suppress(BedError):
                self.bed.slurm.run("scontrol", "resume", str(job))
        for job in listed(self.bed, "PENDING"):
            record = self.bed.slurm.run("scontrol", "-o", "show", "job", str(job))
            if re.search("AdminComment=.*esagent.*scontrol release", record):
                self.bed.slurm.run("scontrol", "release", str(job))

    def verdicts(self) -> Iterator[str]:
        """Say of each work that was not done whether somebody was told."""
        records = self.bed.slurm.run("scontrol", "-o", "show", "job").splitlines()
        log = self.log.read_text(errors="replace")
        for number, work in enumerate(self.works):
            if all(path.exists() for path in work.done):
                continue
            name = f" JobId={work.jobs[0]} " if work.jobs else f" JobName={number} "
            record = next(line for line in records if name in f" {line}")
            (job,) = re.findall(r"^JobId=(\d+)", record)
            told = work.may_be_ended and re.search(rf"job={job} kind=(cancel|killed|lost) ", log)
            if work.process is not None:
                record += (self.directory / f"{number}.out").read_text(errors="replace")
                # Its machine went silent before it began, and srun gave up.
                told = told or "Application launch failed" in record
            if not told:
                yield f"{number} ({work}) was not done: {record}"


def listed(bed: TestBed, *states: str) -> set[int]:
    """List the jobs that are not over."""
    only = ["-t", ",".join(states)] if states else []
    return {int(job) for job in bed.slurm.run("squeue", "-h", *only, "-o", "%A %F").split()}


def fate(bed: TestBed, node: str, since: float) -> Held | None:
    """Tell how a machine went that was held then; None while it is held."""
    gone = (held for held in bed.cloudlab.journal.held(node) if held.cause and held.end >= since)
    return next(gone, None)


def working(bed: TestBed) -> list[str]:
    """List the borrowed machines that jobs are on."""
    busy = bed.slurm.run("squeue", "-h", "-t", "RUNNING,SUSPENDED", "-o", "%N").split()
    held = [m.node_id for m in bed.cloudlab.machines() if m.slice_urn]
    return [node for node in held if any(node in expand(names) for names in busy)]


def expand(names: str) -> set[str]:
    """List the nodes of a node set such as ``pc[101-103,200]``."""
    found = re.fullmatch(r"(.*)\[(.*)\]", names)
    if not found:
        return set(names.split(","))
    spans = [span.partition("-") for span in found[2].split(",")]
    return {f"{found[1]}{n}" for low, _, high in spans for n in range(int(low), int(high or low) + 1)}


def inside(bed: TestBed, node: str, command: str) -> None:
    """Do something on a machine, which may go meanwhile."""
    if node in {m.node_id for m in bed.cloudlab.machines() if m.slice_urn}:
        bed.machines.run(node, command, timeout=PATIENCE)


def strike(agent, bed: TestBed, chance: random.Random, fault: str, chosen: Sequence[str]) -> None:
    """Let something go wrong while machines are emptied."""
    node = chance.choice(chosen)
    match fault:
        case "kill -9":
            agent.stop(signal.SIGKILL)
            if chance.random() < 0.5:
                agent.ledger.unlink(missing_ok=True)
            agent.start()
        case "slurmctld hangs":
            bed.slurm.hang_slurmctld()
            with pytest.raises(subprocess.TimeoutExpired):
                agent.process.wait(chance.choice([2, 8]))
            bed.slurm.resume_slurmctld()
        case "slurmctld is killed":
            bed.slurm.kill_slurmctld()
            bed.slurm.start_slurmctld()
        case "slurmd hangs":
            inside(bed, node, "pkill -STOP -x slurmd")
        case "slurmd is killed":
            inside(bed, node, "pkill -KILL -x slurmd")
        case "sshd hangs":
            inside(bed, node, 'for pid in $(pgrep -x sshd); do kill -STOP "$pid"; done')
        case "no network":
            inside(bed, node, "ip link set eth0 down")


FAULTS = (
    *("", "kill -9", "slurmctld hangs", "slurmctld is killed"),
    *("slurmd hangs", "slurmd is killed", "sshd hangs", "no network"),
)


# urllib3 leaves a socket of the simulator open when the agent at its other end is killed in a handshake.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.timeout(1800 if LONG else 600)
@pytest.mark.parametrize("seed", range(1, 9) if LONG else [1])
def test_of_all_kinds_of_jobs_none_is_lost_untold_whatever_fails(
    agent, bed: TestBed, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    agent.change('withdrawn_grace = "30s"', 'withdrawn_grace = "5s"')
    agent.change("[drain]\n", '[drain]\ncheckpoint_signal = "URG"\ncheckpoint_lead = "35s"\n')
    agent.start()
    agent.borrow("sleep 3")
    others = listed(bed)
    (directory := tmp_path / "work").mkdir()
    people = People(bed, directory, agent.log, chance)
    for kind in chance.sample([*people.kinds], len(people.kinds)) * (2 if LONG else 1):
        people.submit(kind)
    submitted, saved = time.time(), bed.slurm.directory / "state/job_state"
    # A slurmctld that is killed before knows nothing of them any more.
    wait_for("they are saved", lambda: saved.exists() and saved.stat().st_mtime > submitted)
    faults = chance.sample(FAULTS, len(FAULTS)) if LONG else chance.sample(FAULTS[1:], 3)
    course: list[str] = []
    late: list[str] = []
    for fault in faults:
        wait_for("a machine at work", lambda: not people.waiting() or working(bed))
        if not (machines := working(bed)):
            break
        people.suspend_some()
        chosen = chance.sample(machines, min(len(machines), chance.choice([1, 2])))
        seconds, begun = chance.choice([30, 40, 60]), time.time()
        course.append(f"{time.strftime('%X')} {', '.join(chosen)} in {seconds} s, {fault or 'no fault'}")
        bed.cloudlab.revoke(chosen, seconds)
        strike(agent, bed, chance, fault, chosen)
        if chance.random() < 0.2 and not fate(bed, chosen[0], begun):
            bed.cloudlab.withdraw(chosen[0])
            course.append(f"  {chosen.pop(0)} withdrawn")
        wait_for("they are gone", lambda names=chosen, at=begun: all(fate(bed, n, at) for n in names))
        for node in chosen:
            held = fate(bed, node, begun)
            course.append(f"  {node}: {held.cause}, {begun + seconds - held.end:.1f} s before its deadline")
            if held.cause == "revoked" and "east" not in held.authority:  # which tells nobody
                late.append(f"{node}, {fault}")
        people.resume_all()
    bed.slurm.run("scancel", *map(str, others))
    with contextlib.suppress(NotInTimeError):
        wait_for(
            "all jobs over", lambda: people.resume_all() or not people.waiting(), timeout=240, interval=1
        )
    course += [f"still there: {line}" for line in bed.slurm.run("squeue", "-h", "-l").splitlines()]
    assert [*people.waiting(), *people.verdicts(), *late] == [], "\n".join(course)
