"""One run: a workload on a real Slurm, under one way to meet revocations."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.slurm.drain_settings import DrainSettings
from bench.revocations.plan import RevocationPlan, Workload
from testbed.emptying import Emptying, add_nodes, boot_node
from testbed.instance import Claim
from testbed.machines import Machines
from testbed.release import find_release
from testbed.slurm import PERMANENT_NODE, SlurmCluster

LOOK_EVERY = 0.5
LIMIT = 600.0
SETTINGS = DrainSettings(tick=1, requeue_lead=4, kill_lead=3, cleanup_lead=1)
WAYS = ("no agent", "plain DRAIN", "esagent")


@dataclass
class Result:
    """What a run cost."""

    way: str
    jobs: int
    lost: int = 0
    """Jobs that never completed."""
    cpu_seconds_lost: float = 0.0
    """CPUs that jobs held, times seconds, without a result."""
    late: int = 0
    """Machines that were taken by force at their deadline, because nobody had released them."""
    revoked: int = 0
    early: list[float] = field(default_factory=list)
    """Seconds between a release and its deadline."""
    took: float = 0.0
    """Seconds until the queue was empty."""


class Way(Protocol):
    """How revocations are met."""

    def notice(self, revocation: RevocationPlan) -> None:
        """Hear of a revocation."""

    def is_released(self, node: str) -> bool:
        """Tell whether the machine may be taken before its deadline."""

    def back(self, node: str) -> None:
        """Hear that the machine is ours again."""


class NoAgent:
    """Nobody hears Cloudlab."""

    def notice(self, revocation: RevocationPlan) -> None:
        """Do nothing."""

    def is_released(self, node: str) -> bool:  # noqa: ARG002
        """Release nothing, ever."""
        return False

    def back(self, node: str) -> None:
        """Do nothing: Slurm finds it again by itself."""


class PlainDrain(NoAgent):
    """A script that drains the node at the notice, and no more."""

    def __init__(self, slurm: SlurmCluster) -> None:
        self._slurm = slurm

    def notice(self, revocation: RevocationPlan) -> None:
        """Let no new job start there."""
        self._slurm.run("scontrol", "update", f"NodeName={revocation.node}", "State=DRAIN", "Reason=revoked")

    def back(self, node: str) -> None:
        """Let jobs start again."""
        self._slurm.run("scontrol", "update", f"NodeName={node}", "State=UNDRAIN")


class Esagent:
    """The agent's own emptying."""

    def __init__(self, emptying: Emptying) -> None:
        self._emptying = emptying

    def notice(self, revocation: RevocationPlan) -> None:
        """Begin the countdown."""
        self._emptying.revoke([revocation.node], revocation.wait)

    def is_released(self, node: str) -> bool:
        """Tell whether it was left."""
        return node in self._emptying.left

    def back(self, node: str) -> None:
        """End the countdown."""
        self._emptying.withdraw([node])


@contextmanager
def cluster(directory: Path, nodes: tuple[str, ...]) -> Iterator[tuple[Machines, SlurmCluster]]:
    """Run a Slurm of our own with these nodes of two CPUs, and no other."""
    with ExitStack() as parts:
        claim = parts.enter_context(Claim(directory))
        slurmctld, slurmd = claim.free_ports(2)
        release = find_release(None)
        machines = Machines(claim.instance, directory / "machines", release)
        parts.callback(machines.close)
        slurm = SlurmCluster(directory / "slurm", claim.instance, machines, (slurmctld, slurmd), release)
        parts.callback(slurm.stop)
        slurm.start()
        slurm.run("scontrol", "update", f"NodeName={PERMANENT_NODE}", "State=DRAIN", "Reason=bench")
        add_nodes(machines, slurm, nodes)
        yield machines, slurm


def run(way: str, workload: Workload, nodes: tuple[str, ...], directory: Path) -> Result:
    """Run a workload under one of ``WAYS`` and count what it cost."""
    with ExitStack() as parts:
        machines, slurm = parts.enter_context(cluster(directory, nodes))
        met: Way
        match way:
            case "esagent":
                met = Esagent(parts.enter_context(Emptying(slurm.conf, nodes, SETTINGS)))
            case "plain DRAIN":
                met = PlainDrain(slurm)
            case _:
                met = NoAgent()
        return _Run(way, workload, nodes, machines, slurm, met).result()


class _Run:
    def __init__(
        self,
        way: str,
        workload: Workload,
        nodes: tuple[str, ...],
        machines: Machines,
        slurm: SlurmCluster,
        met: Way,
    ) -> None:
        self._workload = workload
        self._nodes = nodes
        self._machines = machines
        self._slurm = slurm
        self._met = met
        self._result = Result(way, len(workload.jobs))
        self._held: dict[int, float] = defaultdict(float)
        self._coming = list(workload.revocations)
        self._noticed: list[RevocationPlan] = []
        self._away: dict[str, float] = {}

    def result(self) -> Result:
        jobs = [self._slurm.submit(f"sleep {plan.length}", *plan.options) for plan in self._workload.jobs]
        began = last = time.monotonic()
        while True:
            now = time.monotonic()
            left = self._look(now - last)
            last = now
            self._cloudlab(now - began)
            done = not left and not self._coming and not self._noticed and not self._away
            if done or now - began > LIMIT:
                break
            time.sleep(LOOK_EVERY)
        self._result.took = time.monotonic() - began
        for job in jobs:
            self._result.lost += self._slurm.job_state(job) != "COMPLETED"
            self._result.cpu_seconds_lost += self._lost(job)
        return self._result

    def _lost(self, job: int) -> float:
        """Return what a job held in vain: all of it, less its last run where that one completed."""
        record = self._slurm.run("scontrol", "-o", "show", "job", str(job))
        fields = dict(re.findall(r"(JobState|Restarts|RunTime|NumCPUs)=(\S+)", record))
        if fields["JobState"] != "COMPLETED":
            return self._held[job]
        if fields["Restarts"] == "0":
            return 0.0
        hours, minutes, seconds = map(int, fields["RunTime"].split(":"))
        last_run = (hours * 60 + minutes) * 60 + seconds
        return max(self._held[job] - last_run * int(fields["NumCPUs"]), 0.0)

    def _look(self, passed: float) -> int:
        """Add up the CPUs that jobs hold; return how many jobs are not over."""
        listing = self._slurm.run("squeue", "-h", "-o", "%A %T %C").splitlines()
        for line in listing:
            job, state, cpus = line.split()
            if state == "RUNNING":
                self._held[int(job)] += passed * int(cpus)
        return len(listing)

    def _cloudlab(self, now: float) -> None:
        """Say, take and bring back what is due."""
        while self._coming and self._coming[0].notice <= now:
            revocation = self._coming.pop(0)
            self._met.notice(revocation)
            self._result.revoked += 1
            self._noticed.append(revocation)
        for revocation in list(self._noticed):
            deadline = revocation.notice + revocation.wait
            released = self._met.is_released(revocation.node)
            if released or now >= deadline:
                self._machines.power_off(revocation.node)
                self._noticed.remove(revocation)
                # It comes back at the same time however early it went: all runs have the same machines.
                self._away[revocation.node] = deadline + revocation.away
                if released:
                    self._result.early.append(deadline - now)
                else:
                    self._result.late += 1
        for node in [n for n, when in self._away.items() if when <= now]:
            del self._away[node]
            # Slurm still has the node, which comes into service by itself or by the next line.
            boot_node(self._machines, self._slurm, node, cpus=2)
            self._met.back(node)


def machine_words() -> str:
    """Describe this machine in a line."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return f"{cores} x {model[1] if model else 'CPU'}"
