"""Which of our nodes are to be emptied now, and on whose word: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agent.cluster.drain.fence import can_be_fenced, with_fences
from agent.cluster.drain.held import held_nodes
from agent.cluster.moment import Moment
from agent.cluster.reasons import (
    CM_TEARDOWN,
    TAKEN_BACK,
    TEARDOWN,
    Drain,
    DrainCause,
    is_ours,
    marks,
    parse_reason,
)
from agent.core.model import AdminDrain, CmTeardown
from agent.core.said import Revocation
from agent.core.slice.ending import Ending


@dataclass(frozen=True)
class Wishes:
    """What is to be emptied now, and what is ours to touch."""

    drains: Mapping[str, Drain]
    """Node name -> drain."""
    ours: Collection[str]
    """Names of the nodes that may be drained: those of our machines, also of revoked ones whose CM was not
    heard since they joined in an earlier run; and with ``[drain] foreign`` of the
    slice's others, or what was drained by it; empty before the first manifest is read."""
    fences: Mapping[str, datetime] | None
    """Node name -> from when on no job may run there; None while not all is known: they stay."""
    unread: Collection[str] = ()
    """Names of those of ours whose drain is not lifted: an earlier run may have drained them, for what is not
    known yet; or it was for an earlier machine, and the new one is not there yet."""
    ahead: timedelta = timedelta()
    """How far the wall clock, by which the deadlines are told, was ahead of the steady one then."""
    known_fences: Mapping[str, datetime] = field(default_factory=dict)
    """``fences`` of the nodes that are known while not all is."""
    held: Collection[str] = ()
    """Names of nodes that take no job before their fence stands."""

    @property
    def certain_fences(self) -> Mapping[str, datetime]:
        """Those that are to stand in any case: all, or of the nodes that are known while not all is."""
        return self.known_fences if self.fences is None else self.fences


def drains_of(moment: Moment) -> dict[str, Drain]:
    """Return node name -> the most urgent reason to empty it."""
    return most_urgent(_all(moment))


def returnable(moment: Moment) -> frozenset[str]:
    """Return the names of the nodes that may go back into service: they are emptied as surplus alone.

    Where somebody else drained a node too, in Slurm, that is not for us to lift.
    """
    if moment.snapshot is None or moment.tearing_down:
        return frozenset()
    surplus = {name for name, drain in drains_of(moment).items() if drain.cause is DrainCause.SURPLUS}
    kept = {node.name for node in moment.nodes.values() if node.draining and not is_ours(node.reason)}
    kept |= {name for name, machine in moment.machines.items() if moment.torn_down_by(machine)}
    kept |= _asked_back(moment)
    stuck = moment.failed | moment.leaving | moment.emptied | moment.blocking.keys()
    return moment.chosen & surplus - kept - stuck


def wishes_of(moment: Moment) -> Wishes:
    """Tell what is to be emptied, what is to be fenced, and what is ours to touch."""
    drains, known = fences_of(moment)
    is_whole = moment.snapshot is not None and moment.slice.all_read and not moment.slice.doubted
    fences = known if is_whole or not moment.settings.drain.fence else None
    unread = frozenset(n for n, machine in moment.machines.items() if machine.cm not in moment.read_back)
    takes_all = moment.settings.drain.foreign
    foreign = moment.foreign.keys() if takes_all else _left_drained(moment)
    unread |= {n for n in foreign if moment.foreign[n].cm not in moment.read_back}
    unread |= moment.unheard.keys()
    ours = frozenset(moment.machines) | foreign | (moment.unheard.keys() & drains.keys())
    unread |= _not_there_yet(moment)
    known = known if fences is None else {}
    return Wishes(drains, ours, fences, unread, moment.ahead, known, held_nodes(moment) - drains.keys())


def fences_of(moment: Moment) -> tuple[dict[str, Drain], dict[str, datetime]]:
    """Return the drains, put off where a fence does their work, and from when on nothing may run where."""
    drains, settings = drains_of(moment), moment.settings.drain
    if not settings.fence:
        return drains, {}
    fenced = {name for name in moment.joined if can_be_fenced(moment.nodes[name], moment.limited)}
    ends = {name: moment.slice.leases.get(moment.machines[name].cm) for name in fenced}
    leases = {name: end for name, end in ends.items() if end is not None}
    return with_fences(drains, fenced, leases, settings)


def _left_drained(moment: Moment) -> frozenset[str]:
    """Return the foreign nodes that stand drained since their machine was revoked: nobody else lifts that."""
    known = (moment.nodes[name] for name in moment.foreign.keys() & moment.nodes.keys())
    said = {node.name: parse_reason(node.name, node.reason) for node in known if node.draining}
    return frozenset(
        name
        for name, drain in said.items()
        if drain is not None
        and drain.cause in TAKEN_BACK
        and drain.is_meant_for(moment.foreign[name], moment.now)
    )


