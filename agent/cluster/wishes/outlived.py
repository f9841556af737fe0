"""Which wishes of administrators are over, since their machine is gone: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from agent.cluster.moment import Moment
from agent.cluster.reasons import CM_TEARDOWN, TEARDOWN, DrainCause, parse_reason
from agent.core.model import AdminDrain, CmTeardown, SliverNode
from agent.core.slice.facts import SliceFacts


@dataclass(frozen=True)
class WishPlan:
    """What becomes of what was said."""

    over: tuple[tuple[AdminDrain, str], ...] = ()
    """Those that are struck, and why."""
    found: tuple[tuple[AdminDrain, tuple[SliverNode, ...]], ...] = ()
    """Those of an older agent, which did not write down the CM, and the machines that they are for."""
    settled: tuple[AdminDrain, ...] = ()
    """Those that were lifted, and of which Slurm shows nothing any more."""


def plan_wishes(moment: Moment, lifted: Collection[AdminDrain]) -> WishPlan:
    """Decide which wishes are over, which are bound to machines, and which need not be remembered.

    A wish outlives its machine where the agent did not run, or did not hear the CM, as that went, and where
    the CM left agent.conf. It stays while its CM is silent, and while its machine is in doubt.

    Args:
        moment: what is known, with the wishes in force.
        lifted: the wishes that were struck.
    """
    over, found = [], []
    for wish in moment.admin.values():
        if machines := _bound_to(wish, moment.slice):
            found.append((wish, machines))
        elif why := _why_over(wish, moment):
            over.append((wish, why))
    settled = [drain for drain in lifted if _is_settled(drain, moment)]
    return WishPlan(tuple(over), tuple(found), tuple(settled))


def settled_teardowns(moment: Moment, lifted: Collection[CmTeardown]) -> tuple[CmTeardown, ...]:
    """Decide which lifted teardowns of one CM need not be remembered: no later run would take them up.

    Args:
        moment: what is known.
        lifted: the teardowns that were struck.
    """
    if moment.snapshot is None:
        return ()
    shown = {machine.cm for machine, why in _said_in_slurm(moment) if why == CM_TEARDOWN}
    return tuple(wish for wish in lifted if _is_heard(wish.cm, moment) and wish.cm not in shown)


def _bound_to(wish: AdminDrain, facts: SliceFacts) -> tuple[SliverNode, ...]:
    """Return the machines that a wish without a CM is for; none while they are not all known."""
    if wish.cm or not (wish.sliver_id or facts.all_read):
        return ()
    return tuple(machine for machine in facts.machines if wish.means(machine))


def _why_over(wish: AdminDrain, moment: Moment) -> str:
    """Say why a wish is over; "" where it may still be for a machine."""
    facts = moment.slice
    there = [machine for machine in (*facts.machines, *facts.foreign) if machine.node_id == wish.node_id]
    if any(map(wish.means, there)):
        return ""
    if any(machine.cm == wish.cm for machine in there):
        return "it was for an earlier machine of this name"
    return "its machine is gone" if _is_gone(wish, moment) else ""


def _is_gone(wish: AdminDrain, moment: Moment) -> bool:
    """Tell whether the machine that was meant is known to be gone."""
    if wish.cm:
        return _is_heard(wish.cm, moment) and (wish.cm, wish.client_id) not in moment.may_be_there
    # An older agent did not write down where it is, nor its client_id.
    return moment.slice.all_read and not moment.slice.unseen


def _is_heard(cm: str, moment: Moment) -> bool:
    """Tell whether all that a CM holds is known; one that is not in use any more holds what may be there."""
    return cm in moment.slice.read or moment.slice.all_read


def _is_settled(drain: AdminDrain, moment: Moment) -> bool:
    """Tell whether no later run would take up a lifted wish from Slurm."""
    if moment.snapshot is None:
        return False
    if not drain.node_id:
        return moment.slice.all_read and not any(why == TEARDOWN for _, why in _said_in_slurm(moment))
    meant = any(drain.means(machine) for machine in moment.machines.values())
    shown = any(drain.means(machine) and why != TEARDOWN for machine, why in _said_in_slurm(moment))
    return not shown if meant else _is_gone(drain, moment)


def _said_in_slurm(moment: Moment) -> Iterator[tuple[SliverNode, str]]:
    """Yield our machines that stand drained in Slurm on an administrator's word, and the words."""
    for name in moment.joined:
        node = moment.nodes[name]
        said = parse_reason(name, node.reason) if node.draining else None
        if said is not None and said.cause is DrainCause.ADMIN:
            yield moment.machines[name], said.why
