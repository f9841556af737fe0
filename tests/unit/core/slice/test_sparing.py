"""Which machines are given back for the sake of the others, and by when."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.slice.sparing import Sparing, plan_sparing

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def plan(held, short_by=1, left=10 * HOUR, **more):
    return plan_sparing(held, short_by=short_by, end=NOON + left, now=NOON, empty_before=HOUR, **more)


def test_the_only_type_gives_as_many_as_are_short_before_all_are_emptied():
    assert plan({"m510": 5}, 2) == Sparing("m510", 2, NOON + 8 * HOUR, NOON + 9 * HOUR)


def test_the_rarest_type_goes_first_and_leaves_time_for_the_others():
    held = {"m510": 5, "c220": 1, "xl170": 2}
    assert plan(held, 2) == Sparing("c220", 1, NOON + 6 * HOUR, NOON + 7 * HOUR)
    assert plan(held, 2, tried={"c220"}) == Sparing("xl170", 2, NOON + 7 * HOUR, NOON + 8 * HOUR)
    assert plan(held, 2, tried={"c220", "xl170"}) == Sparing("m510", 2, NOON + 8 * HOUR, NOON + 9 * HOUR)
    assert plan(held, 2, tried=held) is None


def test_a_type_that_is_known_to_be_short_goes_at_once_in_its_turn():
    assert plan({"m510": 5, "c220": 1}, 2, known=["m510"]) == Sparing(
        "m510", 2, NOON + 8 * HOUR, NOON + 9 * HOUR
    )


@pytest.mark.parametrize(
    ("held", "short_by"), [({"m510": 2}, 2), ({"m510": 2}, 7), ({}, 1), ({"m510": 2}, 0)]
)
def test_nothing_is_given_back_that_spares_no_other(held, short_by):
    assert plan(held, short_by) is None


def test_where_little_is_left_it_is_divided():
    assert plan({"m510": 5, "c220": 1}, left=1.5 * HOUR) == Sparing("c220", 1, NOON, NOON + 0.5 * HOUR)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9)),
    st.integers(1, 12),
    st.integers(60, 100_000),
    st.sets(st.sampled_from("abcdef")),
)
def test_what_goes_is_ours_and_gone_before_the_end(held, short_by, left, tried):
    end = NOON + timedelta(seconds=left)
    found = plan(held, short_by, timedelta(seconds=left), tried=tried)
    if found is None:
        return
    assert 0 < found.count <= min(short_by, held[found.hardware_type])
    assert found.count < sum(held.values())
    assert found.hardware_type not in tried
    assert NOON <= found.begins < found.due < end
