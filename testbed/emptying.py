"""The agent's emptying of nodes by itself, on a real Slurm: no Cloudlab, deadlines of our own choosing."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from agent.cluster.desk import Desk
from agent.cluster.drain.drainer import Drainer
from agent.cluster.drain.foresight import Foresight
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.drain.wanted import Wishes
from agent.cluster.grow.places import find_places
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.events import Event, OfJob
from agent.core.ports import Clock, Host, HostResult, SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings
from testbed.cloudlab import Boot
from testbed.machines import Machines
from testbed.slurm import SlurmCluster
from testbed.waiting import wait_for

_BOOTS_AT_ONCE = 4


def add_nodes(
    machines: Machines, slurm: SlurmCluster, names: Sequence[str], *, cpus: int = 2, features: str = ""
) -> None:
    """Boot machines and register them in Slurm as dynamic nodes; return when Slurm could use them.

    Raises:
        NotInTimeError: a node does not come up.
        RoomError: a machine does not boot.
    """
    with ThreadPoolExecutor(_BOOTS_AT_ONCE) as pool:
        list(pool.map(lambda name: boot_node(machines, slurm, name, cpus=cpus, features=features), names))
    for name in names:
        slurm.wait_for_node(name, "IDLE")


def boot_node(machines: Machines, slurm: SlurmCluster, name: str, *, cpus: int, features: str = "") -> None:
    """Boot a machine, and let its slurmd make itself known.

    Raises:
        RoomError: it does not boot.
    """
    machines.power_on(name, Boot(client_id=name, host_name=name, users=(), authorized_keys=(), fresh=True))
    conf = " ".join([f"CPUs={cpus} RealMemory=1000", *([f"Feature={features}"] if features else [])])
    command = f"SLURM_CONF={slurm.conf} slurmd -Z -N {name} --conf '{conf}'"
    machines.run(name, command, timeout=30)


def remove_nodes(machines: Machines, slurm: SlurmCluster, names: Sequence[str]) -> None:
    """Take nodes out of Slurm and switch their machines off; jobs must be gone from them."""
    for name in names:
        machines.power_off(name)
    known = sorted(set(names) & slurm.nodes().keys())
    if known:
        slurm.run("scontrol", "delete", f"NodeName={','.join(known)}")


class CountedCommands:
    """Slurm's commands behind scripts that write down each call.

    Attributes:
        directory: where the scripts are.
    """

    def __init__(self, directory: Path) -> None:
        """Write the scripts into an empty directory."""
        self.directory = directory
        self._log = directory / "calls"
        self._log.touch()
        for name in ("squeue", "scontrol", "sinfo", "scancel"):
            script = directory / name
            script.write_text(f'#!/bin/sh\necho "{name} $1" >> {self._log}\nexec {shutil.which(name)} "$@"\n')
            script.chmod(0o755)

    def calls(self) -> Counter[str]:
        """Return command and first argument (``scontrol update``) -> how often it was called."""
        return Counter(self._log.read_text().splitlines())


class Emptying:
    """A ``Drainer`` over the commands of a real Slurm. Use it as a context manager: it runs meanwhile.

    Args:
        conf: slurm.conf.
        nodes: names of the nodes that may be emptied.
        settings: of the drainer.
        leave: runs the delete commands on a node; None for none.
        clock: time.
        bin_dir: where Slurm's commands are; None to find them.

    Attributes:
        left: node name -> when it was left.
        events: what the drainer told.
        run_times: seconds that earlier jobs ran, of whatever name.
    """

    def __init__(
        self,
        conf: Path,
        nodes: Iterable[str],
        settings: DrainSettings,
        *,
        leave: Callable[[str, float], None] | None = None,
        clock: Clock | None = None,
        bin_dir: Path | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.left: dict[str, datetime] = {}
        self.events: list[Event] = []
        self.run_times: Sequence[float] = ()
        self._nodes = frozenset(nodes)
        self._leave = leave
        self._lock = threading.Lock()
        self._drains: dict[str, Drain] = {}
        self.backend = CliBackend(SlurmSettings(conf=conf, bin_dir=bin_dir), self.clock)
        all_settings = ClusterSettings(DemandSettings(), WeightSettings(), settings, JoinSettings())
        self.desk = Desk(all_settings, self.clock, self)
        self.drainer = Drainer(
            *(self.desk, self.backend, self._wishes, self._run_delete_commands, self._note_left),
            foresight=Foresight(lambda _: self.run_times, find_places),
        )

    def __enter__(self) -> Self:
        self.drainer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drainer.stop(60)

    def revoke(self, names: Iterable[str], seconds: float) -> datetime:
        """Begin or move a countdown; return the deadline."""
        now = self.clock.now()
        deadline = now + timedelta(seconds=seconds)
        with self._lock:
            for name in names:
                begun = self._drains[name].begun if name in self._drains else now
                # Each is a machine of its own, as in a manifest.
                self._drains[name] = Drain(
                    *(name, DrainCause.REVOKED, deadline), begun=begun, slivers=frozenset({name})
                )
        self.desk.look_at_drains()
        return deadline

    def withdraw(self, names: Iterable[str]) -> None:
        """End a countdown: the machines stay."""
        with self._lock:
            for name in names:
                self._drains.pop(name, None)
                self.left.pop(name, None)
        self.desk.look_at_drains()

    def take(self, names: Iterable[str]) -> None:
        """Say that Cloudlab took machines."""
        with self._lock:
            self._drains.update({n: Drain(n, DrainCause.TAKEN) for n in names})
        self.desk.look_at_drains()

    def wait_until_left(self, names: Iterable[str]) -> None:
        """Wait until nodes are empty and left."""
        wanted = set(names)
        wait_for(f"{len(wanted)} nodes to be left", lambda: self.left.keys() >= wanted)

    def record(self, event: Event) -> None:
        """Keep what the drainer tells."""
        self.events.append(event)

    def told(self, kind: str) -> list[str]:
        """List the job ids of events of a kind."""
        return [e.data.job for e in self.events if e.kind == kind and isinstance(e.data, OfJob)]

    def _wishes(self) -> Wishes:
        with self._lock:
            return Wishes(dict(self._drains), self._nodes, {})

    def _run_delete_commands(self, action: LeaveNode, timeout: float) -> HostResult:
        if self._leave is not None:
            self._leave(action.node, timeout)
        return HostResult(Host(action.node, "", ""), "")

    def _note_left(self, action: LeaveNode) -> None:
        with self._lock:
            self.left[action.node] = self.clock.now()
