"""One run: a workload on a real Slurm, under one way to meet revocations."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import SignalTarget
from bench.revocations.plan import JobPlan, Kind, RevocationPlan, Workload, could_be_saved
from testbed.emptying import Emptying, add_nodes, boot_node
from testbed.instance import Claim
from testbed.machines import Machines
from testbed.release import find_release
from testbed.slurm import PERMANENT_NODE, SlurmCluster

LOOK_EVERY = 0.5
LIMIT = 900.0
SAVING = "saving"
"""The partition of the jobs that know the checkpoint signal: it would end any other."""
SETTINGS = DrainSettings(
    tick=0.5,
    checkpoint_lead=18,
    requeue_lead=12,
    kill_lead=4.5,
    cleanup_lead=3,
    policies=(DrainPolicy(partitions=(SAVING,), checkpoint_signal="USR1"),),
    checkpoint_to=SignalTarget.BATCH,
)
_WORKER = """\
#!/bin/bash
# Works so many microseconds; at USR1 it writes down how far it is, and it goes on from there.
saved=$(cat "$2" 2>/dev/null || echo 0)
began=${EPOCHREALTIME/./}
progress() { echo $((saved + ${EPOCHREALTIME/./} - began)); }
trap 'progress > "$2.new" && mv "$2.new" "$2"' USR1
while (($(progress) < $1)); do sleep 0.5 & wait $!; done
"""


class WayName(StrEnum):
    """How revocations are met."""

    NO_AGENT = "no agent"
    PLAIN_DRAIN = "plain DRAIN"
    ESAGENT = "esagent"


@dataclass
class Result:
    """What runs cost; those of several seeds add up."""

    jobs: int = 0
    lost: int = 0
    """Jobs that never completed."""
    needless: int = 0
    """Those of them that nobody had to lose."""
    restarts: int = 0
    cpu_seconds: float = 0.0
    """What all jobs were about."""
    cpu_seconds_lost: float = 0.0
    """CPUs that jobs held, times seconds, without a result."""
    revoked: int = 0
    late: int = 0
    """Machines that were taken at their deadline, because nobody had released them."""
    early: list[float] = field(default_factory=list)
    """Seconds between a release and its deadline."""
    took: float = 0.0
    """Seconds until the queue was empty."""

    def __add__(self, other: Result) -> Result:
        both = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Result(**both)


class NoAgent:
    """Nobody hears Cloudlab."""

    def notice(self, node: str, seconds: float) -> None:
        """Hear that a machine is taken in so many seconds."""

    def is_released(self, node: str) -> bool:  # noqa: ARG002
        """Tell whether the machine may be taken before its deadline."""
        return False

    def taken(self, node: str) -> None:
        """Hear that a machine is gone."""

    def back(self, node: str) -> None:
        """Hear that a machine is ours again: Slurm finds it by itself."""


class PlainDrain(NoAgent):
    """A script that drains the node at the notice, lets jobs end, and gives back a node that is empty."""

    def __init__(self, slurm: SlurmCluster) -> None:
        self._slurm = slurm

    def notice(self, node: str, seconds: float) -> None:  # noqa: ARG002
        """Let no new job start there."""
        self._slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=revoked")

    def is_released(self, node: str) -> bool:
        """Tell whether no job is left."""
        state = self._slurm.node_state(node)
        return state >= {"IDLE", "DRAIN"} and "COMPLETING" not in state

    def back(self, node: str) -> None:
        """Let jobs start again."""
        self._slurm.run("scontrol", "update", f"NodeName={node}", "State=UNDRAIN")


class Esagent(NoAgent):
    """The agent's own emptying."""

    def __init__(self, emptying: Emptying) -> None:
        self._emptying = emptying

    def notice(self, node: str, seconds: float) -> None:
        """Begin the countdown."""
        self._emptying.revoke([node], seconds)

    def is_released(self, node: str) -> bool:
        """Tell whether it was left."""
        return node in self._emptying.left

    def taken(self, node: str) -> None:
        """Tell Slurm, where jobs are still on it."""
        self._emptying.take([node])

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
        slurm.run("scontrol", "create", f"PartitionName={SAVING}", "Nodes=ALL")
        add_nodes(machines, slurm, nodes)
        yield machines, slurm


