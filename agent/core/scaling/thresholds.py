"""The manager's own decisions: how many machines to add, and which to give back, by thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core.desk import Desk
from agent.core.model import Place, Share, SliverNode
from agent.core.said import ResourceValue
from agent.core.scaling.choosing import wanted
from agent.core.slice.inventory import Inventory


@dataclass(frozen=True)
class GrowthPlan:
    """How many machines to ask for now."""

    count: int
    reason: str


def plan_growth(
    *,
    in_use: int,
    minthreshold: int,
    maxthreshold: int,
    percent_available_minimum: float,
    share: Share | None,
    count: int = 0,
    admitted: int | None = None,
) -> GrowthPlan:
    """Decide how many machines to add at one CM.

    Never more than ``maxthreshold`` over all CMs. Up to ``minthreshold`` whatever is free may be taken: that
    many the user insists on. Beyond it, only while the fraction of free machines at the CM stays at or above
    ``percent_available_minimum``, and not at all while that fraction is unknown.

    Args:
        in_use: machines held or asked for, over all CMs in use.
        minthreshold: machines to hold at least.
        maxthreshold: machines to hold at most.
        percent_available_minimum: fraction from 0 to 1 of the CM's machines that stay free.
        share: what is free at this CM; None where unknown.
        count: add exactly so many or none; 0 to add as many as allowed.
        admitted: how many more the CM gives, by what it refused; None where that is not limited.
    """
    room = maxthreshold - in_use
    if room <= 0:
        return GrowthPlan(0, f"{in_use} machines are in use, and {maxthreshold} is the most")
    need = max(minthreshold - in_use, 0)
    if share is None:
        allowed, why = need, "how many machines are free is not known"
    else:
        allowed = max(share.spare(percent_available_minimum), min(need, share.free), 0)
        why = f"{share.free} of {share.total} machines are free, and {percent_available_minimum:.0%} stay so"
    if admitted is not None and admitted < allowed:
        allowed, why = admitted, f"the CM gives {admitted} for now, by what it refused"
    most = min(room, allowed)
    if count and most < count:
        return GrowthPlan(0, f"{count} machines do not fit: {most} may be added, since {why}")
    if most <= 0:
        return GrowthPlan(0, f"no machine may be added: {why}")
    return GrowthPlan(
        count or most, f"{in_use} of {minthreshold} to {maxthreshold} machines are in use; {why}"
    )


@dataclass(frozen=True)
class Surplus:
    """Machines to give back."""

    client_ids: tuple[str, ...]
    reason: str


def plan_surplus(
    nodes: Sequence[SliverNode],
    *,
    in_use: int,
    minthreshold: int,
    maxthreshold: int,
    percent_available_minimum: float,
    share: Share | None,
    values: Mapping[Place, ResourceValue],
) -> Surplus:
    """Decide which machines of one CM to give back: beyond ``maxthreshold``, and what the CM runs short of.

    Never below ``minthreshold``. What Cloudlab wants most goes first.

    Args:
        nodes: the machines at this CM.
        in_use: machines held or asked for, over all CMs in use.
        minthreshold: machines to hold at least.
        maxthreshold: machines to hold at most.
        percent_available_minimum: fraction from 0 to 1 of the CM's machines that stay free.
        share: what is free at this CM; None where unknown, which gives nothing back for it.
        values: place -> resource value.
    """
    beyond = in_use - maxthreshold
    short = -share.spare(percent_available_minimum) if share is not None else 0
    count = min(max(beyond, short, 0), max(in_use - minthreshold, 0), len(nodes))
    if count == 0:
        return Surplus((), "no machine is to be given back")
    if beyond >= short:
        reason = f"{in_use} machines are in use, and {maxthreshold} is the most"
    else:
        assert share is not None
        reason = f"only {share.free} of {share.total} machines are free, not {percent_available_minimum:.0%}"

    chosen = sorted(nodes, key=lambda n: (-wanted(n, values), n.client_id))[:count]
    return Surplus(tuple(n.client_id for n in chosen), reason)


class Decider(Protocol):
    """What the manager gives: its limits, which may change at any time, and what Cloudlab wants."""

    minthreshold: int
    maxthreshold: int
    percent_available_minimum: float
    resource_values: dict[Place, ResourceValue]


class Thresholds:
    """Asks ``plan_growth`` and ``plan_surplus`` about the present state, and notes their reasons.

    Args:
        desk: the manager's.
        decider: the manager.
        inventory: the machines.
        share: counts the free machines of our type at a CM; None while unknown.
        admitted: counts how many more of it a CM gives, by what it refused; None for any number.
    """

    def __init__(
        self,
        desk: Desk,
        decider: Decider,
        inventory: Inventory,
        share: Callable[[str], Share | None],
        admitted: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._desk = desk
        self._decider = decider
        self._inventory = inventory
        self._share = share
        self._admitted = admitted

    def growth(self, cms: Iterable[str], where: str, count: int = 0) -> int:
        """Return how many machines may be added at that of these CMs which can give most."""
        best = max((self._plan(cm, count) for cm in cms), key=lambda plan: plan.count)
        self._desk.note(f"{where}: {best.reason}")
        return best.count

    def surplus(self, cms: Iterable[str]) -> list[str]:
        """Return the client_ids of the machines to give back."""
        decider = self._decider
        chosen: list[str] = []
        for cm in cms:
            surplus = plan_surplus(
                self._inventory.held(cm),
                in_use=self._inventory.count() - len(chosen),
                minthreshold=decider.minthreshold,
                maxthreshold=decider.maxthreshold,
                percent_available_minimum=decider.percent_available_minimum,
                share=self._share(cm),
                values=decider.resource_values,
            )
            self._desk.note(f"{cm}: {surplus.reason}")
            chosen += surplus.client_ids
        return chosen

    def _plan(self, cm: str, count: int) -> GrowthPlan:
        return plan_growth(
            in_use=self._inventory.count(),
            minthreshold=self._decider.minthreshold,
            maxthreshold=self._decider.maxthreshold,
            percent_available_minimum=self._decider.percent_available_minimum,
            share=self._share(cm),
            count=count,
            admitted=self._admitted(cm),
        )
