"""Resource values -> weights, by example and by property."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.cluster.steer.weights import SetWeight, plan_weights, weight_of
from agent.core.model import SliverNode
from agent.core.said import ResourceValue
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, a_moment, settings_with

SETTINGS = WeightSettings(weight_min=100, weight_max=200, levels=11, value_ttl=600, default_value=0.5)
OURS = {"pc100": "pc100", "pc101": "node-101", "pc102": "pc102"}
"""node_id -> node name."""


def nodes(**weights: int) -> list[Node]:
    names = dict.fromkeys((*OURS.values(), "head"), 1) | {k.replace("_", "-"): v for k, v in weights.items()}
    return [Node(name, "IDLE", weight=weight) for name, weight in names.items()]


def value(node_id: str, number: float, age: float = 0) -> ResourceValue:
    return ResourceValue(node_id, number, NOW - timedelta(seconds=age))


def plan(
    seen: list[Node],
    *values: ResourceValue,
    ours: dict[str, str] = OURS,
    settings: WeightSettings = SETTINGS,
) -> tuple[SetWeight, ...]:
    return plan_weights(
        a_moment(
            *seen,
            machines=[SliverNode(name, node_id, UTAH, f"urn:{node_id}") for node_id, name in ours.items()],
            settings=settings_with(weights=settings, join=JoinSettings(node_name="client_id")),
            facts={"values": {each.node_id: each for each in values}},
        )
    )


def test_machines_of_one_level_are_set_in_one_action() -> None:
    acts = plan(nodes(), value("pc100", 0.91), value("pc101", 0.89), value("pc102", 0.1))
    assert [(a.nodes, a.weight) for a in acts] == [(("pc102",), 110), (("node-101", "pc100"), 190)]
    assert "resource value 0.91" in acts[1].reason


def test_a_weight_that_is_right_already_is_not_set_again() -> None:
    assert plan(nodes(pc100=190, node_101=150, pc102=150), value("pc100", 0.9)) == ()


def test_a_machine_whose_weight_slurm_reset_is_set_again() -> None:
    (act,) = plan(nodes(pc100=1, node_101=150, pc102=150), value("pc100", 0.9))
    assert (act.nodes, act.weight) == (("pc100",), 190)


def test_an_old_value_gives_way_to_the_default() -> None:
    (act,) = plan(nodes(node_101=150, pc102=150), value("pc100", 0.9, age=601))
    assert (act.nodes, act.weight) == (("pc100",), 150)
    assert act.reason == "default value 0.50: none within 10m"


def test_a_value_holds_for_as_long_as_it_is_said_to_and_from_0_to_1() -> None:
    seen = nodes(node_101=150, pc102=150)
    for number, weight in ((0.0, 100), (0.9, 190), (1.0, 200)):
        (act,) = plan(seen, value("pc100", number, age=600))
        assert (act.nodes, act.weight, act.reason) == (("pc100",), weight, f"resource value {number:.2f}")


def test_each_reason_of_a_weight_is_told_once() -> None:
    acts = plan(nodes(), value("pc100", 0.5), value("pc101", 0.5), value("pc102", 1.1))
    assert [act.reason for act in acts] == ["default value 0.50: 1.1 is not from 0 to 1, resource value 0.50"]
    (act,) = plan(nodes())
    assert act.reason == "default value 0.50: none was received"


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.1, float("inf")])
def test_a_value_that_is_none_costs_the_others_nothing(bad: float) -> None:
    acts = plan(nodes(node_101=150), value("pc100", bad), value("pc102", 1.0))
    assert [(a.nodes, a.weight) for a in acts] == [(("pc100",), 150), (("pc102",), 200)]


def test_high_may_mean_spare() -> None:
    settings = SETTINGS.model_copy(update={"high_value": "spare"})
    assert weight_of(1.0, settings) == 100
    assert weight_of(0.0, settings) == 200


def test_a_machine_that_slurm_does_not_know_is_passed_over() -> None:
    assert plan(nodes(), ours={"pc999": "pc999"}) == ()
    (act,) = plan(nodes(), ours={"pc999": "pc999", "pc100": "pc100"})
    assert act.nodes == ("pc100",)


SOME_SETTINGS = st.builds(
    lambda low, span, levels, high: WeightSettings(
        weight_min=low, weight_max=low + span, levels=levels, high_value=high
    ),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(2, 100),
    st.sampled_from(["wanted", "spare"]),
)
UNIT = st.floats(0, 1)


@given(UNIT, UNIT, SOME_SETTINGS)
def test_weights_follow_values_within_their_bounds(a: float, b: float, settings: WeightSettings) -> None:
    low, high = sorted((a, b))
    first, second = weight_of(low, settings), weight_of(high, settings)
    assert settings.weight_min <= first <= settings.weight_max
    assert first <= second if settings.high_value == "wanted" else first >= second


@given(SOME_SETTINGS)
def test_the_ends_of_the_scale_are_the_bounds_and_levels_are_few(settings: WeightSettings) -> None:
    weights = {weight_of(n / 500, settings) for n in range(501)}
    assert {min(weights), max(weights)} == {settings.weight_min, settings.weight_max}
    assert len(weights) <= settings.levels


@given(st.dictionaries(st.sampled_from([*OURS, "head", "other"]), st.floats(allow_nan=True)), SOME_SETTINGS)
def test_only_our_nodes_are_touched_and_a_second_plan_has_nothing_to_do(
    numbers: dict[str, float], settings: WeightSettings
) -> None:
    values = [value(node_id, number) for node_id, number in numbers.items()]
    before = nodes()
    acts = plan(before, *values, settings=settings)
    changed = {name: act.weight for act in acts for name in act.nodes}
    assert set(changed) <= set(OURS.values())
    assert len({act.weight for act in acts}) == len(acts)
    after = [replace(node, weight=changed.get(node.name, node.weight)) for node in before]
    assert plan(after, *values, settings=settings) == ()