def run(way: WayName, workload: Workload, nodes: tuple[str, ...], directory: Path) -> Result:
    """Run a workload and count what it cost."""
    with ExitStack() as parts:
        machines, slurm = parts.enter_context(cluster(directory, nodes))
        met: NoAgent
        match way:
            case WayName.ESAGENT:
                met = Esagent(parts.enter_context(Emptying(slurm.conf, nodes, SETTINGS)))
            case WayName.PLAIN_DRAIN:
                met = PlainDrain(slurm)
            case WayName.NO_AGENT:
                met = NoAgent()
        boots = parts.enter_context(ThreadPoolExecutor(len(nodes)))
        return _Run(way, workload, machines, slurm, met, boots).result()


class _Run:
    def __init__(
        self,
        way: WayName,
        workload: Workload,
        machines: Machines,
        slurm: SlurmCluster,
        met: NoAgent,
        boots: ThreadPoolExecutor,
    ) -> None:
        self._way = way
        self._workload = workload
        self._machines = machines
        self._slurm = slurm
        self._met = met
        self._boots = boots
        self._result = Result(len(workload.jobs), cpu_seconds=sum(job.work for job in workload.jobs))
        self._jobs: dict[int, JobPlan] = {}
        """Those that are not over."""
        self._held: dict[int, float] = defaultdict(float)
        self._last_run: dict[int, tuple[float, str]] = {}
        """Job -> since when it runs, in seconds after the start, and where."""
        self._coming = list(workload.revocations)
        self._noticed: list[RevocationPlan] = []
        self._away: dict[str, float] = {}
        self._booting: list[Future[None]] = []
        self._began = 0.0

    def result(self) -> Result:
        worker = self._slurm.directory / "worker.sh"
        worker.write_text(_WORKER)
        self._jobs = {self._submit(plan, worker): plan for plan in self._workload.jobs}
        self._began = last = time.monotonic()
        while self._since_began() < LIMIT:
            now = time.monotonic()
            left = self._look(now - last)
            last = now
            self._cloudlab()
            if not (left or self._coming or self._noticed or self._away or self._booting):
                break
            time.sleep(LOOK_EVERY)
        self._result.took = self._since_began()
        for job, plan in self._jobs.items():
            self._count(job, plan)
        return self._result

    def _since_began(self) -> float:
        return time.monotonic() - self._began

    def _submit(self, plan: JobPlan, worker: Path) -> int:
        options = [f"--cpus-per-task={plan.cpus}"]
        if plan.limit is not None:
            options.append(f"--time={plan.limit}")
        if plan.kind is Kind.FIXED:
            options.append("--no-requeue")
        if plan.kind is Kind.SAVES:
            options.append(f"--partition={SAVING}")
            state = f"{self._slurm.directory}/saved-$SLURM_JOB_ID"
            return self._slurm.submit(f"exec bash {worker} {plan.length * 1e6:.0f} {state}", *options)
        return self._slurm.submit(f"sleep {plan.length}", *options)

    def _count(self, job: int, plan: JobPlan) -> None:
        """Add what a job held in vain: all of it, less its work where it was done in the end."""
        record = self._slurm.run("scontrol", "-o", "show", "job", str(job))
        fields = dict(re.findall(r"(JobState|Restarts)=(\S+)", record))
        restarts = int(fields["Restarts"])
        self._result.restarts += restarts
        if fields["JobState"] != "COMPLETED":
            self._result.lost += 1
            self._result.cpu_seconds_lost += self._held[job]
            self._explain(job, plan, fields["JobState"])
        elif restarts:
            self._result.cpu_seconds_lost += max(self._held[job] - plan.work, 0.0)

    def _explain(self, job: int, plan: JobPlan, state: str) -> None:
        """Say why a job was lost, and count it where it need not have been."""
        if job not in self._last_run:
            return  # it waits still: time ran out, and not on a machine
        started, node = self._last_run[job]
        taken = [r for r in self._workload.revocations if r.node == node and r.deadline > started]
        deadline = min((r.deadline for r in taken), default=LIMIT)
        self._result.needless += could_be_saved(plan, started, deadline)
        spare = deadline - started - plan.length
        print(
            f"{self._way}: job {job} ({plan.kind}) was lost, {state}: alone it would have ended "
            f"{abs(spare):.1f} s {'after' if spare < 0 else 'before'} {node} had to be empty",
            flush=True,
        )

    def _look(self, passed: float) -> int:
        """Add up the CPUs that jobs hold, and count those that are over; return how many are not."""
        listing = self._slurm.run("squeue", "-h", "-o", "%A %T %C %M %N").splitlines()
        left: set[int] = set()
        for line in listing:
            number, state, cpus, ran, *node = line.split()
            job = int(number)
            left.add(job)
            if state == "RUNNING":
                self._held[job] += passed * int(cpus)
                minutes, seconds = ran.split(":")
                self._last_run[job] = self._since_began() - int(minutes) * 60 - int(seconds), node[0]
        for job in self._jobs.keys() - left:  # Slurm does not know them for ever
            self._count(job, self._jobs.pop(job))
        return len(left)

    def _cloudlab(self) -> None:
        """Say, take and bring back what is due."""
        while self._coming and self._coming[0].notice <= self._since_began():
            revocation = self._coming.pop(0)
            # The time that is left is counted down from the plan, however late this loop is.
            self._met.notice(revocation.node, revocation.deadline - self._since_began())
            self._result.revoked += 1
            self._noticed.append(revocation)
        for revocation in list(self._noticed):
            # Whether it is released is asked first: what is seen late was released no later.
            early = revocation.deadline - self._since_began()
            released = self._met.is_released(revocation.node)
            if released or early <= 0:
                self._noticed.remove(revocation)
                self._take(revocation, early if released else None)
        for node in [n for n, when in self._away.items() if when <= self._since_began()]:
            del self._away[node]
            self._booting.append(self._boots.submit(self._bring_back, node))
        for boot in [b for b in self._booting if b.done()]:
            self._booting.remove(boot)
            boot.result()

    def _take(self, revocation: RevocationPlan, early: float | None) -> None:
        """Take a machine, ``early`` by so many seconds or by force."""
        node = revocation.node
        if early is None:
            self._result.late += 1
            jobs = self._slurm.run("squeue", "-h", "-w", node, "-o", "%A %T %M").splitlines()
            print(f"{self._way}: {node} was taken with {len(jobs)} jobs on it: {', '.join(jobs)}", flush=True)
        else:
            self._result.early.append(early)
        self._machines.power_off(node)
        self._met.taken(node)
        # It comes back at the same time however early it went: all runs have the same machines.
        self._away[node] = revocation.deadline + revocation.away

    def _bring_back(self, node: str) -> None:
        """Boot a machine; Slurm still has the node, which comes into service by itself or by us."""
        boot_node(self._machines, self._slurm, node, cpus=2)
        self._met.back(node)


def run_all(workload: Workload, nodes: tuple[str, ...], directory: Path) -> Mapping[WayName, Result]:
    """Run a workload in all ways at the same time, so that what else this machine does meets all alike."""
    with ThreadPoolExecutor(len(WayName)) as pool:
        runs = {way: pool.submit(run, way, workload, nodes, directory / way.name.lower()) for way in WayName}
        return {way: future.result() for way, future in runs.items()}


def machine_words() -> str:
    """Describe this machine in a line."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return f"{cores} x {model[1] if model else 'CPU'}"
