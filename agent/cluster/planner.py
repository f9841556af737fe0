"""Plans growth and surplus from cycle to cycle: remembers since when things are as they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from agent.cluster.grow.by_name import grow_by_name
from agent.cluster.grow.demand import GrowthPlan, plan_growth, still_waiting
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.power.power import power_surplus
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.shrink.surplus import History, NodeVerdict, look_back, plan_surplus
from agent.slurm.model import Reservation, Snapshot


class Grower:
    """Asks ``plan_growth`` and ``plan_surplus``. Thread-safe.

    Args:
        settings: asked at every plan, so that a reload takes effect.
    """

    def __init__(self, settings: Callable[[], ClusterSettings]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._waiting: Mapping[str, datetime] | None = None
        self._history: History | None = None
        self._last: tuple[Snapshot, Supply, ClusterSettings, GrowthPlan] | None = None

    def observe(self, snapshot: Snapshot, joined: Collection[str]) -> None:
        """Take in a reading of Slurm; every reading once, in order."""
        settings = self._settings()
        with self._lock:
            self._waiting = still_waiting(snapshot, self._waiting, settings.demand, settings.partitions)
            self._history = look_back(snapshot, self._history, joined)

    def growth(self, snapshot: Snapshot, supply: Supply) -> GrowthPlan:
        """Plan growth; asked again for the same, it answers from memory."""
        settings = self._settings()
        with self._lock:
            waiting, last = self._waiting, self._last
        if last is not None and last[0] is snapshot and last[1:3] == (supply, settings):
            return last[3]
        if supply.lacking is not None:
            plan = grow_by_name(supply, settings.demand)
        else:
            plan = plan_growth(
                snapshot,
                supply=supply,
                waiting_since=waiting or {},
                settings=settings.demand,
                partitions=settings.partitions,
            )
        with self._lock:
            self._last = (snapshot, supply, settings, plan)
        return plan

    def surplus(
        self,
        picture: Picture,
        growth: GrowthPlan,
        values: Mapping[str, float],
        now: datetime,
        reservations: Iterable[Reservation] = (),
    ) -> tuple[NodeVerdict, ...]:
        """Plan surplus."""
        if power_names := self._settings().join.power_names:
            return power_surplus(picture, power_names)
        with self._lock:
            history = self._history or History({}, {})
        return plan_surplus(
            picture.snapshot,
            ours=picture.serving,
            history=history,
            values=values,
            growth=growth,
            settings=self._settings().demand,
            now=now,
            reservations=reservations,
        )
