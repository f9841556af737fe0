"""One replay: jobs come and end, machines come and go, by a clock of its own; a real slurmctld schedules."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.slurm.names import expand
from bench.replay.workload import GIVES_UP, Submission
from testbed.oracle.controller import Controller
from testbed.oracle.shapes import WAITING_ROOM, Combination, configuration
from testbed.release import find_release, wanted
from testbed.waiting import wait_for

TYPES: Sequence[Mapping[str, Any]] = (
    {"hardware_type": "T1", "cpus": 4, "memory": 8000, "features": ["fa"]},
    {
        "hardware_type": "T3",
        "cpus": 4,
        "memory": 8000,
        "features": ["fc"],
        "sockets": 1,
        "cores_per_socket": 2,
        "threads_per_core": 2,
    },
    {
        "hardware_type": "T2",
        "cpus": 8,
        "memory": 16000,
        "features": ["fb"],
        "gres": "gpu:2",
        "sockets": 2,
        "cores_per_socket": 4,
        "threads_per_core": 1,
    },
    {
        "hardware_type": "T5",
        "cpus": 8,
        "memory": 24000,
        "features": ["fe", "big"],
        "gres": "gpu:3090:2",
        "sockets": 1,
        "cores_per_socket": 4,
        "threads_per_core": 2,
    },
)
"""What [demand] says of machines, preferred first."""
MOST = 20
"""Machines that are held at most."""
_NAMES = 120
"""Machines of each type that may come: each has a name of its own, since slurmctld 22.05 goes on counting
GPUs of jobs that have ended."""
_CONFIGURATION = "CR_Core_Memory+DefMemPerCPU=1000"
_PARTITION = "p0"
_TOLD = ("NodeName", "State", "CPUAlloc", "CPUTot", "AllocMem", "GresUsed")
_BOOTS = (5.0, 10.0)
"""Minutes that a machine takes to come."""
_PATIENCE = 2.5
"""Seconds after which a look of backfill is not waited for: it looks only where something changed."""


@dataclass
class Machine:
    """One that is borrowed."""

    type: str
    asked: float
    comes: float
    """When it joins."""
    used: bool = False
    """A job was there."""


@dataclass
class Task:
    """A job, or a task of an array, that Slurm started."""

    started: float
    nodes: frozenset[str]


@dataclass
class Outcome:
    """What a replay came to. Times are minutes of the replay."""

    name: str
    submitted: int = 0
    refused: int = 0
    """Submissions that sbatch took nowhere."""
    tasks: int = 0
    """Tasks of arrays, or jobs, that were started."""
    borrowed: int = 0
    machine_minutes: float = 0.0
    for_nothing: Counter[str] = field(default_factory=Counter)
    """Type -> machines that went without a job having been there."""
    nothing_minutes: float = 0.0
    """For how long those were held."""
    waited: list[float] = field(default_factory=list)
    never: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> submissions that were given up, or waited long at the end, before all of them started."""
    took: float = 0.0
    """Seconds by the clock on the wall."""


