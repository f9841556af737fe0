"""What an item of Cloudlab's ``nodelist`` is read as, and what is refused with what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from agent.core.notices.items import (
    MAX_WAIT,
    BadItemError,
    Notice,
    once,
    plain,
    read_complete,
    read_names,
    read_pending,
    read_value,
    replied,
)
from agent.core.said import ResourceValue

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONGEST = "a" * 63
"""As long as a name of a machine may be."""
A_YEAR = 31_622_400
"""Seconds of 366 days."""


def value(item: object) -> ResourceValue:
    return read_value(item, NOON)


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ({"node_id": "pc1", "client_id": "node-1"}, ("pc1", "node-1")),
        ({"node_id": "pc1"}, ("pc1", "")),
        ({"node_id": "pc1", "client_id": ""}, ("pc1", "")),
        ({"node_id": "pc1", "client_id": None}, ("pc1", "")),
        ({"node_id": "A.b_c-9", "client_id": "_x"}, ("A.b_c-9", "_x")),
        ({"node_id": LONGEST, "client_id": LONGEST}, (LONGEST, LONGEST)),
        ({"node_id": 12, "client_id": 0}, ("12", "0")),
        ({"node_id": 10**18 - 1}, ("9" * 18, "")),
    ],
)
def test_names_are_read_even_where_they_came_as_numbers(item: object, names: tuple[str, str]) -> None:
    assert read_names(item) == names


@pytest.mark.parametrize("read", [read_names, value, read_pending, read_complete])
@pytest.mark.parametrize("item", [None, "pc1", 12, ["pc1"], ("node_id", "pc1")])
def test_what_is_no_struct_is_refused_by_each(read: Callable[[object], object], item: object) -> None:
    with pytest.raises(BadItemError) as refusal:
        read(item)
    assert str(refusal.value) == f"a struct is expected, not {item!a}"


@pytest.mark.parametrize(
    "name",
    ["", None, "-pc1", "_pc1", ".pc1", "pc 1", "pc1\n", "pcé", LONGEST + "a", True, -1, 10**18, 1.5, ["pc1"]],
)
def test_a_node_id_outside_its_pattern_is_refused(name: object) -> None:
    with pytest.raises(BadItemError) as refusal:
        read_names({"node_id": name, "client_id": "node-1"})
    pattern = "[A-Za-z0-9][-A-Za-z0-9._]{0,62}"
    assert str(refusal.value) == f"node_id: a name of {pattern} is expected, not {name!a}"


@pytest.mark.parametrize("name", ["-x", ".x", "x y", LONGEST + "a", False, ["x"]])
def test_a_client_id_outside_its_pattern_is_refused(name: object) -> None:
    with pytest.raises(BadItemError, match=r"^client_id: a name of \[A-Za-z0-9_\]"):
        read_names({"node_id": "pc1", "client_id": name})


def test_a_node_id_is_needed() -> None:
    with pytest.raises(BadItemError, match=r"^node_id: a name of .* is expected, not None$"):
        read_names({"client_id": "node-1"})


@pytest.mark.parametrize("number", [0, 0.5, 1])
def test_a_value_from_0_to_1_is_kept(number: float) -> None:
    found = value({"node_id": "pc1", "client_id": "node-1", "value": number})
    assert found == ResourceValue(node_id="pc1", value=number, received=NOON, client_id="node-1")
    assert isinstance(found.value, float)


@pytest.mark.parametrize("number", [0, 0.5, 7, A_YEAR])
def test_a_time_up_to_a_year_is_kept(number: float) -> None:
    found = read_pending({"node_id": "pc1", "client_id": "node-1", "max_wait_time": number})
    assert found == Notice("pc1", "node-1", number)
    assert isinstance(found.wait, float)
    assert MAX_WAIT == A_YEAR


@pytest.mark.parametrize(
    ("read", "key", "most", "beyond"),
    [(value, "value", "1", 1.001), (read_pending, "max_wait_time", "3.16224e+07", A_YEAR + 1)],
)
def test_a_number_that_is_none_or_out_of_range_is_refused(
    read: Callable[[object], object], key: str, most: str, beyond: float
) -> None:
    for number in (-0.001, beyond, math.nan, math.inf):
        with pytest.raises(BadItemError) as refusal:
            read({"node_id": "pc1", key: number})
        assert str(refusal.value) == f"{key}: 0 to {most} is expected, not {number!a}"
    for thing in (None, "0.5", True, False, [1]):
        with pytest.raises(BadItemError) as refusal:
            read({"node_id": "pc1", key: thing})
        assert str(refusal.value) == f"{key}: a number is expected, not {thing!a}"


def test_a_completion_has_no_time() -> None:
    assert read_complete({"node_id": "pc1", "client_id": "node-1", "max_wait_time": "soon"}) == Notice(
        "pc1", "node-1", 0.0
    )


def test_what_is_refused_is_shown_in_few_characters() -> None:
    with pytest.raises(BadItemError) as refusal:
        read_names("é" * 100)
    assert str(refusal.value) == f"a struct is expected, not {ascii('é' * 100)[:80]}"


def test_a_huge_number_is_refused_though_it_cannot_be_shown() -> None:
    with pytest.raises(BadItemError, match=r"is expected, not a huge number$"):
        read_names({"node_id": 10**5000})


def test_an_item_is_handed_on_with_its_names_as_text() -> None:
    item = {"node_id": 12, "client_id": None, "max_wait_time": 60, "more": 1}
    handed = plain(item, read_pending(item))
    assert handed == {"node_id": "12", "client_id": "", "cm": "", "max_wait_time": 60, "more": 1}


def test_of_several_items_of_a_machine_the_first_one_counts_and_the_order_stays() -> None:
    items = [
        {"node_id": name, "max_wait_time": wait} for name, wait in [("b", 1), ("a", 2), ("b", 3), ("c", 4)]
    ]
    kept = once([(item, read_pending(item)) for item in items])
    assert [item for item, _ in kept] == [items[0], items[1], items[3]]


def test_the_countdown_of_a_machine_that_may_be_taken_is_over_in_the_reply() -> None:
    one, two = ({"node_id": f"pc{n}", "client_id": f"node-{n}", "max_wait_time": 60} for n in (1, 2))
    read = [(item, read_pending(item)) for item in (one, two)]
    over = {**one, "max_wait_time": 0}
    assert replied([one, "no item", two], read, {("", "pc1")}) == [over, "no item", two]
    assert replied([one, two], read, {("", "pc3")}) == [one, two]
