"""How many machines to add and which to give back, by example and by property."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import Share, SliverNode
from agent.core.said import ResourceValue
from agent.core.scaling.thresholds import Thresholds, plan_growth, plan_surplus

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
        ({"in_use": 9}, 1),
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "0 of 1 to 10 machines are in use; 10 of 10 machines are free, and 50% stay so"),
        ({"in_use": 10}, "10 machines are in use, and 10 is the most"),
        (
            {"in_use": 6, "share": Share(5, 10)},
            "no machine may be added: 5 of 10 machines are free, and 50% stay so",
        ),
        ({"in_use": 6, "share": None}, "no machine may be added: how many machines are free is not known"),
        (
            {"in_use": 6, "share": None, "count": 2},
            "2 machines do not fit: 0 may be added, since how many machines are free is not known",
        ),
    ],
)
def test_growth_says_why(arguments, reason):
    assert grow(**arguments).reason == reason


def test_growth_adds_as_many_as_allowed_unless_it_is_told_how_many():
    plan = plan_growth(
        in_use=0, minthreshold=1, maxthreshold=10, percent_available_minimum=0.5, share=ALL_FREE
    )
    assert plan.count == 5


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


VALUES = {("", f"pc{n}"): ResourceValue(f"pc{n}", v, NOON) for n, v in [(1, 0.2), (2, 0.9), (3, 0.5)]}


def shrink(nodes, in_use=None, least=1, most=10, percent=0.5, share=ALL_FREE, values=VALUES):
    return plan_surplus(
        nodes,
        in_use=len(nodes) if in_use is None else in_use,
        minthreshold=least,
        maxthreshold=most,
        percent_available_minimum=percent,
        share=share,
        values=values,
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "no machine is to be given back"),
        ({"most": 3}, "4 machines are in use, and 3 is the most"),
        ({"share": Share(4, 10)}, "only 4 of 10 machines are free, not 50%"),
        ({"most": 3, "share": Share(4, 10)}, "4 machines are in use, and 3 is the most"),
    ],
)
def test_surplus_says_why(arguments, reason):
    assert shrink(NODES, **arguments).reason == reason


def test_a_machine_that_cloudlab_says_nothing_of_is_wanted_as_little_as_one_of_value_0():
    values = {("", "pc4"): ResourceValue("pc4", 0.0, NOON)}
    assert shrink(NODES, most=3, values=values).client_ids == ("node-1",)
    assert shrink(NODES[::-1], most=0, values=values).client_ids == ("node-1", "node-2", "node-3")


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


# --- about the present


ONE, TWO = "urn:one", "urn:two"


class FakeManager:
    """Two CMs with two machines each; the inventory too."""

    def __init__(self):
        self.minthreshold, self.maxthreshold = 1, 10
        self.percent_available_minimum = 0.5
        self.resource_values = {("", "pc1b"): ResourceValue("pc1b", 0.9, NOON)}
        self.shares = {ONE: Share(6, 10), TWO: Share(9, 10)}
        self.machines = {
            ONE: [SliverNode("a", "pc1a", ONE, "s1"), SliverNode("b", "pc1b", ONE, "s2")],
            TWO: [SliverNode("c", "pc2c", TWO, "s3"), SliverNode("d", "pc2d", TWO, "s4")],
        }

    def count(self):
        return 4

    def held(self, cm):
        return self.machines[cm]


@pytest.fixture
def manager():
    return FakeManager()


@pytest.fixture
def thresholds(office, manager):
    return Thresholds(office.desk, manager, manager, manager.shares.get)


def test_growth_is_that_of_the_cm_which_can_give_most(office, manager, thresholds):
    assert thresholds.growth([ONE, TWO], "anywhere") == 4
    assert office.notes == [
        "anywhere: 4 of 1 to 10 machines are in use; 9 of 10 machines are free, and 50% stay so"
    ]
    assert thresholds.growth([ONE], "at one") == 1


def test_growth_adds_exactly_so_many_or_none(office, manager, thresholds):
    assert thresholds.growth([ONE, TWO], "anywhere", 3) == 3
    assert thresholds.growth([ONE, TWO], "anywhere", 5) == 0


def test_growth_keeps_to_the_limits_as_they_are_now(office, manager, thresholds):
    manager.maxthreshold = 5
    assert thresholds.growth([ONE, TWO], "anywhere") == 1
    manager.minthreshold, manager.maxthreshold, manager.shares[ONE] = 6, 10, None
    assert thresholds.growth([ONE], "at one") == 2
    manager.percent_available_minimum = 0.8
    assert thresholds.growth([TWO], "at two") == 2
    manager.percent_available_minimum = 1.0
    manager.minthreshold = 1
    assert thresholds.growth([TWO], "at two") == 0


def test_what_goes_at_one_cm_is_not_asked_of_the_next(office, manager, thresholds):
    manager.maxthreshold = 3
    assert thresholds.surplus([ONE, TWO]) == ["b"]
    assert office.notes == [
        f"{ONE}: 4 machines are in use, and 3 is the most",
        f"{TWO}: no machine is to be given back",
    ]
    assert thresholds.surplus([TWO, ONE]) == ["c"]
    manager.maxthreshold = 1
    assert thresholds.surplus([ONE, TWO]) == ["b", "a", "c"]


def test_surplus_keeps_to_the_limits_as_they_are_now(office, manager, thresholds):
    assert thresholds.surplus([ONE, TWO]) == []
    manager.shares[TWO] = Share(4, 10)
    assert thresholds.surplus([ONE, TWO]) == ["c"]
    manager.percent_available_minimum = 0.7
    assert thresholds.surplus([ONE]) == ["b"]
    manager.minthreshold = 4
    assert thresholds.surplus([ONE, TWO]) == []
