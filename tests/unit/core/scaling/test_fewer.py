"""What is asked for after a refusal, by the words of servers of 2021."""

from __future__ import annotations

import pytest

from agent.cloudlab.envelope import open_envelope
from agent.core.errors import InsufficientNodesError
from agent.core.scaling.fewer import Fewer, fewer

RESERVED = (
    "*** Resource reservation violation: 5 nodes of type m510 requested, but only 4 available because of"
    " existing resource reservations to other projects."
)


def refusal(words: str, code: int = 26) -> InsufficientNodesError:
    with pytest.raises(InsufficientNodesError) as caught:
        open_envelope(
            {"code": code, "value": "Could not map to resources", "output": words},
            method="AddNodes",
            authority="urn:cm",
        )
    return caught.value


@pytest.mark.parametrize("kind", ["m510", ""])
@pytest.mark.parametrize(
    ("words", "asked", "left"),
    [
        (RESERVED, 5, Fewer(4, is_told=True)),
        # Three are held already, and the CM counts them.
        (RESERVED, 2, Fewer(1, is_told=True)),
        (RESERVED, 1, Fewer(0, is_told=True)),
        (
            "*** 7 nodes of type m510 requested, but only 5 available nodes of type m510 found",
            3,
            Fewer(1, is_told=True),
        ),
        ("*** 9 nodes of type m510 requested, but only 2 suitable nodes", 3, Fewer(0, is_told=True)),
        (
            "*** 3 nodes of type m510 requested, but you are only allowed to use 2",
            3,
            Fewer(2, is_told=True),
        ),
        ("*** No available physical nodes of type m510 found (3 requested)", 3, Fewer(0, is_told=True)),
        ("Not enough free nodes because of policy restrictions", 5, Fewer(2)),
        ("*** No possible mapping for node-5", 1, Fewer(0)),
        # Numbers that cannot be tell nothing.
        ("*** 3 nodes of type m510 requested, but only 3 available", 3, Fewer(1)),
    ],
)
def test_what_the_words_admit_or_half(words: str, asked: int, left: Fewer, kind: str) -> None:
    assert fewer({kind: asked}, {}, refusal(words)) == {kind: left}


def test_of_several_types_the_named_one_is_short() -> None:
    assert fewer({"m510": 2, "big": 3}, {}, refusal(RESERVED)) == {"m510": Fewer(1, is_told=True)}


def test_of_two_that_are_short_each_is_asked_for_less() -> None:
    words = "*** 3 nodes of type big requested, but only 1 available nodes of type big found"
    left = fewer({"m510": 2, "big": 3}, {}, refusal(f"{RESERVED} {words}"))
    assert left == {"m510": Fewer(1, is_told=True), "big": Fewer(1, is_told=True)}


def test_which_of_several_types_is_short_is_not_guessed() -> None:
    assert fewer({"m510": 2, "big": 3}, {}, refusal("No possible mapping", 28)) == {}


def test_a_type_that_the_sliver_has_too_many_of_already_hinders_all_others() -> None:
    left = fewer({"c220g5": 2, "big": 3}, {"m510": 5}, refusal(RESERVED))
    assert left == {"c220g5": Fewer(0, is_told=True), "big": Fewer(0, is_told=True)}


@pytest.mark.parametrize("kind", ["", "pc"])
def test_a_type_that_was_asked_for_in_other_words_is_known_by_its_number(kind: str) -> None:
    assert fewer({kind: 3}, {"m510": 2}, refusal(RESERVED)) == {kind: Fewer(2, is_told=True)}


def test_a_limit_on_all_machines_of_a_slice_is_a_number_too() -> None:
    words = "Experiment needs nodes(5) that are more than the limit(4) imposed by CM."
    assert fewer({"m510": 2}, {"m510": 3}, refusal(words, 2)) == {"m510": Fewer(1, is_told=True)}
