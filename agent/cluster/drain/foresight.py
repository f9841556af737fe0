"""Which jobs had better start over at once than run on until they are requeued: a pure decision.

A job without a checkpoint that does not end in time loses all that it has run, and the later the more. What
tells whether it ends in time is its limit, or how long its like ran before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from agent.cluster.drain.jobs import Fate, Outlook
from agent.cluster.drain.wanted import Wishes
from agent.cluster.reasons import WILL_BE
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.slurm.model import Job, Snapshot

Method = Literal["limits", "history"]
FEWEST = 3
"""How many earlier jobs that ran longer than this one has are needed, or nothing is known of it."""

RunTimes = Callable[[Job], Sequence[float]]
"""Tells how many seconds earlier jobs of a job's user and name ran."""
_NO_PLACE = "; there is no place for it now"


class FindPlaces(Protocol):
    """Finds places for jobs that leave their nodes."""

    def __call__(
        self,
        snapshot: Snapshot,
        jobs: Sequence[Job],
        leaving: Collection[str],
        fences: Mapping[str, datetime] | None,
        settings: DemandSettings,
        /,
    ) -> Collection[str]:
        """Return the ids of those of these jobs that find one now, all together."""


def _know_nothing(_: Job) -> Sequence[float]:
    return ()


def _find_none(*_: object) -> Collection[str]:
    return ()


@dataclass(frozen=True)
class Foresight:
    """What is known beyond limits and deadlines; nothing, where it is not told."""

    run_times: RunTimes = _know_nothing
    find_places: FindPlaces = _find_none

    def look(
        self,
        outlooks: Iterable[Outlook],
        snapshot: Snapshot,
        wishes: Wishes,
        settings: ClusterSettings,
        now: datetime,
    ) -> tuple[Outlook, ...]:
        """Return the outlooks with what ``look_further`` makes of them."""
        certain = {
            name for name, drain in wishes.drains.items() if drain.cause in WILL_BE and not drain.unconfirmed
        }
        return look_further(
            outlooks,
            now,
            settings.drain.foresight,
            self.run_times,
            lambda jobs: self.find_places(snapshot, jobs, wishes.drains, wishes.fences, settings.demand),
            certain,
        )


BLIND = Foresight()
"""Leaves each job to try."""


@dataclass(frozen=True)
class Expectation:
    """What a job loses, as far as that can be told."""

    ends: datetime
    """When it is expected to end, not after its own limit."""
    runs: int
    """How many earlier jobs that is told from; 0 where its limit is all that is known."""
    ran: float
    """Seconds that it has run: what it loses if it starts over now."""
    later: float
    """Seconds that it loses on average if it is left until it is requeued."""
    left: float
    """Seconds until then."""

    @property
    def starts_over(self) -> bool:
        """It loses less by starting over now, and gets further by then in its new place than it is here."""
        return self.ran < min(self.later, self.left)

    @property
    def words(self) -> str:
        """What is expected and why, for people."""
        source = f"from {self.runs} earlier jobs of the same user and name" if self.runs else "by its limit"
        losses = f"starting over now loses {_rough(self.ran)}, later {_rough(self.later)}"
        return f"expected to end at {self.ends:%Y-%m-%dT%H:%M:%SZ}, {source}; {losses}"


def expect(
    job: Job, requeue: datetime, now: datetime, method: Method, earlier: Sequence[float]
) -> Expectation | None:
    """Weigh starting over now against running on; None where nothing is known of how long the job runs.

    With ``"history"`` the earlier jobs count that ran longer than this one has. This one is taken to be one
    more that ends in time, so that few of them do not speak against it alone. It never ends after its limit.

    Args:
        job: does not end in time by its limit.
        requeue: when it is requeued otherwise.
        now: the time of the decision.
        method: ``[drain] foresight``.
        earlier: seconds that others of its user and name ran.
    """
    if job.started is None:
        return None
    ran = max((now - job.started).total_seconds(), 0.0)
    until, left = (requeue - job.started).total_seconds(), (requeue - now).total_seconds()
    if method == "limits":
        return None if job.ends is None else Expectation(job.ends, 0, ran, until, left)
    longer = sorted(run for run in earlier if run > ran)
    if len(longer) < FEWEST:
        return None
    late = sum(run > until for run in longer)
    usual = job.started + timedelta(seconds=longer[len(longer) // 2])
    ends = usual if job.ends is None else min(usual, job.ends)
    return Expectation(ends, len(longer), ran, until * late / (len(longer) + 1), left)


def look_further(
    outlooks: Iterable[Outlook],
    now: datetime,
    method: Method,
    earlier: RunTimes,
    find_places: Callable[[Sequence[Job]], Collection[str]],
    certain: Collection[str],
) -> tuple[Outlook, ...]:
    """Have jobs requeued now that lose less by it and find a place; say of each what is expected.

    Jobs that can save their work are left alone, and so are heterogeneous ones, and those that somebody would
    have to release.

    Args:
        outlooks: from ``look_ahead``.
        now: the time of the decision.
        method: ``[drain] foresight``.
        earlier: what is known of run times.
        find_places: returns the ids of those of some jobs that find a place now, all together; asked once,
            and only where there is a job that had better start over.
        certain: names of the nodes whose deadline is not expected to be put off.
    """
    told = tuple(outlooks)
    expected = {
        outlook.job.id: expectation
        for outlook in told
        if outlook.at is not None and _may_start_over(outlook, now, certain)
        if (expectation := expect(outlook.job, outlook.at, now, method, earlier(outlook.job)))
    }
    better = [o.job for o in told if o.job.id in expected and expected[o.job.id].starts_over]
    placed = frozenset(find_places(better)) if better else frozenset()
    stuck = {job.id for job in better} - placed
    return tuple(
        replace(
            outlook,
            at=now if outlook.job.id in placed else outlook.at,
            expected=expected[outlook.job.id].words + (_NO_PLACE if outlook.job.id in stuck else ""),
        )
        if outlook.job.id in expected
        else outlook
        for outlook in told
    )


def _may_start_over(outlook: Outlook, now: datetime, certain: Collection[str]) -> bool:
    job = outlook.job
    is_plain = job.state == "RUNNING" and "+" not in job.id and not outlook.signal and not outlook.hold
    is_later = outlook.at is not None and outlook.at > now
    return is_plain and is_later and outlook.fate is Fate.REQUEUE and outlook.nodes.issubset(certain)


def _rough(seconds: float) -> str:
    """Write a duration in the largest unit of which there are two.

    >>> _rough(90), _rough(3600), _rough(7200)
    ('90s', '60m', '2h')
    """
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
