"""How long jobs ran, by user and name: learnt from one reading of Slurm after another, and from sacct."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from agent.core import threads
from agent.core.desk import Lock
from agent.core.errors import SlurmError
from agent.slurm.model import EarlierRun, Job, JobEnd, Snapshot

log = structlog.get_logger()

NEWEST = 50
"""Run times that are kept of one user and name."""
_MOST = 5000
"""Users and names of which any are kept; those that were seen longest ago go first."""
_LONGEST_GAP = timedelta(minutes=10)
"""Readings that lie further apart do not tell when a job ended in between."""
_AT_ONCE = 500
"""Jobs that are learnt from at one reading."""
_BY_ITSELF = frozenset({"COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY"})
"""States of jobs that nobody ended."""

Endings = Callable[[Iterable[str]], Mapping[str, JobEnd]]


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

    def learn(self, snapshot: Snapshot, endings: Endings) -> None:
        """Take in a reading of Slurm: which jobs ended since the last one.

        Args:
            snapshot: what Slurm says.
            endings: tells how jobs ended (``SlurmBackend.endings``); asked where there are such.
        """
        last, running = self._read, self._running
        if last is not None and timedelta() < snapshot.taken - last <= _LONGEST_GAP:
            there = {job.id for job in snapshot.jobs}
            gone = [seen for job_id, seen in running.items() if job_id not in there][:_AT_ONCE]
            midway = last + (snapshot.taken - last) / 2
            self._keep(_ended(gone, midway, _how(gone, endings)))
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


def _how(gone: Collection[_Running], endings: Endings) -> Mapping[str, JobEnd]:
    try:
        return endings([seen.job.id for seen in gone]) if gone else {}
    except SlurmError as error:
        log.info("how jobs ended is not known", error=str(error))
        return {}


def _ended(gone: Iterable[_Running], midway: datetime, told: Mapping[str, JobEnd]) -> Iterator[EarlierRun]:
    """Tell how long jobs ran that ended by themselves.

    Of one of which Slurm tells no more that is taken for granted: it ended when it was seen to clean up, or
    midway between two readings, and not after its limit.
    """
    for seen in gone:
        job, end = seen.job, told.get(seen.job.id)
        if job.started is None or (end is not None and end.state not in _BY_ITSELF):
            continue
        guess = min(seen.ended or midway, job.ends or midway)
        ended = guess if end is None or end.ended is None else end.ended
        yield EarlierRun(job.user, job.name, max((ended - job.started).total_seconds(), 0.0))