class Replay:
    """Replays a queue with one version of the agent.

    Args:
        name: what that version is called.
        agent: has its folder ``agent``.
        directory: for all files.
        queue: the jobs.
        hours: how long jobs come; a quarter of that, they are seen to their ends.
        every: minutes from one step to the next.
        seed: of how long machines take to come.
    """

    def __init__(
        self,
        name: str,
        agent: Path,
        directory: Path,
        queue: Sequence[Submission],
        hours: int,
        every: float,
        seed: int,
    ) -> None:
        self._agent, self._directory = agent, directory
        self._queue, self._end, self._every = list(queue), hours * 60 * 1.25, every
        self._chance = random.Random(seed)
        self._outcome = Outcome(name)
        self._machines: dict[str, Machine] = {}
        self._joined: dict[str, float] = {}
        self._count: Counter[str] = Counter(dict.fromkeys((each["hardware_type"] for each in TYPES), 1))
        self._jobs: dict[str, Submission] = {}
        self._submitted: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._running: dict[str, Task] = {}
        self._has_joined = False
        self._waiting: set[str] = set()
        """Ids of the submissions of which something waits."""
        self._log = (directory.parent / f"{directory.name}.log").open("w", buffering=1)

    def run(self) -> Outcome:
        """Replay all of it."""
        began = time.monotonic()
        release = find_release(wanted())
        with ExitStack() as stack:
            stack.enter_context(self._log)
            self._controller = stack.enter_context(
                Controller(self._directory, configuration(_CONFIGURATION), release)
            )
            kinds = [each["hardware_type"] for each in TYPES]
            self._controller.start([Combination.of(kind for kind in kinds for _ in range(_NAMES))])
            self._set_nodes()
            self._worker = stack.enter_context(self._start_worker())
            now = 0.0
            while now < self._end:
                self._step(now)
                now += self._every
            self._close(now)
            self._worker.kill()
        self._outcome.took = time.monotonic() - began
        return self._outcome

    def _start_worker(self) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-m", "bench.replay.worker"],
            cwd=self._agent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._worker = worker
        bin_dir = self._controller.bin_dir
        told = self._ask(
            {
                "conf": str(self._controller.conf),
                "bin_dir": None if bin_dir is None else str(bin_dir),
                "types": TYPES,
                "most": MOST,
            }
        )
        expected = str(self._agent / "agent")
        if told["agent"] != expected:
            raise RuntimeError(f"expected the agent of {expected}, got {told['agent']}")
        return worker

    def _ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(json.dumps(told) + "\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        if not line:
            raise subprocess.SubprocessError(f"{self._worker.args!r} ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _step(self, now: float) -> None:
        # Where machines have joined, the agent may have let jobs go after that look.
        changed = self._has_joined
        self._has_joined = self._join_machines(now)
        changed |= self._has_joined
        changed |= self._end_jobs(now)
        changed |= self._submit(now)
        changed |= self._give_up(now)
        if changed and self._waiting:
            self._let_slurm_look()
        if changed or self._waiting:
            self._read(now)
        plan = self._ask(
            {
                "now": now,
                "machines": {name: machine.type for name, machine in self._machines.items()},
                "joined": self._joined,
                "submitted": self._submitted,
                "next": {k: [f"{k}n{self._count[k] + 1 + i}" for i in range(MOST)] for k in self._count},
            }
        )
        self._obey(now, plan)

    def _end_jobs(self, now: float) -> bool:
        over = [
            task
            for task, at in self._running.items()
            if at.started + self._jobs[task.partition("_")[0]].runs <= now
        ]
        for task in over:
            del self._running[task]
        if over:
            self._controller.run("scancel", *over, check=False)
        return bool(over)

    def _join_machines(self, now: float) -> bool:
        new = [n for n, m in self._machines.items() if m.comes <= now and n not in self._joined]
        for name in new:
            self._joined[name] = self._machines[name].comes
        if new:
            # Slurm looks for the slurmd of a node at the end of each job: it is refused at once here, and
            # looking for a name that is none would take it seconds.
            addresses = ",".join(["127.0.0.1"] * len(new))
            self._controller.run("scontrol", "update", f"NodeName={','.join(new)}", f"NodeAddr={addresses}")
            self._set_nodes()
        return bool(new)

    def _set_nodes(self) -> None:
        self._controller.run(
            "scontrol", "update", f"PartitionName={_PARTITION}", f"Nodes={','.join(sorted(self._joined))}"
        )

    def _submit(self, now: float) -> bool:
        due = []
        while self._queue and self._queue[0].at <= now:
            due.append(self._queue.pop(0))
        for each in due:
            self._outcome.submitted += 1
            # In a partition that has nodes sbatch refuses what fits on none of them.
            told = self._controller.submit([f"--time={each.limit}", *each.line.split()], WAITING_ROOM)
            if isinstance(told, str):
                self._outcome.refused += 1
                self._log.write(f"{now:.0f} refused {each.line}: {told}\n")
                continue
            job = str(told)
            self._jobs[job], self._submitted[job] = each, each.at
            self._waiting.add(job)
            self._controller.run("scontrol", "update", f"JobId={job}", f"Partition={_PARTITION}", check=False)
            self._log.write(f"{now:.0f} submitted {job}: {each.kind} {each.line}\n")
        return bool(due)

    def _give_up(self, now: float) -> bool:
        over = [job for job in self._waiting if now - self._submitted[job] >= GIVES_UP]
        for job in over:
            self._never(job)
            self._controller.run("scancel", "--state=PENDING", job, check=False)
        return bool(over)

    def _never(self, job: str) -> None:
        each = self._jobs[job]
        self._waiting.discard(job)
        self._outcome.never.setdefault(each.kind, []).append(each.line)
        self._log.write(f"never: {job} {each.kind} {each.line}\n")

    def _let_slurm_look(self) -> None:
        """Wait until both of Slurm's schedulers have looked at the queue as it is now."""
        since, until = int(time.time()), time.monotonic() + _PATIENCE

        def has_looked() -> bool:
            looks = re.findall(r"Last cycle when:.*?\((\d+)\)", self._controller.run("sdiag"))
            return len(looks) == 2 and int(looks[0]) >= since and int(looks[1]) > since

        wait_for("a look", lambda: has_looked() or time.monotonic() > until)

    def _read(self, now: float) -> None:
        waiting, there = set(), set()
        for row in self._controller.run("squeue", "-h", "-r", "-o", "%i|%F|%T|%N").splitlines():
            task, array, state, names = row.split("|")
            if state == "PENDING":
                waiting.add(array)
            elif state in {"CONFIGURING", "RUNNING"}:
                there.add(task)
                if task not in self._running:
                    self._started(task, array, expand(names), now)
        for task in self._running.keys() - there:
            self._log.write(f"{now:.0f} gone: {task}\n")
            del self._running[task]
        self._waiting &= waiting

    def _started(self, task: str, array: str, nodes: frozenset[str], now: float) -> None:
        self._running[task] = Task(now, nodes)
        self._outcome.tasks += 1
        if array not in self._first:
            self._first[array] = now
            self._outcome.waited.append(max(now - self._submitted[array], 0.0))
        for name in nodes:
            self._machines[name].used = True

    def _obey(self, now: float, plan: Mapping[str, Any]) -> None:
        for words in plan["misjudged"]:
            self._log.write(f"{now:.0f} misjudged {words}\n")
        if plan["misjudged"]:
            self._log.write(self._controller.run("squeue", "-r", "-o", "%i|%P|%T|%r|%S|%C|%m|%b|%N"))
            names = ",".join(sorted(self._joined))
            for row in self._controller.run("scontrol", "-do", "show", "node", names).splitlines():
                told = dict(re.findall(r"(\w+)=(\S*)", row))
                self._log.write(" ".join(told.get(k, "") for k in _TOLD) + "\n")
        for kind, names in plan["names"].items():
            for name in names:
                self._count[kind] += 1
                self._machines[name] = Machine(kind, now, now + self._chance.uniform(*_BOOTS))
                self._outcome.borrowed += 1
        if plan["names"]:
            whom = {job: why for job, why in plan["jobs"].items() if "more" in why}
            self._log.write(f"{now:.0f} borrows {plan['names']} for {whom}\n")
        busy = {name for task in self._running.values() for name in task.nodes}
        going = [name for name in plan["goes"] if name not in busy]
        for name in going:
            del self._joined[name]
        if going:
            self._set_nodes()
            # A job may have started since.
            self._read(now)
            busy = {name for task in self._running.values() for name in task.nodes}
            back = [name for name in going if name in busy]
            self._joined |= {name: self._machines[name].comes for name in back}
            for name in going:
                if name not in back:
                    self._gone(name, now)
            if back:
                self._set_nodes()

    def _gone(self, name: str, now: float) -> None:
        machine = self._machines.pop(name)
        self._outcome.machine_minutes += now - machine.asked
        if not machine.used:
            self._outcome.for_nothing[machine.type] += 1
            self._outcome.nothing_minutes += now - machine.asked
            self._log.write(f"{now:.0f} for nothing: {name}\n")

    def _close(self, now: float) -> None:
        """Count what is left at the end."""
        for job in sorted(self._waiting):
            if now - self._submitted[job] >= GIVES_UP / 4:
                self._never(job)
        for name in list(self._machines):
            self._gone(name, now)