def _not_there_yet(moment: Moment) -> frozenset[str]:
    """Return the nodes that Slurm may not use yet, though what it says of them is about an earlier machine.

    One that is down is for the join to bring up.
    """
    return frozenset(
        name
        for name in moment.inherited
        if moment.nodes[name].state == "DOWN"
        or moment.machines[name].key not in moment.slice.ready
        or moment.is_of_another(name)
    )


def most_urgent(drains: Iterable[Drain]) -> dict[str, Drain]:
    """Choose one drain a node: a machine that is gone comes first, a revocation next, a surplus last.

    A revocation, and the end of a lease, take over an administrator's deadline, where that is the earlier.
    """
    rank = {cause: number for number, cause in enumerate(DrainCause)}
    chosen: dict[str, Drain] = {}
    for drain in sorted(drains, key=lambda d: rank[d.cause]):
        first = chosen.setdefault(drain.node, drain)
        if first is not drain and first.cause in TAKEN_BACK:
            due = min((d.deadline for d in (first, drain) if d.deadline is not None), default=None)
            unconfirmed = first.unconfirmed and due == first.deadline and not drain.leaves
            chosen[drain.node] = replace(first, deadline=due, seconded=True, unconfirmed=unconfirmed)
    return chosen


def _all(moment: Moment) -> Iterator[Drain]:
    machines = {**moment.foreign, **moment.unheard, **moment.machines}
    return (replace(drain, slivers=marks(machines[drain.node])) for drain in _unmarked(moment))


def _unmarked(moment: Moment) -> Iterator[Drain]:
    useless = moment.chosen | _asked_back(moment) | (moment.failed & moment.nodes.keys())
    for name, machine in moment.machines.items():
        if moment.slice.is_taken(machine):
            yield Drain(name, DrainCause.TAKEN)
        if (revocation := moment.slice.revocation_of(machine)) is not None:
            yield _revoked(name, revocation, moment)
        if (ending := moment.slice.ending_of(machine)) is not None:
            yield _with_its_lease(name, ending)
        if (torn := moment.torn_down_by(machine)) is not None:
            yield _teardown(name, torn, moment)
            continue
        if (wish := moment.wish_for(machine)) is not None:
            yield Drain(
                *(name, DrainCause.ADMIN, wish.deadline, wish.who, wish.reason, wish.give_back),
                takes_over=wish.takes_over,
                begun=wish.since,
            )
        if name in useless:
            yield Drain(name, DrainCause.SURPLUS, moment.blocking.get(name))
    for name, machine in moment.unheard.items():
        if machine.cm in moment.slice.over:
            yield Drain(name, DrainCause.TAKEN)
    others = {**(moment.foreign if moment.settings.drain.foreign else {}), **moment.unheard}
    for name, machine in others.items():
        if (revocation := moment.slice.revocation_of(machine)) is not None:
            yield replace(_revoked(name, revocation, moment), foreign=True)
        if (ending := moment.slice.ending_of(machine)) is not None:
            yield replace(_with_its_lease(name, ending), foreign=True)


def _revoked(name: str, revocation: Revocation, moment: Moment) -> Drain:
    due, begun = revocation.deadline, revocation.noticed
    silent = revocation.is_silent(moment.now, moment.settings.drain.notice_interval)
    return Drain(name, DrainCause.REVOKED, due, begun=begun, unconfirmed=silent)


def _with_its_lease(name: str, ending: Ending) -> Drain:
    due, back = ending.deadline, ending.gives_back
    return Drain(name, DrainCause.LEASE, due, give_back=back, begun=ending.begun)


def _asked_back(moment: Moment) -> set[str]:
    """Return the nodes whose CM was asked to take the machine back: it may do so at any time."""
    asked = {(intent.cm, intent.client_id) for intent in moment.slice.leaving}
    return {name for name, machine in moment.machines.items() if (machine.cm, machine.client_id) in asked}


def _teardown(name: str, wish: AdminDrain | CmTeardown, moment: Moment) -> Drain:
    """Empty a node as an administrator would, with the deadline; once it is empty it is surplus."""
    node, snapshot = moment.nodes.get(name), moment.snapshot
    if snapshot is None or snapshot.holds(name) or (node is not None and not node.drained):
        said = moment.wish_for(moment.machines[name])
        due = [each.deadline for each in (wish, said) if each and each.deadline is not None]
        why = CM_TEARDOWN if isinstance(wish, CmTeardown) else TEARDOWN
        return Drain(name, DrainCause.ADMIN, min(due, default=None), wish.who, why)
    return Drain(name, DrainCause.SURPLUS)
