"""Which machines go before their site counts half of the slice as idle, and which settings forbid that."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.moment import History
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.shrink.idle_limit import too_idle, what_breaks_it
from agent.cluster.shrink.surplus import plan_surplus
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment, settings_with
from tests.unit.cluster.shrink.test_surplus import queue

HOUR = 3600
DEMAND = DemandSettings(idle_limit="2h", min_nodes=9, max_nodes=99)


def a_slice(idle, *, at=(UTAH,), demand=DEMAND, **more):
    """Machines pc1, pc2, ... that are idle for so many hours each, None for busy; in turn at these CMs."""
    machines = [a_machine(n, cm=at[n % len(at)]) for n in range(1, len(idle) + 1)]
    nodes = [
        Node(f"pc{n}", "ALLOCATED" if hours is None else "IDLE", partitions=("main",))
        for n, hours in enumerate(idle, 1)
    ]
    since = {f"pc{n}": NOW - timedelta(hours=h) for n, h in enumerate(idle, 1) if h is not None}
    joined = {f"pc{n}": NOW - timedelta(days=9) for n in range(1, len(idle) + 1)}
    settings = settings_with(demand, partitions=("main",))
    return a_moment(*nodes, machines=machines, settings=settings, history=History(since, joined), **more)


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        ([3], {"pc1"}),
        ([1], set()),
        ([None, 3], {"pc2"}),
        ([None, None, 3], set()),
        ([3, 4, 5], {"pc1", "pc2", "pc3"}),
        ([3, 4, None, None], {"pc2"}),
        ([3, 4, 1, None, None], set()),
    ],
)
def test_as_many_go_as_leave_fewer_than_half_idle_the_longest_idle_first(idle, expected):
    moment = a_slice(idle)
    names = [name for name in moment.machines if idle[int(name[2:]) - 1] is not None]
    assert too_idle(moment, names).keys() == expected


def test_each_cm_is_counted_by_itself():
    # pc2 and pc4 are at one CM, pc1 and pc3 at the other.
    moment = a_slice([3, None, None, None], at=(UTAH, WISC))
    assert too_idle(moment, ["pc1"]).keys() == {"pc1"}


def test_machines_of_others_in_the_slice_count_for_the_site():
    moment = a_slice([3], facts={"foreign": (a_machine(7), a_machine(8))})
    assert too_idle(moment, ["pc1"]) == {}


@pytest.mark.parametrize("limit", [0, "5h"])
def test_it_can_be_switched_off_or_be_later(limit):
    moment = a_slice([3], demand=DemandSettings(idle_limit=limit))
    assert too_idle(moment, ["pc1"]) == {}


def test_min_nodes_keep_no_machine_beyond_it_and_a_name_does():
    moment = a_slice([3, 4])
    verdicts = {v.name: (v.goes, v.why) for v in plan_surplus(moment, queue(moment))}
    assert verdicts["pc2"] == (True, "idle for 4h, idle_limit is 2h: its site would object")
    assert [goes for goes, _ in verdicts.values()] == [True, True]
    named = Job("1", "PENDING", reason="Dependency", requested_nodes=frozenset({"pc1", "pc2"}))
    moment = a_slice([3, 4], jobs=[named])
    assert not any(v.goes for v in plan_surplus(moment, queue(moment)))
    reserved = (Reservation("lesson", frozenset({"pc1", "pc2"}), NOW, NOW + timedelta(days=1)),)
    moment = a_slice([3, 4], reservations=reserved)
    assert not any(v.goes for v in plan_surplus(moment, queue(moment)))


@given(st.lists(st.one_of(st.none(), st.floats(0, 9)), min_size=1, max_size=12))
def test_what_is_left_is_less_than_half_idle(idle):
    moment = a_slice(idle)
    names = [f"pc{n}" for n, hours in enumerate(idle, 1) if hours is not None]
    left = dict(zip(moment.machines, idle, strict=True))
    for name in too_idle(moment, names):
        del left[name]
    long = sum(hours is not None and hours >= 2 for hours in left.values())
    assert 2 * long < len(left) or not left


@pytest.mark.parametrize(
    ("demand", "join", "expected"),
    [
        ({}, {}, []),
        ({"min_nodes": 2}, {}, []),
        ({"min_nodes": 2, "idle_limit": 0}, {}, ["[demand] min_nodes is 2, and idle_limit is 0s"]),
        (
            {"idle_timeout": "4h", "idle_limit": "5h"},
            {},
            ["[demand] idle_timeout is 4h, and idle_limit is 5h"],
        ),
        ({"idle_limit": 0}, {"keep_failed": "1d"}, ["[join] keep_failed is 1d"]),
    ],
)
def test_settings_that_would_break_the_sites_rule_are_told(demand, join, expected):
    assert (
        list(what_breaks_it(settings_with(DemandSettings(**demand), join=JoinSettings(**join)))) == expected
    )
