"""What draining costs: which jobs ended how, and how much work was thrown away. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.drain.jobs import Outlook, leader
from agent.cluster.reasons import Drain
from agent.slurm.model import Job, Snapshot


def lost_cpu_seconds(job: Job, now: datetime) -> float:
    """Return the run time, times CPUs, that is thrown away when a job is ended now."""
    if job.started is None:
        return 0.0
    return round(max((now - job.started).total_seconds(), 0.0) * job.cpus, 1)


class JobFigures:
    """Follows the jobs on draining nodes to their end."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Job, str]] = {}
        self._ended: set[str] = set()

    def finished(
        self, snapshot: Snapshot, outlooks: Iterable[Outlook], drains: Mapping[str, Drain]
    ) -> Iterator[tuple[Job, str]]:
        """Take in a look at Slurm; return the jobs that ended by themselves since the last, and why drained.

        A job that waits in the queue again was requeued by somebody and has not ended.
        """
        present = {leader(job) for job in snapshot.jobs if job.state != "COMPLETING"}
        gone = [seen for job_id, seen in self._seen.items() if job_id not in present | self._ended]
        self._ended.clear()
        self._seen = {leader(o.job): (o.job, _cause(o, drains)) for o in outlooks}
        return iter(gone)

    def cause(self, job: Job) -> str:
        """Return why the nodes of a job are emptied, in one word."""
        return self._seen[leader(job)][1]

    def ended(self, job: Job) -> None:
        """Take note that we ended a job ourselves."""
        self._ended.add(leader(job))


def _cause(outlook: Outlook, drains: Mapping[str, Drain]) -> str:
    """Of several nodes the one with the earliest deadline says it."""
    dated = [drains[name] for name in sorted(outlook.nodes) if drains[name].deadline == outlook.deadline]
    return dated[0].cause.value


@dataclass(frozen=True)
class Forecast:
    """How the emptying of one node will go, seen from now."""

    drain: Drain
    outlooks: tuple[Outlook, ...]
    """The jobs that hold it."""
    empty: datetime | None
    """When its last job will be gone; None where that is not known."""

    @property
    def margin(self) -> timedelta | None:
        """Time between that and the deadline; None where either is not known."""
        return self.drain.deadline - self.empty if self.drain.deadline and self.empty else None


def foresee(drains: Mapping[str, Drain], outlooks: Iterable[Outlook], now: datetime) -> tuple[Forecast, ...]:
    """Tell how the emptying of each node will go, the earliest deadline first."""
    all_jobs = tuple(outlooks)
    forecasts = []
    for name, drain in drains.items():
        here = tuple(o for o in all_jobs if name in o.nodes)
        times = [o.at for o in here if o.at is not None]
        empty = max([now, *times]) if len(times) == len(here) else None
        forecasts.append(Forecast(drain, here, empty))
    return tuple(
        sorted(forecasts, key=lambda f: (f.drain.deadline is None, f.drain.deadline or now, f.drain.node))
    )
