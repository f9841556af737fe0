"""A job's constraint against machines' features. What Slurm does was asked of slurmctld 22.05 and 24.11."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slurm.constraint import Constraint, Features, Group, parse_constraint, satisfies

OFFERED = frozenset({"ssd", "big", "ib-2"})
MACHINES = ("", "a", "b", "c", "ab", "ac", "bc", "abc")
"""Each machine by its features, which are letters."""


def one(feature: str) -> Features:
    return Features((("&", feature),))


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("", True), ("ssd", True), ("gpu", False), ("ssd&big", True), ("ssd,big", True), ("ssd&gpu", False),
        ("gpu|big", True), ("gpu|tpu", False), ("gpu&ssd|big", True), ("ssd&(gpu|big)", True),
        ("gpu&(ssd|big)", False), ("[ssd|gpu]", True), ("[ssd*2&big*4]", True), ("[tpu*2&gpu*2]", False),
        ("ib-2", True), ("ssd&", True),
    ],
)  # fmt: skip
def test_constraints_are_met_or_not(expression: str, met: bool) -> None:
    assert satisfies(OFFERED, expression) is met


@pytest.mark.parametrize(
    ("expression", "machines"),
    [
        ("a|b&c", "ac bc abc"),
        ("a&b|c", "c ab ac bc abc"),
        ("a&b|b&c", "bc abc"),
        ("(a|b)&c", "ac bc abc"),
        ("(a&b)|c", "c ab ac bc abc"),
        ("c|(a&b)", "c ab ac bc abc"),
        ("(a|b)&(b|c)", "b ab ac bc abc"),
        ("(a)&b", "ab abc"),
        ("[a]&b", "ab abc"),
        ("[a|b]&c", "ac bc abc"),
        ("c&[a|b]", "ac bc abc"),
        ("[(a&b)|(b&c)]", "ab bc abc"),
        ("a|[b|c]", "ab ac abc"),
        ("[a|b]|c", "a b ab ac bc abc"),
        ("[a*1&b*1]", "a b ab ac bc abc"),
    ],
)
def test_operators_count_from_left_to_right_as_in_slurm(expression: str, machines: str) -> None:
    assert [m for m in MACHINES if satisfies(frozenset(m), expression)] == machines.split()


@pytest.mark.parametrize(
    "expression",
    [
        "(", "&a", "|a", "(a", "a)", "[a|b", "[a)", "(a]", "((a|b))", "(a[b|c])", "a(b)", "(a)b", "[]", "()",
        "*2", "a&&b", "a*0", "a*", "a*-1", "(a*1)", "(a&b*1)", "a*1*1", "[a|b]&[b|c]", "[a&b]", "[a|b&c]",
        "[a*1&b]", "[a|b*1]", "[a*1|b*1]", "[(a|b)&c]", "[a|]", "a*1234567", "(" * 5000,
    ],
)  # fmt: skip
def test_what_slurm_does_not_take_is_an_error_and_met_by_nothing(expression: str) -> None:
    with pytest.raises(ValueError, match="constraint"):
        parse_constraint(expression)
    assert not satisfies(frozenset("abc"), expression)


def test_counts_in_brackets_are_groups_of_different_machines_and_the_rest_is_of_a_group() -> None:
    constraint = parse_constraint("[fa*1&(fb|fc)*2]")
    either = Features((("&", "fb"), ("|", "fc")))
    assert constraint.groups == (Group(one("fa"), 1), Group(either, 2))
    assert constraint.count == 3
    assert constraint.admits(frozenset({"fc"}))
    assert not constraint.admits(frozenset({"fd"}))


def test_a_count_without_brackets_leaves_the_rest_to_any_machine() -> None:
    assert parse_constraint("fa*2") == Constraint(groups=(Group(one("fa"), 2),))
    assert parse_constraint("[fa*2]") == parse_constraint("fa*2")
    assert satisfies(frozenset(), "fa*2")


def test_what_has_no_count_beside_counts_is_not_looked_at() -> None:
    assert (
        parse_constraint("fc&[fa*1&fb*1]")
        == parse_constraint("[fa*1&fb*1]&fc")
        == parse_constraint("[fa*1&fb*1]")
    )


def test_counts_outside_of_brackets_are_met_by_the_same_machines() -> None:
    both = Features((("&", one("fa")), ("&", one("fb"))))
    assert parse_constraint("fa*2&fb*1").groups == (Group(both, 2),)


def test_all_machines_of_a_job_are_of_one_alternative() -> None:
    ways = parse_constraint("fc&[fa|fb]").ways()
    assert [[m for m in MACHINES if way.admits(frozenset(f"f{x}" for x in m))] for way in ways] == [
        ["ac", "abc"],
        ["bc", "abc"],
    ]
    assert parse_constraint("fa|fb").ways() == (parse_constraint("fa|fb"),)


def test_a_constraint_without_counts_takes_one_machine_at_least() -> None:
    assert parse_constraint("").count == parse_constraint("[fa|fb]").count == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("&|,"), st.sampled_from(["a", "b", "c", "(a|b)", "(b&c)"])), min_size=1
    ),
    st.sampled_from(MACHINES),
)
def test_a_longer_constraint_is_the_shorter_one_and_one_more_step(
    steps: list[tuple[str, str]], machine: str
) -> None:
    text = "".join(operator + term for operator, term in steps)[1:]
    shorter = "".join(operator + term for operator, term in steps[:-1])[1:]
    operator, last = steps[-1]
    offered = frozenset(machine)
    before, met = satisfies(offered, shorter), satisfies(offered, last)
    either = operator == "|" and len(steps) > 1
    assert satisfies(offered, text) is ((before or met) if either else (before and met))


@given(st.text("ab&|,()[]*12 ", max_size=14))
def test_any_text_is_a_constraint_or_an_error(text: str) -> None:
    try:
        constraint = parse_constraint(text)
    except ValueError:
        return
    assert constraint.count >= 1
    assert constraint.ways()
