"""A fence in time: reservations that keep jobs off nodes which would not end before the nodes go.

A job without a time limit never starts before a fence, however far away it is (reservations, scontrol(1)), so
only nodes are fenced all of whose partitions give every job a limit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from agent.cluster.reasons import TAKEN_BACK, Drain, is_same_time
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import LedgerError, SlurmError, SlurmRefusedError
from agent.slurm.model import Node, SlurmBackend
from agent.slurm.reservation import Reservation

log = structlog.get_logger()

LENGTH = timedelta(hours=1)
"""How long a fence lasts beyond its start, or from now on once that is past, unless it is moved on.

Where nobody moves it on, no agent is there; and the lease, at whose end it begins, is over by then.
"""

_PREFIX = "esagent-"
_MADE_WITH = frozenset({"MAINT", "IGNORE_JOBS"})
"""Flags that every fence has, and that Slurm shows on all releases."""
_LOOK_EVERY = timedelta(minutes=1)


class FenceStore(Protocol):
    """Where it survives a restart which reservations we made."""

    def put_fence(self, name: str) -> None:
        """Store a name; no error where it is stored."""

    def remove_fence(self, name: str) -> None:
        """Forget one; no error where there is none."""

    def fences(self) -> Collection[str]:
        """Return the names that are stored."""


@dataclass(frozen=True)
class FencePlan:
    """What is to be changed."""

    reserve: tuple[Reservation, ...]
    remove: tuple[str, ...]
    """Names of reservations that nobody needs any more."""
    told: tuple[Reservation, ...] = ()
    """Those of ``reserve`` that are news: new ones, and those that take nodes in or let them go."""


@dataclass(frozen=True)
class Mark:
    """What tells our reservations from all others, also those of another agent at the same slurmctld.

    Reservations have no Comment= before 24.05, so the name has it: no site hits on the digest of a slice's
    URN by chance. A reservation whose name alone is like ours, without the flags, is not ours either.
    """

    digest: str
    """Of the slice's URN."""
    written: Collection[str] = ()
    """Names that the ledger has: also those that an older agent made, which bear no digest."""

    @classmethod
    def of_slice(cls, urn: str) -> Mark:
        """Return the mark of a slice's agent. Upper and lower case are one, as for Cloudlab."""
        return cls(hashlib.sha256(urn.lower().encode()).hexdigest()[:12])

    def is_on(self, reservation: Reservation) -> bool:
        """Tell whether a reservation is ours."""
        is_named = re.fullmatch(rf"{_PREFIX}{self.digest}-\d{{8}}T\d{{6}}Z(-\d+)?", reservation.name)
        return reservation.flags >= _MADE_WITH and (bool(is_named) or reservation.name in self.written)

    def name(self, starts: datetime, taken: Collection[str]) -> str:
        """Return a name for a fence of ours; none of those that are taken."""
        name = f"{_PREFIX}{self.digest}-{starts.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
        return next(each for each in (name, *others) if each not in taken)


def is_fence(reservation: Reservation) -> bool:
    """Tell whether a reservation is a fence of some agent, as far as its name and flags tell."""
    is_named = re.fullmatch(rf"{_PREFIX}([0-9a-f]{{12}}-)?\d{{8}}T\d{{6}}Z(-\d+)?", reservation.name)
    return reservation.flags >= _MADE_WITH and bool(is_named)


def can_be_fenced(node: Node, limited: Collection[str]) -> bool:
    """Tell whether every job on this node has a time limit, by its own will or by its partition's.

    Args:
        node: the node.
        limited: names of the partitions that give every job a limit.
    """
    return bool(node.partitions) and set(node.partitions) <= set(limited)


def with_fences(
    drains: Mapping[str, Drain],
    fenced: Collection[str],
    leases: Mapping[str, datetime],
    settings: DrainSettings,
) -> tuple[dict[str, Drain], dict[str, datetime]]:
    """Put drains off where a fence does their work meanwhile.

    Args:
        drains: node name -> its drain.
        fenced: names of the nodes that can be fenced.
        leases: name of a node -> when its lease ends.
        settings: ``fence_min`` and ``cleanup_lead``.

    Returns:
        The drains, those of revocations begun only ``fence_min`` before the deadline, unless somebody else
        wants the node empty too; and node name -> from when on nothing may run there.
    """
    ends = dict(leases)
    later = dict(drains)
    for name, drain in drains.items():
        if drain.cause in TAKEN_BACK and drain.deadline is not None and name in fenced:
            ends[name] = drain.deadline
            if not drain.seconded:
                later[name] = replace(drain, since=drain.deadline - timedelta(seconds=settings.fence_min))
    lead = timedelta(seconds=settings.cleanup_lead)
    return later, {name: end - lead for name, end in ends.items()}


