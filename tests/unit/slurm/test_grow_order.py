"""An administrator's wish for more machines is held until it is fulfilled, struck, or its time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.slurm.drain_settings import DrainSettings
from agent.slurm.grow_order import GrowOrder, GrowOrders
from agent.slurm.join import JoinSettings
from agent.slurm.policy import SlurmPolicy
from agent.slurm.supply import DemandSettings
from agent.slurm.weights import WeightSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORDER = GrowOrder(3, "ada", NOW + timedelta(hours=1))
POLICY = SlurmPolicy(DemandSettings(max_nodes=5), WeightSettings(), DrainSettings(), JoinSettings())


def test_no_machine_is_surplus_while_more_are_wished_for() -> None:
    orders = GrowOrders(lambda _: None)
    orders.put(ORDER)
    assert orders.applied_to(POLICY).demand.min_nodes == 3
    orders.strike("ada")
    assert orders.applied_to(POLICY) is POLICY
