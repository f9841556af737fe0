"""How long jobs ran, by user and name: learnt from one reading of Slurm after another, and from sacct."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from agent.core import threads
from agent.core.desk import Lock
from agent.core.errors import SlurmError
from agent.slurm.model import EarlierRun, Job, Snapshot

log = structlog.get_logger()

NEWEST = 50
"""Run times that are kept of one user and name."""
_MOST = 5000
"""Users and names of which any are kept; those that were seen longest ago go first."""
_LONGEST_GAP = timedelta(minutes=10)
"""Readings that lie further apart do not tell when a job ended in between."""


@dataclass(frozen=True)
class _Running:
    """A job that was seen to run."""

    job: Job
    ended: datetime | None = None
    """When it ended, once it is seen to clean up; it may still turn out to have been requeued."""


class RunTimes:
    """Remembers how long jobs ran that ended by themselves. Thread-safe; readings come from one thread.

    Args:
        lock: of all that is remembered.

    Attributes:
        accounts: tells of jobs that ended before, oldest first; it may take its time, and raise SlurmError.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._kept: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._running: Mapping[str, _Running] = {}
        self._read: datetime | None = None
        self._was_asked = False
        self.accounts: Callable[[], Iterable[EarlierRun]] = tuple

    def of(self, job: Job) -> tuple[float, ...]:
        """Return the seconds that jobs of this one's user and name ran, oldest first."""
        with self._lock:
            return tuple(self._kept.get((job.user, job.name), ()))

    def learn(self, snapshot: Snapshot) -> None:
        """Take in a reading of Slurm: which jobs ended since the last one."""
        last, running = self._read, self._running
        if last is not None and timedelta() < snapshot.taken - last <= _LONGEST_GAP:
            self._keep(_ended(running, last, snapshot))
        else:
            running = {}
        self._read, self._running = snapshot.taken, _still_running(running, snapshot)

    def look_up(self) -> None:
        """Have the accounts asked once, on a thread of its own."""
        if not self._was_asked:
            self._was_asked = True
            threads.errand("run-times", self._recall)

    def _recall(self) -> None:
        """Take in what the accounts tell; what was seen since stays the newest."""
        try:
            runs = self.accounts()
        except SlurmError as error:
            log.info("how long jobs ran before is not known", error=str(error))
            return
        earlier = RunTimes(self._lock)
        earlier._keep(runs)
        with self._lock:
            for key, seconds in self._kept.items():
                earlier._put(key, seconds)
            self._kept = earlier._kept

    def _keep(self, runs: Iterable[EarlierRun]) -> None:
        for run in runs:
            with self._lock:
                self._put((run.user, run.name), (run.seconds,))

    def _put(self, key: tuple[str, str], seconds: Iterable[float]) -> None:
        self._kept.setdefault(key, deque(maxlen=NEWEST)).extend(seconds)
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)


def _still_running(before: Mapping[str, _Running], snapshot: Snapshot) -> dict[str, _Running]:
    """Return the jobs that run or clean up after it, by id, but those that somebody may be about to end.

    A job on a node that is emptied or lost may be ended by us, or by that.
    """
    lost = frozenset(name for name, node in snapshot.nodes.items() if not node.usable)
    found = {}
    for job in snapshot.jobs:
        if job.state == "RUNNING" and job.started is not None and job.nodes.isdisjoint(lost):
            found[job.id] = _Running(job)
        elif job.state == "COMPLETING" and (seen := before.get(job.id)) is not None:
            found[job.id] = seen if seen.ended else _Running(seen.job, job.ends or snapshot.taken)
    return found


def _ended(running: Mapping[str, _Running], last: datetime, snapshot: Snapshot) -> Iterator[EarlierRun]:
    """Tell the jobs that are gone since the last reading; one that waits again was requeued.

    Slurm tells no more of them: one that was not seen to clean up ended midway between the readings, and
    none after its limit.
    """
    there = {job.id for job in snapshot.jobs}
    midway = last + (snapshot.taken - last) / 2
    for job_id, seen in running.items():
        if job_id in there or seen.job.started is None:
            continue
        ended = min(seen.ended or midway, seen.job.ends or midway)
        yield EarlierRun(seen.job.user, seen.job.name, max((ended - seen.job.started).total_seconds(), 0.0))
