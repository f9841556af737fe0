"""Machines by state over time: what is remembered, and how it is drawn."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.core.views import NodeState, NodeView
from agent.page.chart import BOTTOM, COLUMNS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw
from agent.page.history import KEEP, MAX_SAMPLES, StateHistory, peak, thin
from agent.page.model import Sample

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOINED, DRAINING, BOOTING = NodeState.JOINED, NodeState.DRAINING, NodeState.BOOTING
courses = st.lists(
    st.tuples(
        st.integers(0, 3 * 86400),
        st.dictionaries(st.sampled_from(NodeState), st.integers(1, 10_000), max_size=8),
    ),
    min_size=1,
    max_size=300,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: [Sample(NOW - timedelta(seconds=s), c) for s, c in sorted(pairs, reverse=True)])


def nodes(*states: NodeState) -> list[NodeView]:
    return [NodeView(f"pc{n}", f"pc{n}", f"node-{n}", "cm", state) for n, state in enumerate(states)]


def test_only_changes_are_remembered() -> None:
    history = StateHistory()
    for minute, states in enumerate([(JOINED,), (JOINED,), (JOINED, JOINED), (JOINED, JOINED), ()]):
        history.observe(nodes(*states), NOW + timedelta(minutes=minute))
    assert history.samples() == (
        Sample(NOW, {JOINED: 1}),
        Sample(NOW + timedelta(minutes=2), {JOINED: 2}),
        Sample(NOW + timedelta(minutes=4), {}),
    )


def test_what_is_old_is_forgotten_but_not_how_things_stood_when_the_memory_begins() -> None:
    history = StateHistory()
    history.observe(nodes(BOOTING), NOW)
    history.observe(nodes(JOINED), NOW + timedelta(hours=1))
    history.observe(nodes(JOINED), NOW + KEEP + timedelta(hours=2))
    assert history.samples() == (Sample(NOW + timedelta(hours=1), {JOINED: 1}),)


def test_machines_that_flap_do_not_fill_the_memory() -> None:
    history = StateHistory()
    for second in range(3 * MAX_SAMPLES):
        history.observe(nodes(*[JOINED] * (second % 2)), NOW + timedelta(seconds=second))
    assert len(history.samples()) == MAX_SAMPLES


@given(courses)
def test_a_thinned_course_is_short_in_order_and_ends_as_the_whole_one(course: list[Sample]) -> None:
    begin = NOW - timedelta(days=1)
    thinned = thin(course, begin, NOW, COLUMNS)
    assert len(thinned) <= COLUMNS + 2
    assert [s.time for s in thinned] == sorted(s.time for s in thinned)
    assert thinned[-1].counts == course[-1].counts
    assert all(begin <= s.time <= NOW for s in thinned)


@given(courses)
def test_whatever_happened_is_drawn_within_the_picture(course: list[Sample]) -> None:
    chart = draw(course, NOW)
    assert chart is not None
    for area in chart.areas:
        assert re.fullmatch(r"M[\d.]+ [\d.]+( V[\d.]+H[\d.]+)+ Z", area.path)
        across = [float(x) for x in re.findall(r"[MH]([\d.]+)", area.path)]
        assert min(across) >= LEFT
        assert max(across) <= WIDTH - RIGHT
        up = [float(y) for y in re.findall(r"(?:V|M[\d.]+ )([\d.]+)", area.path)]
        assert min(up) >= TOP
        assert max(up) <= HEIGHT - BOTTOM
    assert 2 <= len(chart.machines) <= 6
    assert len(chart.times) <= 7


def test_a_state_stands_on_the_one_below_it() -> None:
    course = [Sample(NOW - timedelta(hours=2), {JOINED: 1, DRAINING: 1})]
    chart = draw(course, NOW)
    assert chart is not None
    assert [area.state for area in chart.areas] == [JOINED, DRAINING]
    low, middle, high = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2, TOP
    assert chart.areas[0].path == f"M{LEFT} {low} V{middle:g}H{WIDTH - RIGHT} V{low}H{LEFT} Z"
    assert chart.areas[1].path == f"M{LEFT} {middle:g} V{high:g}H{WIDTH - RIGHT} V{middle:g}H{LEFT} Z"


def test_the_axes_have_round_numbers() -> None:
    chart = draw([Sample(NOW - timedelta(minutes=100), {JOINED: 13})], NOW)
    assert chart is not None
    assert [tick.label for tick in chart.machines] == ["0", "5", "10"]
    assert [tick.label for tick in chart.times] == ["10:30", "11:00", "11:30", "12:00"]


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    assert draw([], NOW) is None


def test_a_clock_that_was_set_back_costs_the_course_and_not_the_page() -> None:
    chart = draw([Sample(NOW + timedelta(hours=1), {JOINED: 1})], NOW)
    assert chart is not None
    assert chart.areas == ()


def test_the_peak_of_a_state_is_its_highest_count() -> None:
    samples = [Sample(NOW, {JOINED: 2}), Sample(NOW, {JOINED: 5}), Sample(NOW, {})]
    assert (peak(samples, JOINED), peak(samples, DRAINING)) == (5, 0)