def plan_fence(
    existing: Iterable[Reservation],
    wanted: Mapping[str, datetime],
    mark: Mark,
    now: datetime,
    *,
    whole: bool = True,
) -> FencePlan:
    """Decide how to get from the fences that stand to those that are wanted; one for all nodes of one time.

    Args:
        existing: all reservations in Slurm; only ours are looked at.
        wanted: node name -> from when on nothing may run there.
        mark: tells which are ours.
        now: the time.
        whole: ``wanted`` has all that are wanted; else the fences of other nodes stay as they are.
    """
    all_there = tuple(existing)
    ours = {r.name: r for r in all_there if mark.is_on(r)}
    taken = {r.name for r in all_there} - ours.keys()
    target: dict[str, Reservation] = {}
    if not whole:
        rest = {name: replace(r, nodes=r.nodes - wanted.keys()) for name, r in ours.items()}
        target = {name: r for name, r in rest.items() if r.nodes}
    for node, time in sorted(wanted.items()):
        its = (r for r in ours.values() if node in r.nodes)
        standing = next((r for r in its if is_same_time(r.starts, time)), None)
        starts = time.replace(microsecond=0)
        fence = standing or _fence(mark.name(starts, taken), starts)
        known = target.get(fence.name, replace(fence, nodes=frozenset()))
        target[fence.name] = replace(known, nodes=known.nodes | {node})
    moved = {name: r if _lasts(r, now) else replace(r, ends=_end(r, now)) for name, r in target.items()}
    changed = {name: r for name, r in moved.items() if name not in ours or ours[name] != r}
    news = {n for n, r in changed.items() if n not in ours or ours[n].nodes != r.nodes}
    return FencePlan(
        tuple(changed.values()),
        tuple(sorted(ours.keys() - target.keys())),
        tuple(r for name, r in changed.items() if name in news),
    )


def _fence(name: str, starts: datetime) -> Reservation:
    return Reservation(name, frozenset(), starts, starts + LENGTH, _MADE_WITH)


def _end(fence: Reservation, now: datetime) -> datetime:
    return max(fence.starts, now.replace(microsecond=0)) + LENGTH


def _lasts(fence: Reservation, now: datetime) -> bool:
    """Tell whether a fence ends neither soon nor too late; it is moved on seldom, since that asks Slurm."""
    left = fence.ends - max(fence.starts, now)
    return LENGTH / 2 <= left <= LENGTH


class Fencer:
    """Keeps the fences in Slurm in step with the wishes. For one thread at a time but for ``is_settled``.

    Args:
        backend: the way in to Slurm.
        slice_urn: of the slice whose machines are fenced.
        store: where it is written down which reservations we made.
    """

    def __init__(self, backend: SlurmBackend, slice_urn: str, store: FenceStore) -> None:
        self._backend = backend
        self._mark = Mark.of_slice(slice_urn)
        self._store = store
        self._written: frozenset[str] | None = None
        self._done: tuple[Mapping[str, datetime], bool] | None = None
        self._looked: datetime | None = None
        self._settled: Mapping[str, datetime] = {}

    def is_settled(self, node: str, time: datetime) -> bool:
        """Tell whether a node's fence of that time stands, or Slurm refused it: there is no more to do."""
        settled = self._settled.get(node)
        return settled is not None and is_same_time(settled, time)

    def let_in(self, names: Iterable[str], wanted: Mapping[str, datetime]) -> tuple[str, ...]:
        """Return those of these nodes on which jobs may start: their fence is settled, or they get none."""
        return tuple(n for n in sorted(names) if n not in wanted or self.is_settled(n, wanted[n]))

    def step(
        self,
        wanted: Mapping[str, datetime],
        now: datetime,
        ahead: timedelta = timedelta(),
        *,
        whole: bool = True,
    ) -> FencePlan | None:
        """Look, where something changed or the last look is long ago, and change what differs.

        Args:
            wanted: node name -> from when on nothing may run there.
            now: when it is asked, by the steady clock.
            ahead: how far the wall clock, which Slurm goes by, is ahead of that.
            whole: ``wanted`` has all that are wanted; else the fences of other nodes stay.

        Returns:
            What was changed; None where nothing was looked at.

        Raises:
            SlurmError: a change failed; the others were tried all the same, and it is tried again.
        """
        fresh = self._looked is not None and now - self._looked < _LOOK_EVERY
        if fresh and self._done == (wanted, whole):
            return None
        self._looked, self._done = now, None
        there = self._backend.reservations()
        mark = replace(self._mark, written=self._read())
        plan = plan_fence(there, wanted, mark, now + ahead, whole=whole)
        for fence in plan.reserve:
            self._write(fence.name)
        made = [(fence, _fault(partial(self._backend.reserve, fence))) for fence in plan.reserve]
        removed = [_fault(partial(self._backend.remove_reservation, name)) for name in plan.remove]
        faults = [error for error in (*(error for _, error in made), *removed) if error is not None]
        open_ = {n for fence, e in made if e and not isinstance(e, SlurmRefusedError) for n in fence.nodes}
        self._settled = {name: time for name, time in wanted.items() if name not in open_}
        if faults:
            raise faults[0]
        kept = {r.name for r in (*there, *plan.reserve) if mark.is_on(r) or r in plan.reserve}
        self._strike(self._read() - (kept - {*plan.remove}))
        self._done = (dict(wanted), whole)
        return plan

    def _read(self) -> frozenset[str]:
        if self._written is None:
            try:
                self._written = frozenset(self._store.fences())
            except LedgerError as error:
                log.warning("which fences we made is known by their mark alone", error=str(error))
        return self._written or frozenset()

    def _write(self, name: str) -> None:
        """Write a name down before the reservation is made; one that bears our mark is known without."""
        if name in self._read():
            return
        try:
            self._store.put_fence(name)
        except LedgerError as error:
            log.warning("a fence is not written down", fence=name, error=str(error))
        else:
            self._written = self._read() | {name}

    def _strike(self, names: Collection[str]) -> None:
        for name in names:
            try:
                self._store.remove_fence(name)
            except LedgerError as error:
                log.warning("a fence is not struck", fence=name, error=str(error))
            else:
                self._written = self._read() - {name}


def _fault(change: Callable[[], None]) -> SlurmError | None:
    try:
        change()
    except SlurmError as error:
        return error
    return None
