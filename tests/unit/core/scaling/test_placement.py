"""What is left alone for a while, and which machines are asked for by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import CycleSettings
from agent.core.model import AdvertisedNode, Place, Share
from agent.core.request.helper import AddArgs
from agent.core.said import ResourceValue
from agent.core.scaling.backoff import Backoff
from agent.core.scaling.placement import Placement

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = "urn:one", "urn:two"
SETTINGS = CycleSettings(type_backoff="10m", type_backoff_limit="25m")


def test_a_cm_that_had_no_machines_and_a_type_that_failed_are_told_apart_until_their_time_is_over() -> None:
    placement = Placement(CycleSettings(), None)
    assert not any(placement.backoffs(["urn:one", "urn:two"], NOW).values())
    short = placement.pause("urn:one", "", NOW, "none are free")
    placement.pause("urn:two", "m510", NOW, "it did not boot")
    assert placement.backoffs(["urn:one", "urn:two"], NOW) == {
        ("urn:one", "insufficient"): True,
        ("urn:one", "failed"): False,
        ("urn:two", "insufficient"): False,
        ("urn:two", "failed"): True,
    }
    assert not any(placement.backoffs(["urn:one"], short.until).values())


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def machine(number: int, *types: str) -> AdvertisedNode:
    return AdvertisedNode(f"pc{number}", ONE, ("pc", *types), True)


OF_A = {"hardware_type": "a"}
FREE = (machine(1, "a"), machine(2, "b"), machine(3, "a"), machine(4, "b"))


def test_a_pause_lasts_and_the_next_one_is_twice_as_long_up_to_the_limit() -> None:
    placement = Placement(SETTINGS, None)
    first = placement.pause(ONE, "a", NOW, "it did not boot")
    assert first == Backoff(later(600), 600, "it did not boot")
    assert placement.pause(ONE, "a", later(599), "again") is first
    second = placement.pause(ONE, "a", later(600), "again")
    assert second == Backoff(later(1800), 1200, "again")
    assert placement.pause(ONE, "a", later(1800), "again").delay == 1500


def test_what_worked_begins_anew_and_nothing_else_does() -> None:
    placement = Placement(SETTINGS, None)
    for cm, kind in ((ONE, "a"), (ONE, "b"), (TWO, "a"), (ONE, "")):
        placement.pause(cm, kind, NOW, "why")
    placement.worked(ONE, "a")
    placement.worked(ONE, "never heard of")
    assert placement.avoided(ONE, NOW) == {"b"}
    assert placement.avoided(TWO, NOW) == {"a"}
    assert placement.paused(ONE, NOW) is not None
    placement.worked(ONE, "")
    assert placement.paused(ONE, NOW) is None
    assert placement.pause(ONE, "a", NOW, "why").delay == 600


def test_types_are_avoided_at_their_cm_for_their_time() -> None:
    placement = Placement(SETTINGS, None)
    placement.pause(ONE, "a", NOW, "why")
    placement.pause(ONE, "", NOW, "why")
    assert placement.avoided(ONE, later(599)) == {"a"}
    assert placement.avoided(ONE, later(600)) == set()
    assert placement.avoided(TWO, NOW) == set()


@pytest.mark.parametrize(
    ("nodetype", "cm", "kind", "is_paused"),
    [
        (None, ONE, "", True),
        (None, ONE, "a", False),
        (None, TWO, "", False),
        ("a", ONE, "", True),
        ("a", ONE, "a", True),
        ("a", ONE, "b", False),
        ("a", TWO, "a", False),
    ],
)
def test_a_cm_is_paused_as_a_whole_or_where_the_only_type_is(
    nodetype: str | None, cm: str, kind: str, is_paused: bool
) -> None:
    placement = Placement(SETTINGS, nodetype)
    pause = placement.pause(cm, kind, NOW, "why")
    assert placement.paused(ONE, later(599)) == (pause if is_paused else None)
    assert placement.paused(ONE, later(600)) is None


def place(
    placement: Placement,
    args: AddArgs,
    available: tuple[AdvertisedNode, ...] | None = FREE,
    values: dict[Place, ResourceValue] | None = None,
) -> AddArgs:
    return placement.place(ONE, args, available, values or {}, NOW)


def test_where_no_type_matters_no_machine_is_named() -> None:
    assert place(Placement(SETTINGS, None), {"w1": {"x": "y"}, "w2": {}}, None) == {
        "w1": {"x": "y"},
        "w2": {},
    }


def test_machines_of_the_type_are_named_the_least_wanted_first() -> None:
    args: AddArgs = {"w1": {"x": "y"}, "w2": {}}
    values = {("", "pc1"): ResourceValue("pc1", 0.5, NOW)}
    assert place(Placement(SETTINGS, "a"), args, values=values) == {
        "w1": {"x": "y", "node": "pc3"},
        "w2": {"node": "pc1"},
    }
    assert args == {"w1": {"x": "y"}, "w2": {}}


def test_what_finds_no_machine_is_dropped() -> None:
    args: AddArgs = {f"w{n}": {} for n in range(1, 4)}
    assert place(Placement(SETTINGS, "a"), args) == {
        "w1": OF_A | {"node": "pc1"},
        "w2": OF_A | {"node": "pc3"},
    }
    assert place(Placement(SETTINGS, "c"), args) == {}
    assert place(Placement(SETTINGS, "a"), args, None) == {}


def test_a_machine_that_is_named_already_stays_and_is_given_to_no_other() -> None:
    args: AddArgs = {"w1": {}, "w2": {"node": "pc1"}, "w3": {"node": "pc9"}, "w4": {}}
    assert place(Placement(SETTINGS, "a"), args) == {
        "w1": OF_A | {"node": "pc3"},
        "w2": {"node": "pc1"},
        "w3": {"node": "pc9"},
    }


def test_no_other_of_its_type_does_where_cloudlab_said_how_much_it_wants_each() -> None:
    value, placement = ResourceValue("pc1", 1.0, NOW), Placement(SETTINGS, "a")
    assert place(placement, {"w1": {}}, values={(ONE, "pc1"): value}) == {"w1": {"node": "pc3"}}
    assert place(placement, {"w1": {}}, values={("", "pc9"): value}) == {"w1": {"node": "pc1"}}
    of_type = {"w1": OF_A | {"node": "pc1"}}
    assert place(placement, {"w1": {}}, values={(TWO, "pc1"): value}) == of_type


def test_a_type_that_failed_is_not_asked_for() -> None:
    placement = Placement(SETTINGS, None)
    placement.pause(ONE, "a", NOW, "it did not boot")
    assert place(placement, {"w1": {}, "w2": {}, "w3": {}}) == {"w1": {"node": "pc2"}, "w2": {"node": "pc4"}}


def test_free_machines_are_counted_among_all_of_the_type() -> None:
    assert Placement(SETTINGS, None).share(FREE, FREE[:1]) == Share(1, 4)
    assert Placement(SETTINGS, "a").share(FREE, FREE[:2]) == Share(1, 2)
    assert Placement(SETTINGS, "c").share(FREE, FREE) == Share(0, 0)
    assert Placement(SETTINGS, "a").share(None, FREE) is None
    assert Placement(SETTINGS, "a").share(FREE, None) is None
