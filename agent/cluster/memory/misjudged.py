"""Which estimates of what Slurm would start were wrong, over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from agent.cluster.desk import Desk
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.wrong import Watch, contradicted, look
from agent.cluster.moment import Moment
from agent.core.errors import LedgerError
from agent.core.estimates import WrongEstimate
from agent.core.events import EventKind, OfEstimate

log = structlog.get_logger()

MOST = 1000
"""Wrong estimates that are kept; the oldest are tried again beyond that."""


class EstimateStore(Protocol):
    """Where wrong estimates survive a restart."""

    def keep_wrong(self, marks: Sequence[WrongEstimate]) -> None:
        """Store these in place of all that are stored."""

    def wrong(self) -> Sequence[WrongEstimate]:
        """Return what is stored, oldest first."""


class Misjudged:
    """Remembers them. Thread-safe; one thread at a time looks.

    Args:
        desk: has the lock of all that is remembered; told which estimates are wrong.
        store: read once, here. What it cannot take is remembered until a restart.

    Raises:
        LedgerError: the store cannot be read.
    """

    def __init__(self, desk: Desk, store: EstimateStore) -> None:
        self._desk = desk
        self._lock = desk.lock
        self._store = store
        self._stored = tuple(store.wrong())
        self._marks = self._stored
        self._watch = Watch()

    @property
    def marks(self) -> tuple[WrongEstimate, ...]:
        """All that are remembered, oldest first."""
        with self._lock:
            return self._marks

    def look(self, moment: Moment, growth: GrowthPlan) -> bool:
        """Take in what follows from a reading of Slurm; tell whether an estimate turned out wrong."""
        kept = contradicted(moment, self._watch)
        self._watch, found = look(moment, growth, self._watch)
        self._keep((*kept, *found))
        for mark, nodes in found.items():
            self._tell(mark, nodes, moment)
        return bool(found)

    def forget(self) -> None:
        """Have all of them tried again."""
        self._watch = Watch()
        self._keep(())

    def _keep(self, marks: Sequence[WrongEstimate]) -> None:
        due = tuple({mark.key: mark for mark in marks}.values())[-MOST:]
        with self._lock:
            self._marks = due
        # One about jobs that run now says nothing after a restart.
        lasting = tuple(mark for mark in due if not mark.beside)
        if lasting == self._stored:
            return
        try:
            self._store.keep_wrong(lasting)
        except LedgerError as error:
            log.warning("which estimates were wrong cannot be stored; tried again", error=str(error))
        else:
            self._stored = lasting

    def _tell(self, mark: WrongEstimate, nodes: Sequence[str], moment: Moment) -> None:
        machines = [moment.machines[name].node_id if name in moment.machines else name for name in nodes]
        if mark.is_node:
            where = f"{mark.where} beside what runs there" if mark.beside else mark.where
            follows = "it is not expected there any more"
        else:
            where = f"a machine of type {mark.where}" if mark.where else "a borrowed machine"
            follows = "none is kept or borrowed for such jobs"
        message = f"job {mark.job} should start on {where}, and does not: Slurm says {mark.reason}; {follows}"
        self._desk.tell(
            EventKind.MISJUDGED,
            ",".join(machines),
            message,
            OfEstimate(mark.job, mark.where, mark.reason),
        )
