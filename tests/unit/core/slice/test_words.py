"""What is said of whose the machines of the slice are."""

from datetime import UTC, datetime

import pytest

from agent.core.model import LeftBehind, SliverNode
from agent.core.ownership import Claim
from agent.core.slice.words import (
    NAMED,
    foreign_words,
    left_behind_words,
    sliver_words,
    staying_words,
    whose_words,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), ""),
        (("ctl",), "1 machine of this slice is not ours: ctl"),
        (("ctl", "nfs", "cp-1"), "3 machines of this slice are not ours: ctl, nfs, cp-1"),
    ],
)
def test_foreign_machines_are_counted_and_named(names, words):
    assert foreign_words(names) == words


def test_of_very_many_the_first_are_named():
    assert NAMED == 20
    assert foreign_words([f"cp-{n}" for n in range(20)]).endswith("cp-18, cp-19")
    words = foreign_words([f"cp-{n}" for n in range(NAMED + 3)])
    assert words.startswith(f"{NAMED + 3} machines")
    assert words.endswith(f"cp-{NAMED - 1} and 3 more")


def test_machines_are_named_with_what_says_whose_they_are():
    said = {
        SliverNode(name, f"pc-{name}", "urn:cm", f"urn:{name}"): claim
        for name, claim in (
            ("es-1", Claim.ASKED),
            ("es-2", Claim.ASKED),
            ("cp-1", Claim.OWN),
            ("ctl", Claim.NONE),
            ("nfs", Claim.NEVER),
            ("data", Claim.PART),
        )
    }
    assert whose_words(said, 2).split("; ") == [
        "3 ours: es-1, es-2 (we asked for it), cp-1 ([request] own names it)",
        "2 not ours, and left alone: ctl (nothing says that we asked for it), nfs ([request] never names it)",
        "no machines, and part of our request: data",
        "2 without a usable name, and left alone",
    ]
    assert whose_words({}) == "none"


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (0, 'since it is not known to be ours ([cloudlab] slice_is = "ours" would say so)'),
        (1, "which has a machine that is not ours"),
        (2, "which has 2 machines that are not ours"),
    ],
)
def test_why_a_sliver_stays_is_told(others, words):
    assert staying_words(others) == f"the sliver stays, {words}"


def test_what_becomes_of_a_sliver_is_told():
    assert sliver_words(goes=True) == "goes with its last machine"
    assert sliver_words(goes=False) == "stays: only machines of ours are given back there"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"machines": ("es-1", "es-2"), "expires": NOON}, "holds es-1, es-2 until 2026-11-22T12:00:00Z"),
        (
            {"machines": ("es-1",), "asked": ("es-3",)},
            "holds es-1 and was asked about es-3, with no answer known",
        ),
        ({"has_sliver": True}, "holds a sliver of ours without machines"),
        ({"asked": ("es-3",)}, "was asked about es-3, with no answer known"),
    ],
)
def test_what_is_left_in_another_slice_is_named_and_how_to_get_at_it(left, words):
    told = left_behind_words(LeftBehind("urn:slice", "urn:cm", **left))
    assert told.startswith(
        f"urn:cm {words} for another slice, urn:slice, as far as is remembered: nothing of it"
    )
    assert told.endswith("then `esagent teardown --cm urn:cm` gives it back")
