"""What draining costs: how much work is thrown away, and when a node will be empty. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.drain.jobs import Outlook
from agent.cluster.reasons import Drain
from agent.slurm.model import Job


def lost_cpu_seconds(job: Job, now: datetime) -> float:
    """Return the run time, times CPUs, that is thrown away when a job is ended now."""
    if job.started is None:
        return 0.0
    return round(max((now - job.started).total_seconds(), 0.0) * job.cpus, 1)


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
