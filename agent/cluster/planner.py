"""Moment -> Plan: the one place where plans are made. The cycle obeys the plan, `esagent plan` prints it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from agent.cluster.drain.wanted import drains_of, returnable
from agent.cluster.grow.by_name import grow_by_name, lacking
from agent.cluster.grow.demand import GrowthPlan, JobVerdict, plan_growth
from agent.cluster.grow.lenders import divide, spare_machines
from agent.cluster.grow.misdescribed import differences
from agent.cluster.grow.moving import Move, moving_jobs
from agent.cluster.grow.supply import Supply, count_supply
from agent.cluster.grow.wrong import refusals_of
from agent.cluster.join.plan import JoinPlan, plan_joins
from agent.cluster.moment import Moment
from agent.cluster.power.power import PowerPlan, plan_power, power_surplus
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.shrink.departures import DeparturePlan, plan_departures
from agent.cluster.shrink.returning import named_again, wanted_again
from agent.cluster.shrink.surplus import NodeVerdict, plan_surplus
from agent.cluster.steer.weights import SetWeight, plan_weights
from agent.core.estimates import ForJobs
from agent.slurm.model import Snapshot
from agent.slurm.scheduling import Scheduling


@dataclass(frozen=True)
class PlannedStep:
    """One thing that would be done."""

    kind: str
    """``add``, ``keep``, ``surplus``, ``delete``, ``join``, ``probe``, ``give up`` or ``weight``."""
    subject: str
    """A CM, or a node name, or several."""
    why: str


@dataclass(frozen=True)
class Plan:
    """What follows from one moment: what the next steps of the cycle do."""

    supply: Supply = field(default_factory=Supply)
    """What is held, and what could be had."""
    growth: GrowthPlan = field(default_factory=lambda: GrowthPlan(0))
    """What the queue wants."""
    shares: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(type, CM) -> machines to ask for; none while an administrator holds growth up."""
    held_up: str = ""
    """What holds growth up, an administrator or the brake; "" for nothing."""
    power: PowerPlan = field(default_factory=PowerPlan)
    """What Slurm's power saving is told."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Name of a draining node that returns to service -> why."""
    verdicts: tuple[NodeVerdict, ...] = ()
    """Which nodes stay and which go, of those in service."""
    departures: DeparturePlan = field(default_factory=DeparturePlan)
    """Which machines are given back next."""
    joins: JoinPlan = field(default_factory=JoinPlan)
    """What to do about the machines that are ready."""
    weights: tuple[SetWeight, ...] = ()
    """The weights that have to change."""
    nodes: tuple[NodeVerdict, ...] = ()
    """One for each machine of ours: whether it goes, and why."""
    asks_reservations: bool = False
    """A node is about to go or to be kept: Slurm's reservations, which were not read, may say otherwise."""

    @property
    def jobs(self) -> tuple[JobVerdict, ...]:
        """One for each job that is pending or will have to move, oldest first."""
        return self.growth.jobs

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        """All of it, step by step."""
        return tuple(self._steps())

    def wanted_at(self, cm: str) -> dict[str, int]:
        """Return type -> machines to ask this CM for."""
        return {kind: count for (kind, at), count in self.shares.items() if at == cm}

    def _steps(self) -> Iterator[PlannedStep]:
        for (kind, cm), count in self.shares.items() if not self.held_up else ():
            jobs = ForJobs.of(self.growth.wanted_for.get(kind, ())).words
            of_type, whom = f" of type {kind}" if kind else "", f", for {jobs}" if jobs else ""
            yield PlannedStep("add", cm, f"{count} more{of_type}: the queue wants them{whom}")
        for name, why in sorted(self.kept.items()):
            yield PlannedStep("keep", name, why)
        for verdict in self.verdicts:
            if verdict.goes:
                yield PlannedStep("surplus", verdict.name, verdict.why)
        for machine in self.departures.machines:
            yield PlannedStep("delete", machine.client_id, "it failed, or is empty and surplus")
        joins = self.joins
        for kind, part in (("join", joins.start), ("probe", joins.probe), ("give up", joins.failed)):
            for step in part:
                yield PlannedStep(kind, step.name, step.reason)
        for change in self.weights:
            yield PlannedStep("weight", ",".join(change.nodes), f"{change.weight}: {change.reason}")


_Growth: TypeAlias = tuple[
    Snapshot,
    Supply,
    ClusterSettings,
    Mapping[str, datetime],
    tuple[Move, ...],
    Scheduling | None,
    tuple[object, ...],
    GrowthPlan,
]
"""A growth, with all that it follows from before it."""


