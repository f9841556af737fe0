"""How many machines to add and which to give back, by example and by property."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import ResourceValue, Share, SliverNode
from agent.core.scaling.thresholds import plan_growth, plan_surplus

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
ALL_FREE = Share(10, 10)


def grow(in_use=0, least=1, most=10, percent=0.5, share=ALL_FREE, count=0):
    return plan_growth(
        in_use=in_use,
        minthreshold=least,
        maxthreshold=most,
        percent_available_minimum=percent,
        share=share,
        count=count,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 5),
        ({"percent": 0.0}, 10),
        ({"percent": 1.0}, 1),
        ({"percent": 1.0, "in_use": 1}, 0),
        ({"in_use": 8}, 2),
        ({"in_use": 10}, 0),
        ({"in_use": 12}, 0),
        ({"share": None}, 1),
        ({"share": None, "in_use": 1}, 0),
        ({"share": Share(2, 10)}, 1),
        ({"share": Share(0, 10), "least": 3}, 0),
        ({"share": Share(2, 10), "least": 3}, 2),
        ({"share": Share(0, 0)}, 0),
        ({"count": 5}, 5),
        ({"count": 3}, 3),
        ({"count": 6}, 0),
    ],
)
def test_growth_by_example(arguments, expected):
    plan = grow(**arguments)
    assert plan.count == expected
    assert plan.reason


COUNTS = st.integers(0, 30)
SHARES = st.none() | st.tuples(COUNTS, COUNTS).map(lambda t: Share(min(t), max(t)))


@given(in_use=COUNTS, least=COUNTS, most=COUNTS, percent=st.floats(0, 1), share=SHARES, count=COUNTS)
def test_growth_keeps_to_every_limit(in_use, least, most, percent, share, count):
    added = grow(in_use, least, most, percent, share, count).count
    assert added >= 0
    assert in_use + added <= max(most, in_use)
    assert added in {0, count} or not count
    if in_use + added > least and added:
        assert share is not None
        left_by_need = max(least - in_use, 0)
        assert (share.free - added) >= percent * share.total - 1e-6 or added <= left_by_need


def node(number):
    return SliverNode(f"node-{number}", f"pc{number}", CM, f"s{number}")


VALUES = {f"pc{n}": ResourceValue(f"pc{n}", v, NOON) for n, v in [(1, 0.2), (2, 0.9), (3, 0.5)]}


def shrink(nodes, in_use=None, least=1, most=10, percent=0.5, share=ALL_FREE):
    return plan_surplus(
        nodes,
        in_use=len(nodes) if in_use is None else in_use,
        minthreshold=least,
        maxthreshold=most,
        percent_available_minimum=percent,
        share=share,
        values=VALUES,
    )


NODES = [node(n) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ()),
        ({"share": None}, ()),
        ({"most": 3}, ("node-2",)),
        ({"most": 2}, ("node-2", "node-3")),
        ({"share": Share(4, 10)}, ("node-2",)),
        ({"share": Share(0, 10)}, ("node-2", "node-3", "node-1")),
        ({"share": Share(0, 10), "least": 4}, ()),
        ({"share": Share(0, 10), "in_use": 9}, ("node-2", "node-3", "node-1", "node-4")),
    ],
)
def test_surplus_by_example(arguments, expected):
    surplus = shrink(NODES, **arguments)
    assert surplus.client_ids == expected
    assert surplus.reason


@given(held=st.integers(0, 4), least=COUNTS, most=COUNTS, percent=st.floats(0, 1), share=SHARES)
def test_surplus_never_goes_below_the_least(held, least, most, percent, share):
    surplus = shrink(NODES[:held], least=least, most=most, percent=percent, share=share)
    assert held - len(surplus.client_ids) >= min(least, held)
    assert set(surplus.client_ids) <= {n.client_id for n in NODES[:held]}


@given(
    held=st.integers(0, 4),
    least=st.integers(0, 4),
    more=st.integers(0, 4),
    percent=st.floats(0, 1),
    total=st.integers(4, 40),
    free=st.integers(0, 40),
)
def test_giving_back_and_asking_again_do_not_alternate(held, least, more, percent, total, free):
    free = min(free, total - held)
    most = least + more
    gone = len(
        shrink(NODES[:held], least=least, most=most, percent=percent, share=Share(free, total)).client_ids
    )
    if gone:
        assert grow(held - gone, least, most, percent, Share(free + gone, total)).count == 0
