"""How many machines a CM lets us hold, as its refusals told, and for how long that is believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import CycleSettings
from agent.core.errors import InsufficientNodesError, Shortage
from agent.core.scaling.admitted import Admitted, Asked
from agent.core.scaling.backoff import FOR_GOOD

CM, KIND = "urn:cm", "m510"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDS = NOW + timedelta(hours=20)


@pytest.fixture
def admitted() -> Admitted:
    return Admitted(CycleSettings(type_backoff="10m", type_backoff_limit="4h"))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def short(wanted: int, available: int, kind: str = KIND, *, never: bool = False) -> InsufficientNodesError:
    told = Shortage(kind, wanted, available, reserved=True)
    return InsufficientNodesError("too few", shortages=(told,), never=never)


def wordless(*, never: bool = False) -> InsufficientNodesError:
    return InsufficientNodesError("no mapping", never=never)


def refuse(
    admitted: Admitted, error: InsufficientNodesError, count: int, held: int = 0, seconds: float = 0
) -> int | None:
    admitted.refused(CM, {KIND: Asked(count, held)}, {}, error, at(seconds), ENDS)
    return most(admitted, seconds)


def most(admitted: Admitted, seconds: float = 0, kind: str = KIND, ends: datetime = ENDS) -> int | None:
    cap = admitted.cap(CM, kind, at(seconds), ends)
    return None if cap is None else cap.most


def test_what_was_told_holds_for_its_type_and_its_time(admitted: Admitted) -> None:
    assert refuse(admitted, short(5, 4), 3, held=2) == 4
    assert most(admitted, 599) == 4
    assert most(admitted, 600) is None
    assert most(admitted, kind="big") is None
    assert admitted.limiting(NOW) == {CM}
    assert admitted.kinds(CM) == (KIND,)


def test_a_pause_is_twice_as_long_each_time_that_it_was_over(admitted: Admitted) -> None:
    assert refuse(admitted, short(5, 4), 5) == 4
    assert refuse(admitted, short(4, 3), 4, seconds=10) == 3, "the same pause, with what is known by now"
    assert most(admitted, 609) == 3
    assert refuse(admitted, short(4, 3), 1, held=3, seconds=610) == 3
    assert most(admitted, 610 + 1199) == 3
    assert most(admitted, 610 + 1200) is None


def test_what_was_given_beyond_ends_it(admitted: Admitted) -> None:
    refuse(admitted, short(5, 4), 5)
    admitted.granted(CM, {KIND: 4})
    assert most(admitted) == 4, "what was promised is no reason to ask for more"
    admitted.granted(CM, {KIND: 5})
    assert most(admitted) is None


def test_a_lease_that_ends_sooner_may_admit_more(admitted: Admitted) -> None:
    refuse(admitted, short(5, 4), 5)
    assert most(admitted, ends=ENDS - timedelta(hours=1)) is None
    assert most(admitted, ends=ENDS + timedelta(hours=1)) == 4, "a longer one does not"


def test_what_can_never_be_is_not_asked_again_until_settings_change(admitted: Admitted) -> None:
    assert refuse(admitted, wordless(never=True), 1, held=2) == 2
    cap = admitted.cap(CM, KIND, at(10**8))
    assert cap is not None
    assert (cap.most, cap.pause.until) == (2, FOR_GOOD)
    admitted.forget()
    assert most(admitted) is None


def test_a_number_that_can_never_be_does_not_end_the_search_below(admitted: Admitted) -> None:
    assert refuse(admitted, wordless(never=True), 6) == 3
    admitted.granted(CM, {KIND: 3})
    assert most(admitted) == 4
    assert most(admitted, 10**8) == 5, "six never"


def test_a_machine_that_cannot_be_had_is_left_alone_at_its_cm(admitted: Admitted) -> None:
    admitted.shun(CM, "pc1", NOW, "not available")
    assert (admitted.shunned(CM, NOW), admitted.shunned("urn:other", NOW)) == ({"pc1"}, frozenset())
    assert admitted.shunned(CM, at(600)) == frozenset()


def test_where_the_type_is_not_told_one_is_asked_for_at_a_time(admitted: Admitted) -> None:
    left = admitted.refused(CM, {KIND: Asked(2, 0), "big": Asked(1, 0)}, {}, wordless(), NOW, ENDS)
    assert left == {}
    assert admitted.is_one_at_a_time(CM, at(599))
    assert not admitted.is_one_at_a_time(CM, at(600))
    assert not admitted.is_one_at_a_time("urn:other", NOW)


def grow(admitted: Admitted, wanted: int, held: int, bound: Callable[[], int], seconds: float, *, told: bool):
    """Ask as often as anything may be asked for; return what is held then, and how often that was in vain."""
    vain = 0
    while True:
        cap = most(admitted, seconds)
        count = wanted - held if cap is None else min(wanted, cap) - held
        if count <= 0:
            return held, vain
        if held + count <= bound():
            held += count
            admitted.granted(CM, {KIND: held})
        else:
            vain += 1
            refuse(admitted, short(held + count, bound()) if told else wordless(), count, held, seconds)


@given(
    wanted=st.integers(0, 60),
    held=st.integers(0, 10),
    bounds=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    told=st.booleans(),
)
def test_what_is_admitted_is_got_and_little_is_asked_in_vain(
    wanted: int, held: int, bounds: list[int], told: bool
) -> None:
    admitted = Admitted(CycleSettings(type_backoff="10m", type_backoff_limit="4h"))
    day = 24 * 3600
    for number, bound in enumerate(bounds):
        got = min(max(held, bound), max(wanted, held))
        in_vain = 0
        # A limit that goes is found out at the next try, each after a pause that is twice as long.
        for seconds in range(0, day, 300):
            held, vain = grow(
                admitted, wanted, held, lambda bound=bound: bound, number * day + seconds, told=told
            )
            in_vain += vain
        assert held == got
        # Pauses of 10, 20, 40 ... minutes, then of 4 h each.
        assert in_vain <= 11 * (1 if told else 7)


@given(wanted=st.integers(1, 60), bound=st.integers(0, 60))
def test_a_number_that_is_told_costs_one_refusal(wanted: int, bound: int) -> None:
    admitted = Admitted(CycleSettings())
    held, vain = grow(admitted, wanted, 0, lambda: bound, 0, told=True)
    assert (held, vain) == (min(wanted, bound), int(wanted > bound))
