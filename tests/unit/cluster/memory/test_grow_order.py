"""An administrator's wish for more machines is held until it is fulfilled, struck, or its time is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.memory.grow_order import GrowOrders, in_service
from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.errors import LedgerError
from agent.core.model import GrowOrder, SliverNode
from agent.ledger import Ledger
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORDER = GrowOrder(3, "ada", NOW + timedelta(hours=1))
POLICY = ClusterSettings(DemandSettings(max_nodes=5), WeightSettings(), DrainSettings(), JoinSettings())


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with closing(Ledger(":memory:")) as ledger:
        yield ledger


@pytest.fixture
def told() -> list[str]:
    return []


def begin(ledger: Ledger, told: list[str]) -> GrowOrders:
    """Make one that knows what the ledger does."""
    return GrowOrders(ledger, told.append)


def test_no_machine_is_surplus_while_more_are_wished_for(ledger: Ledger, told: list[str]) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    assert orders.applied_to(POLICY).demand.min_nodes == 3
    orders.strike("ada")
    assert orders.applied_to(POLICY) is POLICY


def test_the_newest_wish_outlasts_a_restart(ledger: Ledger, told: list[str]) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    orders.put(replace(ORDER, machines=4, who="bob"))
    assert begin(ledger, told).order == replace(ORDER, machines=4, who="bob")


def test_a_wish_that_was_struck_stays_struck_after_a_restart(ledger: Ledger, told: list[str]) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    assert orders.strike("bob")
    assert begin(ledger, told).order is None
    assert not orders.strike("bob")
    assert told == ["ada wants 3 machines in service", "bob wants no more machines than the queue does"]


@pytest.mark.parametrize(
    ("in_service", "now", "why"),
    [
        (3, NOW, "is fulfilled: 3 of 3 machines are in service"),
        (2, ORDER.until, "ends: its time is over: 2 of 3 machines are in service"),
    ],
)
def test_a_wish_that_ends_while_the_agent_is_down_ends_at_its_next_look(
    ledger: Ledger, told: list[str], in_service: int, now: datetime, why: str
) -> None:
    begin(ledger, told).put(ORDER)
    orders = begin(ledger, told)
    orders.observe(2, NOW)
    assert orders.order == ORDER
    orders.observe(in_service, now)
    assert (orders.order, ledger.grow_order()) == (None, None)
    assert told[1:] == [f"the wish of ada {why}"]


class Full:
    """A ledger on a disk that is full."""

    def grow_order(self) -> GrowOrder:
        return ORDER

    def put_grow_order(self, _order: GrowOrder) -> None:
        raise LedgerError("full")

    def remove_grow_order(self) -> None:
        raise LedgerError("full")


def test_a_wish_that_cannot_be_written_down_is_not_taken_and_one_that_ends_has_ended(
    told: list[str],
) -> None:
    orders = GrowOrders(Full(), told.append)
    with pytest.raises(LedgerError):
        orders.put(replace(ORDER, machines=4))
    with pytest.raises(LedgerError):
        orders.strike("ada")
    assert orders.order == ORDER
    with pytest.raises(LedgerError):
        orders.observe(3, NOW)
    assert orders.order is None


def test_a_machine_that_is_drained_does_not_keep_a_wish_open() -> None:
    machines = {n: SliverNode(n, f"pc-{n}", "urn:cm", f"urn:{n}", "", "", "", "") for n in "abcd"}
    nodes = (Node("a", "IDLE"), Node("b", "MIXED", frozenset({"DRAIN"})), Node("c", "DOWN"))
    snapshot = Snapshot(NOW, {node.name: node for node in nodes}, ())
    assert in_service(Picture(snapshot, machines, leaving=frozenset({"b"}))) == 2
