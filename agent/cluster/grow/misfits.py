"""Jobs that Slurm took out of its queue since no node fits them any more: a machine that comes helps them.

It gives them the reason ``BadConstraints`` and priority 0. When a node that fits has come, it takes some of
them up by itself, after a while and not all tasks of an array.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import structlog

from agent.cluster.drain.wanted import drains_of
from agent.cluster.grow.choosing import choose
from agent.cluster.grow.packing import shape_of
from agent.cluster.grow.rooms import Rooms, Search
from agent.cluster.grow.there import when_empty
from agent.cluster.grow.wish import Wish, wishes_of
from agent.cluster.moment import Moment
from agent.core.errors import SlurmError
from agent.slurm.model import Job, Node, SlurmBackend
from agent.slurm.scheduling import Scheduling

log = structlog.get_logger()

REASON = "BadConstraints"


class Fits:
    """Tells which nodes in service fit jobs. Jobs that ask alike are looked at once: they may be thousands.

    Args:
        nodes: all that count.
        scheduling: how Slurm chooses nodes; None where that is not known.
    """

    def __init__(self, nodes: Iterable[Node], scheduling: Scheduling | None = None) -> None:
        self._nodes = nodes
        self._scheduling = scheduling
        self._known: dict[tuple[object, ...], frozenset[str]] = {}

    def of(self, job: Job) -> frozenset[str]:
        """Return the names of the nodes that fit a job; none where fewer do than it needs."""
        shape = shape_of(job)
        if shape not in self._known:
            found = (self._for(wish, job) for wish in wishes_of(job, self._scheduling))
            self._known[shape] = frozenset(name for names in found for name in names)
        return self._known[shape]

    def _for(self, wish: Wish, job: Job) -> list[str]:
        options = list(Search(wish, wish.least_cpus).options(self._rooms, job.excluded_nodes))
        return [option.place.name for option in options] if choose(wish, options) else []

    @cached_property
    def _rooms(self) -> Rooms:
        return Rooms((n.name, when_empty(n, self._scheduling), "") for n in self._nodes if n.usable)


class Misfits:
    """Lets such jobs start, once for each set of nodes that fit: Slurm may know better.

    Args:
        backend: the way in to Slurm.
    """

    def __init__(self, backend: SlurmBackend) -> None:
        self._backend = backend
        self._tried: dict[str, frozenset[str]] = {}
        """Job id -> the nodes that fitted it when it was let go."""

    def act(self, moment: Moment) -> None:
        """Let those go for which a node has come; a refusal is told, and costs nothing else."""
        misfits = [job for job in moment.snapshot.jobs if job.reason == REASON] if moment.snapshot else []
        leaving = drains_of(moment).keys() if misfits else ()
        staying = [node for name, node in moment.nodes.items() if name not in leaving]
        fits = Fits(staying, moment.scheduling)
        fit = {job.id: fits.of(job) for job in misfits if job.state == "PENDING"}
        due = [job_id for job_id, nodes in fit.items() if nodes - self._tried.get(job_id, frozenset())]
        self._tried = {job_id: nodes for job_id, nodes in fit.items() if nodes}
        if not due:
            return
        try:
            for error in self._backend.let_start(due).values():
                log.warning("a job that a node fits again was not let go", error=str(error))
        except SlurmError as error:
            log.warning("jobs that nodes fit again were not let go", jobs=due, error=str(error))
