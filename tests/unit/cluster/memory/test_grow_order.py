"""An administrator's wish for more machines is held until it is fulfilled, struck, or its time is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.cluster.memory.grow_order import GrowOrders
from agent.cluster.settings.demand import DemandSettings
from agent.core.errors import LedgerError
from agent.core.model import GrowOrder
from agent.ledger.ledger import Ledger
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, Events, a_desk, a_machine, a_moment, settings_with

ORDER = GrowOrder(3, "ada", NOW + timedelta(hours=1))
SETTINGS = settings_with(demand=DemandSettings(max_nodes=5))


@pytest.fixture
def told() -> Events:
    return Events()


def begin(ledger: Ledger, told: Events) -> GrowOrders:
    """Make one that knows what the ledger does."""
    return GrowOrders(a_desk(events=told), ledger)


def about(told: Events) -> list[str]:
    """What each event concerns: "" for the whole slice."""
    return [event.subject for event in told]


def test_no_machine_is_surplus_while_more_are_wished_for(ledger: Ledger, told: Events) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    assert orders.applied_to(SETTINGS, NOW).demand.min_nodes == 3
    orders.strike("ada")
    assert orders.applied_to(SETTINGS, NOW) is SETTINGS


def test_the_newest_wish_outlasts_a_restart(ledger: Ledger, told: Events) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    orders.put(replace(ORDER, machines=4, who="bob"))
    assert begin(ledger, told).order == replace(ORDER, machines=4, who="bob")


def test_a_wish_that_was_struck_stays_struck_after_a_restart(ledger: Ledger, told: Events) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    assert orders.strike("bob")
    assert begin(ledger, told).order is None
    assert told.words == ["ada wants 3 machines in service", "bob wants no more machines than the queue does"]
    assert not orders.strike("bob")
    assert about(told) == ["", ""], "what is not there is not struck"


@pytest.mark.parametrize(
    ("in_service", "now", "why"),
    [
        (3, NOW, "is fulfilled: 3 of 3 machines are in service"),
        (2, ORDER.until, "ends: its time is over: 2 of 3 machines are in service"),
    ],
)
def test_a_wish_that_ends_while_the_agent_is_down_ends_at_its_next_look(
    ledger: Ledger, told: Events, in_service: int, now: datetime, why: str
) -> None:
    begin(ledger, told).put(ORDER)
    orders = begin(ledger, told)
    orders.observe(2, NOW)
    assert orders.order == ORDER
    orders.observe(in_service, now)
    assert (orders.order, ledger.grow_order()) == (None, None)
    assert told.words[1:] == [f"the wish of ada {why}"]
    assert about(told) == ["", ""]


def test_where_nothing_is_wished_for_nothing_ends(ledger: Ledger, told: Events) -> None:
    begin(ledger, told).observe(3, NOW)
    assert told == []


class Full:
    """A ledger on a disk that is full."""

    def grow_order(self) -> GrowOrder:
        return ORDER

    def put_grow_order(self, _order: GrowOrder) -> None:
        raise LedgerError("full")

    def remove_grow_order(self) -> None:
        raise LedgerError("full")


def test_a_wish_that_cannot_be_written_down_is_not_taken_and_one_that_cannot_be_struck_ends_later() -> None:
    orders = GrowOrders(a_desk(), Full())
    with pytest.raises(LedgerError):
        orders.put(replace(ORDER, machines=4))
    with pytest.raises(LedgerError):
        orders.strike("ada")
    assert orders.order == ORDER
    orders.observe(3, NOW)
    assert orders.order == ORDER, "a restart would find it too"
    assert orders.applied_to(SETTINGS, ORDER.until) is SETTINGS, "its time is over all the same"


def test_a_machine_that_is_drained_does_not_keep_a_wish_open() -> None:
    machines = [a_machine(n) for n in (1, 2, 3, 4)]
    nodes = (Node("pc1", "IDLE"), Node("pc2", "MIXED", frozenset({"DRAIN"})), Node("pc3", "DOWN"))
    assert a_moment(*nodes, machines=machines).in_service == 2


@pytest.mark.parametrize(("max_nodes", "min_nodes", "least"), [(5, 0, 3), (2, 0, 2), (5, 4, 4)])
def test_a_wish_raises_min_nodes_no_further_than_max_nodes(
    ledger: Ledger, told: Events, max_nodes: int, min_nodes: int, least: int
) -> None:
    orders = begin(ledger, told)
    orders.put(ORDER)
    settings = settings_with(demand=DemandSettings(max_nodes=max_nodes, min_nodes=min_nodes))
    assert orders.applied_to(settings, NOW).demand.min_nodes == least