class Planner:
    """Puts plans together. It asks nobody, and keeps the last growth alone, which costs the most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: _Growth | None = None

    def plan(self, moment: Moment) -> Plan:
        """Decide all that is to be done at a moment; nothing before Slurm was read once."""
        if moment.snapshot is None:
            return Plan(held_up=moment.held_up, departures=plan_departures(moment))
        may_return = returnable(moment)
        drains = drains_of(moment)
        named = named_again(moment)
        moment = replace(moment, chosen=moment.chosen - named.keys())
        supply = replace(count_supply(moment), lacking=lacking(moment), refusals=refusals_of(moment))
        growth = _with_obstacles(self._growth(moment, supply, moving_jobs(moment)), moment)
        growth = _with_differences(growth, moment)
        kept = named | wanted_again(moment, growth)
        verdicts = _surplus(moment, growth)
        goes = frozenset(verdict.name for verdict in verdicts if verdict.goes)
        departures = plan_departures(moment)
        turns = moment.slice.turns or moment.slice.cms
        # Without reservations it is not known yet which really go.
        going = goes if moment.reservations is not None else frozenset()
        after = _after(moment, moment.chosen - kept.keys() | going, departures)
        joins = plan_joins(after)
        return Plan(
            supply=supply,
            growth=growth,
            shares={} if moment.hold else divide(growth.wanted, spare_machines(moment), turns),
            held_up=moment.held_up,
            power=plan_power(moment, supply, growth),
            kept=kept,
            verdicts=verdicts,
            departures=departures,
            joins=joins,
            weights=plan_weights(after),
            nodes=_fates(moment, verdicts, joins, drains, kept),
            asks_reservations=moment.reservations is None and bool(may_return or goes),
        )

    def _growth(self, moment: Moment, supply: Supply, moves: tuple[Move, ...]) -> GrowthPlan:
        snapshot, settings = moment.snapshot, moment.settings
        assert snapshot is not None
        if supply.lacking is not None:
            return grow_by_name(supply, settings.demand)
        waiting = moment.history.waiting_since if moment.history else {}
        with self._lock:
            last = self._last
        # Reservations are equal whoever may use them, and however much they take.
        kept_free = tuple((r, r.partition, r.users, r.cpus) for r in moment.reservations or ())
        follows_from = (supply, settings, waiting, moves, moment.scheduling, kept_free)
        if last is not None and last[0] is snapshot and last[1:7] == follows_from:
            return last[7]
        growth = plan_growth(moment, supply, moves)
        with self._lock:
            self._last = (snapshot, *follows_from, growth)
        return growth


def _with_obstacles(growth: GrowthPlan, moment: Moment) -> GrowthPlan:
    """Tell which CMs are asked for nothing, or give fewer, where not all that is wanted is asked for."""
    known = moment.slice
    limits = {
        key: admission
        for key, admission in known.admitted.items()
        if key[0] in known.cms and key[0] not in known.closed
    }
    if not (known.closed or limits):
        return growth
    is_short = growth.count > sum(growth.wanted.values()) or growth.refused
    told = [f"nothing is asked of {cm} {why}" for cm, why in known.closed.items() if is_short]
    told += [
        f"{cm} gives {admission.more or 'no'} more{f' of type {kind}' if kind else ''} {admission.why}"
        for (cm, kind), admission in limits.items()
        if growth.count
    ]
    return replace(growth, reasons=(*growth.reasons, *told))


def _with_differences(growth: GrowthPlan, moment: Moment) -> GrowthPlan:
    """Tell where [demand] says something else of machines than what plans go by."""
    held = {machine.hardware_type for machine in moment.machines.values()}
    told = [words for _, words in differences(moment.settings.demand, moment.machine_types, held)]
    return replace(growth, reasons=(*growth.reasons, *told)) if told else growth


def _after(moment: Moment, chosen: frozenset[str], departures: DeparturePlan) -> Moment:
    """Return the moment at which machines are joined and weighed: others are chosen then, and some gone."""
    gone = frozenset(departures.machines)
    staying = tuple(machine for machine in moment.slice.machines if machine not in gone)
    return replace(moment, chosen=chosen, slice=replace(moment.slice, machines=staying))


def _surplus(moment: Moment, growth: GrowthPlan) -> tuple[NodeVerdict, ...]:
    if moment.settings.join.power_names:
        return power_surplus(moment)
    return plan_surplus(moment, growth)


def _fates(
    moment: Moment,
    verdicts: tuple[NodeVerdict, ...],
    joins: JoinPlan,
    drains: Mapping[str, Drain],
    kept: Mapping[str, str],
) -> tuple[NodeVerdict, ...]:
    """Tell of each machine of ours whether it goes, and why."""
    judged = {verdict.name: verdict for verdict in verdicts}
    waiting = {step.name: step.reason for step in (*joins.start, *joins.probe, *joins.watch)}
    fates = []
    for name in sorted(moment.machines):
        if name in kept:
            fates.append(NodeVerdict(name, False, kept[name]))
        elif drain := drains.get(name):
            is_torn_down = moment.torn_down_by(moment.machines[name]) is not None
            goes = is_torn_down or drain.leaves or drain.cause is DrainCause.TAKEN
            fates.append(NodeVerdict(name, goes, drain.words))
        else:
            why = waiting.get(name, "it has not joined yet")
            fates.append(judged.get(name) or NodeVerdict(name, False, why))
    return tuple(fates)
