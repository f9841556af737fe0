"""Which free machines are asked for first."""

from datetime import UTC, datetime

import pytest

from agent.core.model import AdvertisedNode
from agent.core.said import ResourceValue
from agent.core.scaling.choosing import choose_machines

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
VALUES = {("", f"pc{n}"): ResourceValue(f"pc{n}", v, NOON) for n, v in [(1, 0.2), (2, 0.9), (3, 0.5)]}


def advertised(number, *types, available=True):
    return AdvertisedNode(f"pc{number}", CM, ("pc", *types), available)


FREE = [advertised(1, "a"), advertised(2, "a"), advertised(3, "b"), advertised(4, "b", available=False)]


@pytest.mark.parametrize(
    ("nodetype", "avoid", "expected"),
    [
        (None, (), ("pc1", "pc3", "pc2")),
        ("a", (), ("pc1", "pc2")),
        (None, ("a",), ("pc3",)),
        ("a", ("a",), ()),
        ("c", (), ()),
    ],
)
def test_machines_of_a_type_are_chosen_least_wanted_first(nodetype, avoid, expected):
    chosen = choose_machines(FREE, 9, nodetype=nodetype, avoid_types=avoid, values=VALUES)
    assert chosen == expected
    assert choose_machines(FREE, 1, nodetype=nodetype, avoid_types=avoid, values=VALUES) == expected[:1]


@pytest.mark.parametrize("told", ["pc1", "pc2"])
def test_a_machine_that_cloudlab_says_nothing_of_is_wanted_as_little_as_one_of_value_0(told):
    values = {("", told): ResourceValue(told, 0.0, NOON)}
    chosen = choose_machines(FREE, 9, nodetype="a", avoid_types=(), values=values)
    assert chosen == ("pc1", "pc2")
