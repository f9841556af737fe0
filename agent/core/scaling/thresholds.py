"""The manager's own decisions: how many machines to add, and which to give back, by thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from agent.core.model import ResourceValue, SliverNode
from agent.core.policy import GrowthPlan, Share, plan_growth, plan_surplus


class Decider(Protocol):
    """What the manager gives: its limits, which may change at any time, and what it knows."""

    minthreshold: int
    maxthreshold: int
    percent_available_minimum: float
    resource_values: dict[str, ResourceValue]

    def in_use(self) -> int:
        """Count the machines held or asked for."""

    def held(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines in the last manifests."""

    def share(self, cm: str) -> Share | None:
        """Count the free machines of our type."""

    def note(self, text: str) -> None:
        """Add to what this step decided."""


class Thresholds:
    """Asks ``plan_growth`` and ``plan_surplus`` about the present state, and notes their reasons."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    def growth(self, cms: Iterable[str], where: str, count: int = 0) -> int:
        """Return how many machines may be added at that of these CMs which can give most."""
        best = max((self._plan(cm, count) for cm in cms), key=lambda plan: plan.count)
        self._decider.note(f"{where}: {best.reason}")
        return best.count

    def surplus(self, cms: Iterable[str]) -> list[str]:
        """Return the client_ids of the machines to give back."""
        decider = self._decider
        chosen: list[str] = []
        for cm in cms:
            surplus = plan_surplus(
                decider.held(cm),
                in_use=decider.in_use() - len(chosen),
                minthreshold=decider.minthreshold,
                maxthreshold=decider.maxthreshold,
                percent_available_minimum=decider.percent_available_minimum,
                share=decider.share(cm),
                values=decider.resource_values,
            )
            decider.note(f"{cm}: {surplus.reason}")
            chosen += surplus.client_ids
        return chosen

    def _plan(self, cm: str, count: int) -> GrowthPlan:
        return plan_growth(
            in_use=self._decider.in_use(),
            minthreshold=self._decider.minthreshold,
            maxthreshold=self._decider.maxthreshold,
            percent_available_minimum=self._decider.percent_available_minimum,
            share=self._decider.share(cm),
            count=count,
        )
