"""All that is remembered, behind one lock, and the moment that it makes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.fence import FenceStore
from agent.cluster.drain.foresight import Foresight
from agent.cluster.drain.wanted import Wishes, wishes_of
from agent.cluster.grow.places import find_places
from agent.cluster.grow.refusals import NO_REFUSALS
from agent.cluster.grow.reserved import reserved_of
from agent.cluster.grow.wrong import refusals_of
from agent.cluster.memory.chosen import Chosen
from agent.cluster.memory.drains import Drains, DrainStore
from agent.cluster.memory.grow_order import GrowOrders, GrowStore
from agent.cluster.memory.hold import WHOLE_SLICE, GrowthHold
from agent.cluster.memory.joins import Joins
from agent.cluster.memory.known import Known
from agent.cluster.memory.machine_types import MachineTypes, MachineTypeStore
from agent.cluster.memory.misjudged import EstimateStore, Misjudged
from agent.cluster.memory.names import Names, NameStore
from agent.cluster.memory.run_times import RunTimes
from agent.cluster.memory.teardowns import Teardowns, TeardownStore
from agent.cluster.moment import Moment
from agent.cluster.settings.demand import DemandSettings
from agent.core.errors import LedgerError
from agent.core.estimates import ForJobs
from agent.core.model import LeftBehind, MachineId, SliverNode
from agent.core.slice.facts import SliceFacts
from agent.slurm.model import Job, Snapshot

T = TypeVar("T")

log = structlog.get_logger()


class WishStore(DrainStore, GrowStore, NameStore, FenceStore, MachineTypeStore, EstimateStore, Protocol):
    """Where what the rooms of the cluster remember survives a restart."""

    @property
    def cms(self) -> TeardownStore:
        """Where wishes for whole CMs do."""


class Memory:
    """What the rooms of the cluster remember. Thread-safe.

    Args:
        desk: has the lock, the time and the settings.
        facts: what is known of the slice; it is asked under the lock, which guards that too.
        store: where what administrators ask for, and what machines are and joined as, survives a restart.
        left_behind: what is held in other slices.

    Attributes:
        known: what Slurm said last.
        drains: what administrators said of single machines.
        hold: an administrator's wish for the whole slice.
        teardowns: administrators' wishes that one CM be emptied.
        growing: an administrator's wish for more machines.
        chosen: which machines are being emptied to be given back.
        joins: what has been tried to make nodes of machines.
        names: what machines are called in Slurm.
        run_times: how long jobs ran.
        machine_types: what Slurm saw of machines of each hardware type.
        misjudged: which estimates of what Slurm would start were wrong.
        asked_types: (CM, client_id) -> the hardware type that was asked for, while more than one is borrowed.
    """

    def __init__(
        self,
        desk: Desk,
        facts: Callable[[], SliceFacts],
        store: WishStore,
        left_behind: Sequence[LeftBehind] = (),
    ) -> None:
        self._desk = desk
        self._facts = facts
        self._started = desk.clock.steady()
        stored = {drain.place: drain for drain in store.drains()}
        self.known = Known(desk.lock)
        self.hold = GrowthHold(desk.lock, store, stored.pop(("", WHOLE_SLICE), None))
        self.drains = Drains(desk.lock, store, stored.values())
        self.teardowns = Teardowns(desk.lock, store.cms)
        self.growing = GrowOrders(desk, store)
        self.chosen = Chosen(desk.lock)
        self.joins = Joins(desk.lock)
        self.names = Names(desk.lock, store)
        self.run_times = RunTimes(desk.lock)
        self.machine_types = MachineTypes(desk.lock, store)
        self.misjudged = Misjudged(desk, store)
        self._left_behind = tuple(left_behind)
        self.asked_types: dict[tuple[str, str], str] = {}
        self._asked_for: dict[tuple[str, str], ForJobs] = {}

    def left_behind(self) -> tuple[LeftBehind, ...]:
        """Tell what is held in other slices now."""
        now = self._desk.clock.now()
        return tuple(left for left in self._left_behind if not left.is_over(now))

    def now(self) -> Moment:
        """Return all that is known at this instant."""
        with self._desk.lock:
            facts, now, teardowns = self._facts(), self._desk.clock.now(), self.teardowns.wishes
            lenders = tuple(cm for cm in facts.cms if cm not in teardowns)
            moment = Moment(
                now=now,
                ahead=now - self._desk.clock.steady(),
                started=self._started,
                bound=self.names.bound,
                began=self.names.written,
                settings=self.growing.applied_to(self._desk.settings, now),
                slice=replace(facts, cms=lenders),
                snapshot=self.known.snapshot,
                read=self.known.read_at(),
                history=self.known.history,
                limited=self.known.limited,
                scheduling=self.known.scheduling,
                reservations=self.known.reservations,
                read_back=self.known.read_back,
                admin=self.drains.wishes,
                hold=self.hold.wish,
                teardowns=teardowns,
                order=self.growing.order,
                elsewhere=frozenset(name for left in self._left_behind for name in left.nodes),
                asked_types=dict(self.asked_types),
                machine_types=self.machine_types.known,
                asked_for=dict(self._asked_for),
                wrong=self.misjudged.marks,
                joins=self.joins.records,
                proven=self.joins.proven,
                failed_since=self.joins.failed,
            )
            names = {key: known.name for key, known in moment.known_as.items()}
            if moment.snapshot is not None:
                self.names.learn(moment.known_as)
            return replace(
                moment,
                bound=self.names.bound,
                chosen=_named(self.chosen.chosen, names),
                emptied=_named(self.chosen.emptied, names),
                leaving=_named(self.chosen.leaving, names),
                blocking={names[key]: due for key, due in self.chosen.blocking.items() if names.get(key)},
            )

    def wishes(self) -> Wishes:
        """Tell what is to be emptied now, and what is ours to touch."""
        return wishes_of(self.now())

    def foresight(self) -> Foresight:
        """Return what tells which jobs had better start over."""
        return Foresight(self.run_times.of, self._find_places)

    def _find_places(
        self,
        snapshot: Snapshot,
        jobs: Sequence[Job],
        leaving: Collection[str],
        fences: Mapping[str, datetime] | None,
        settings: DemandSettings,
        /,
    ) -> Collection[str]:
        moment = replace(self.now(), snapshot=snapshot)
        if moment.reservations is None:
            return ()
        refusals = refusals_of(moment) if moment.wrong else NO_REFUSALS
        return find_places(snapshot, jobs, leaving, fences, settings, refusals, reserved_of(moment))

    def note_types(self, cm: str, types: Mapping[str, str]) -> None:
        """Remember what machines are asked for as, client_id -> type, while they may come or be held."""
        with self._desk.lock:
            kept = self._of_those_there(self.asked_types)
            self.asked_types = kept | {(cm, client_id): kind for client_id, kind in types.items()}

    def note_jobs(
        self, cm: str, client_ids: Sequence[str], wanted_for: Mapping[str, Sequence[str]]
    ) -> ForJobs:
        """Remember for which jobs machines are asked for, while they may come or be held; return all of them.

        Args:
            cm: the CM.
            client_ids: names of the machines.
            wanted_for: hardware type -> ids of the jobs that want it, oldest first.
        """
        with self._desk.lock:
            kinds = {name: self.asked_types.get((cm, name), "") for name in client_ids}
            jobs = {(cm, name): ForJobs.of(wanted_for.get(kind, ())) for name, kind in kinds.items()}
            self._asked_for = self._of_those_there(self._asked_for) | jobs
        return ForJobs.of([job for kind in dict.fromkeys(kinds.values()) for job in wanted_for.get(kind, ())])

    def _of_those_there(self, noted: Mapping[tuple[str, str], T]) -> dict[tuple[str, str], T]:
        facts = self._facts()
        places = facts.unseen.union((m.cm, m.client_id) for m in facts.machines)
        places = places.union((intent.cm, intent.client_id) for intent in facts.requested)
        return {place: each for place, each in noted.items() if place in places}

    def type_asked(self, cm: str, client_id: str) -> str:
        """Return what a machine was asked for as; "" where it is not known, or one type alone is borrowed."""
        with self._desk.lock:
            return self.asked_types.get((cm, client_id), "")

    def forget(self, machine: SliverNode) -> None:
        """Drop all that concerns a machine that is not ours any more."""
        with self._desk.lock:
            self.chosen.forget(machine)
            self.asked_types.pop((machine.cm, machine.client_id), None)
            self._asked_for.pop((machine.cm, machine.client_id), None)
            self.joins.forget(machine)
        try:
            self.names.forget(machine)
            self.drains.forget(machine)
        except LedgerError as error:
            log.warning("of a machine that is gone not all can be struck; tried again", error=str(error))


def _named(keys: Iterable[MachineId], names: Mapping[MachineId, str]) -> frozenset[str]:
    """Return the node names of those machines that are there."""
    return frozenset(names[key] for key in keys if names.get(key))
