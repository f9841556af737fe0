"""A job's constraint against a machine's features."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slurm.constraint import satisfies

OFFERED = frozenset({"ssd", "big", "ib-2"})


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("", True), ("ssd", True), ("gpu", False), ("ssd&big", True), ("ssd,big", True), ("ssd&gpu", False),
        ("gpu|big", True), ("gpu|tpu", False), ("gpu&ssd|big", True), ("ssd&(gpu|big)", True),
        ("gpu&(ssd|big)", False), ("[ssd|gpu]", True), ("ssd*2&big*4", True), ("[ssd*2&gpu*2]", False),
        ("ib-2", True), (" ssd & big ", True),
    ],
)  # fmt: skip
def test_constraints_are_met_or_not(expression: str, met: bool) -> None:
    assert satisfies(OFFERED, expression) is met


@pytest.mark.parametrize(
    "expression", ["(", "ssd&", "(ssd", "[ssd)", "ssd)", "&", "*2", "ssd big", "(" * 5000]
)
def test_what_cannot_be_understood_is_not_met(expression: str) -> None:
    assert not satisfies(OFFERED, expression)


EXPRESSIONS = st.recursive(
    st.sampled_from(["ssd", "gpu", "big", "tpu"]),
    lambda inner: st.tuples(inner, st.sampled_from("&|"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
    max_leaves=12,
)


@given(EXPRESSIONS, st.sets(st.sampled_from(["ssd", "gpu", "big", "tpu"])))
def test_constraints_mean_what_they_mean_in_python(expression: str, offered: set[str]) -> None:
    names = {name: name in offered for name in ("ssd", "gpu", "big", "tpu")}
    expected = eval(expression.replace("&", " and ").replace("|", " or "), {}, names)
    assert satisfies(frozenset(offered), expression) is expected
