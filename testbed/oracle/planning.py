"""What our planner says of a submission: read by our own way in while it waits, and put through the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.grow.demand import JobVerdict, plan_growth
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import History, Moment
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.cluster.shape import MachineShape, shape_of_node
from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import Job, Snapshot
from agent.slurm.scheduling import Scheduling
from agent.slurm.settings import SlurmSettings
from testbed.oracle.controller import Controller
from testbed.oracle.shapes import MOST, NAMES, WAITING_ROOM, Combination


@dataclass(frozen=True)
class Planned:
    """What the planner would borrow for a submission."""

    machines: Combination
    whole: bool
    """It says that all of the submission starts on them."""
    why: str


class Reader:
    """Reads submissions that wait, and plans for each of them alone."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        settings = SlurmSettings(conf=controller.conf, bin_dir=controller.bin_dir)
        self._backend = CliBackend(settings, SystemClock())
        self.shapes: Mapping[str, MachineShape] = {}
        self.scheduling: Scheduling | None = None
        self._jobs: dict[str, tuple[Job, ...]] = {}
        self.refused: dict[str, str] = {}
        """Lines that sbatch takes nowhere -> its words."""

    def read(self, lines: Sequence[str]) -> None:
        """Submit all of them into the partition that has no nodes, and read them at once."""
        ids: dict[str, str] = {}
        self._controller.start(())
        for line in lines:
            told = self._controller.submit(line.split(), WAITING_ROOM)
            if isinstance(told, str):
                self.refused[line] = told.partition("error: ")[2] or told
            else:
                ids[str(told)] = line
        snapshot = self._backend.snapshot()
        self.shapes = {name: shape_of_node(snapshot.nodes[f"{name}n1"]) for name in NAMES}
        self.scheduling = self._backend.scheduling()
        found: dict[str, list[Job]] = {}
        for job in snapshot.jobs:
            number = job.id.partition("_")[0].partition("+")[0]
            found.setdefault(ids[number], []).append(job)
        self._jobs = {line: tuple(found[line]) for line in dict.fromkeys(ids.values())}
        self.taken = snapshot.taken

    @property
    def lines(self) -> list[str]:
        """Return the submissions that were read: all that sbatch takes."""
        return list(self._jobs)

    def jobs(self, line: str) -> tuple[Job, ...]:
        """Return a submission as it was read: its components, if it has several."""
        return self._jobs[line]

    def plan(self, line: str, types: Sequence[str]) -> Planned:
        """Plan for one submission, with nothing held and these types to be had."""
        shapes = {name: self.shapes[name] for name in types}
        return plan_for(self._jobs[line], shapes, self.scheduling, self.taken)


def plan_for(
    jobs: tuple[Job, ...], shapes: Mapping[str, MachineShape], scheduling: Scheduling | None, taken: datetime
) -> Planned:
    """Plan for one submission, with nothing held.

    Args:
        jobs: it, as it was read.
        shapes: type that may be borrowed -> its machines.
        scheduling: how Slurm chooses nodes.
        taken: when that was read.
    """
    types = tuple(MachineType(hardware_type=name) for name in shapes)
    demand = DemandSettings(types=types, max_nodes=MOST)
    since = taken - timedelta(hours=1)
    waiting = {key: since for job in jobs for key in (job.id, job.id.partition("_")[0])}
    moment = Moment(
        taken,
        ClusterSettings(demand, WeightSettings(), DrainSettings(), JoinSettings()),
        snapshot=Snapshot(taken, {}, jobs),
        history=History(waiting_since=waiting),
        scheduling=scheduling,
        machine_types=shapes,
    )
    plan = plan_growth(moment, Supply())
    wanted = [kind for kind, count in plan.wanted.items() for _ in range(count)]
    return Planned(
        Combination.of(wanted),
        all(_is_whole(verdict) for verdict in plan.jobs),
        " | ".join(verdict.why for verdict in plan.jobs),
    )


def _is_whole(verdict: JobVerdict) -> bool:
    return verdict.counts and (";" not in verdict.why)
