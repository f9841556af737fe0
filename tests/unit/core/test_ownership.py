"""Whose machine is this, and whose sliver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import Holding, Sliver, SliverNode
from agent.core.ownership import Claim, Ownership, SliceIs, claims, goes_whole, is_made_by_us
from agent.core.request.rspec import GENERATOR

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
NODE = SliverNode("es-3", "pc3", CM, "s3")
CTL = SliverNode("ctl", "pc9", CM, "s9")
ANY = Ownership()


def gives(client_id: str) -> bool:
    return client_id.startswith("es-")


def claim(node: SliverNode, ownership: Ownership, asked: set[str], held: dict[str, str]) -> Claim:
    return ownership.claim(node, gives=gives, asked=asked, held=held)


@pytest.mark.parametrize(
    ("node", "asked", "held", "expected"),
    [
        (NODE, set(), {}, Claim.NAME),
        (CTL, set(), {}, Claim.NONE),
        (replace(CTL, client_id="burst-1"), set(), {}, Claim.NAME),
        (replace(CTL, node_id="burst-1"), set(), {}, Claim.NONE),
        (CTL, {"ctl"}, {}, Claim.ASKED),
        (CTL, set(), {"ctl": "s9"}, Claim.KNOWN),
        (CTL, set(), {"ctl": "pc9"}, Claim.KNOWN),
        (replace(CTL, sliver_id=""), set(), {"ctl": "pc9"}, Claim.KNOWN),
        (CTL, set(), {"ctl": "pc8"}, Claim.NONE),
        (CTL, set(), {"ctl": ""}, Claim.NONE),
        (replace(CTL, client_id="cp-1"), set(), {"ctl": "s9"}, Claim.NONE),
        (CTL, set(), {"ctl": "s8"}, Claim.NONE),
        (NODE, set(), {"es-3": "s1"}, Claim.NAME),
        (replace(CTL, client_id="cp-4"), set(), {}, Claim.OWN),
        (replace(CTL, node_id="pc4"), set(), {}, Claim.OWN),
        (replace(NODE, client_id="es-9"), {"es-9"}, {"es-9": "s3"}, Claim.NEVER),
        (replace(CTL, client_id="cp-5"), {"cp-5"}, {}, Claim.NEVER),
        (replace(NODE, node_id="pc5"), {"es-3"}, {}, Claim.NEVER),
    ],
)
def test_a_machine_is_ours_only_if_we_asked_for_it_or_the_site_gave_it_by_name(
    node: SliverNode, asked: set[str], held: dict[str, str], expected: Claim
) -> None:
    site = Ownership(
        own=frozenset({"cp-4", "cp-5", "pc4"}),
        never=frozenset({"es-9", "cp-5", "pc5"}),
        given=frozenset({"burst-1"}),
    )
    assert claim(node, site, asked, held) is expected


NAMES = st.sampled_from(["es-1", "es-2", "ctl", "cp-1"])


@given(
    *(st.frozensets(NAMES),) * 2,
    st.sets(NAMES),
    st.dictionaries(NAMES, st.sampled_from(["s1", "s2", "pc1", ""])),
    NAMES,
    st.sampled_from(["s1", "s2"]),
)
def test_what_is_named_never_is_never_ours_and_the_rest_only_for_a_reason(
    own: frozenset[str],
    never: frozenset[str],
    asked: set[str],
    held: dict[str, str],
    name: str,
    sliver_id: str,
) -> None:
    node = SliverNode(name, "pc1", CM, sliver_id)
    is_ours = claim(node, Ownership(own, never), asked, held).is_ours
    reasons = name in own or name in asked or gives(name) or held.get(name) in {"pc1", sliver_id}
    assert is_ours == (reasons and name not in never)


def a_sliver(*nodes: SliverNode, unread: int = 0, generator: str = "") -> Sliver:
    return Sliver(CM, "sliver", NOON, nodes, "<rspec/>", unread, generator)


NOTHING = Holding(CM, {}, None, there=False)


def judge(
    sliver: Sliver | None, site: Ownership = ANY, *, asked: Collection[str] = (), before: Holding | None
) -> dict[SliverNode, Claim]:
    """Judge all that a CM has; the first request asks for ctl."""
    return claims(site, sliver, gives=gives, asks_for="ctl".__eq__, asked=asked, before=before)


def test_each_machine_of_a_manifest_is_judged_by_what_is_remembered_of_its_cm() -> None:
    before = Holding(CM, {"ctl": "s9"}, None)
    assert judge(a_sliver(NODE, CTL), before=before) == {
        NODE: Claim.NAME,
        CTL: Claim.KNOWN,
    }
    assert judge(a_sliver(CTL), before=None) == {CTL: Claim.NONE}
    assert judge(None, before=before) == judge(None, before=None) == {}


STORE = SliverNode("es-8", "dboss", CM, "s8", sliver_type="emulab-blockstore")
MADE = Holding(CM, {}, None, made=True, sliver_urn="sliver", parts=frozenset({"es-8"}))


@pytest.mark.parametrize(
    ("nodes", "site", "before", "expected"),
    [
        ((NODE, STORE), Ownership(), MADE, Claim.PART),
        ((NODE, STORE), Ownership(), None, Claim.NONE),
        ((NODE, STORE), Ownership(slice_is="ours"), None, Claim.PART),
        ((NODE, STORE), Ownership(own=frozenset({"es-8"})), None, Claim.NONE),
        ((NODE, STORE), Ownership(never=frozenset({"es-8"})), MADE, Claim.NEVER),
        ((STORE,), Ownership(), MADE, Claim.PART),
        ((NODE, STORE), Ownership(), replace(MADE, parts=frozenset()), Claim.NONE),
        ((NODE, STORE), Ownership(slice_is="ours"), replace(MADE, parts=frozenset()), Claim.PART),
        ((NODE, STORE), Ownership(slice_is="shared"), replace(MADE, parts=frozenset()), Claim.NONE),
        (
            (NODE, STORE),
            Ownership(),
            replace(MADE, parts=frozenset(), sliver_urn="", machines={"es-3": "pc3"}),
            Claim.PART,
        ),
        ((CTL, STORE), Ownership(), NOTHING, Claim.NONE),
    ],
)
def test_what_is_no_machine_is_never_ours_to_act_on_and_a_part_of_a_sliver_that_is_ours(
    nodes: tuple[SliverNode, ...], site: Ownership, before: Holding | None, expected: Claim
) -> None:
    said = judge(a_sliver(*nodes), site, before=before)
    assert said[STORE] is expected
    assert not expected.is_ours
    assert expected.is_foreign == (expected is not Claim.PART)


def test_what_came_with_the_request_for_a_sliver_is_known_at_its_first_manifest() -> None:
    asked = judge(a_sliver(NODE, STORE), asked={"es-3"}, before=NOTHING)
    assert asked == {NODE: Claim.ASKED, STORE: Claim.PART}
    second = replace(NODE, client_id="es-4", sliver_id="s4")
    both = judge(a_sliver(NODE, second, STORE), asked={"es-3"}, before=NOTHING)
    assert both == {NODE: Claim.ASKED, second: Claim.NAME, STORE: Claim.PART}
    unknown = judge(a_sliver(NODE, STORE, generator=GENERATOR), before=None)
    assert unknown == {NODE: Claim.NAME, STORE: Claim.PART}
    found = judge(a_sliver(NODE, STORE), before=NOTHING)
    assert found == {NODE: Claim.NAME, STORE: Claim.NONE}


@pytest.mark.parametrize(
    ("node", "generator", "site", "before", "expected"),
    [
        (CTL, GENERATOR, ANY, None, Claim.REQUESTED),
        (CTL, "libgeni", ANY, None, Claim.NONE),
        (replace(CTL, client_id="nfs"), GENERATOR, ANY, None, Claim.NONE),
        (replace(CTL, sliver_type="emulab-xen"), GENERATOR, ANY, None, Claim.NONE),
        (CTL, GENERATOR, Ownership(never=frozenset({"ctl"})), None, Claim.NEVER),
        # It went back, and somebody took its name.
        (CTL, GENERATOR, ANY, MADE, Claim.NONE),
    ],
)
def test_what_our_request_made_is_ours_where_nothing_is_remembered(
    node: SliverNode, generator: str, site: Ownership, before: Holding | None, expected: Claim
) -> None:
    # Beside what somebody else put there.
    said = judge(
        a_sliver(node, replace(CTL, client_id="x", sliver_id="sx"), generator=generator), site, before=before
    )
    assert said[node] is expected


def test_another_machine_in_a_sliver_of_ours_is_no_part_of_it() -> None:
    said = judge(a_sliver(NODE, CTL, STORE), before=MADE)
    assert said == {NODE: Claim.NAME, CTL: Claim.NONE, STORE: Claim.PART}
    others = judge(a_sliver(NODE, CTL), Ownership(slice_is="ours"), before=None)
    assert others == {NODE: Claim.NAME, CTL: Claim.NONE}


def test_what_says_whose_a_machine_is_reads_well_behind_its_name() -> None:
    assert [str(each) for each in Claim] == [
        "[request] never names it",
        "[request] own names it",
        "its name is one that we give",
        "we asked for it",
        "it was ours before",
        "our request made the sliver with it",
        "nothing says that we asked for it",
        "no machine, and it came with our request",
    ]


def test_a_slice_is_ours_or_shared() -> None:
    assert get_args(SliceIs) == ("ours", "shared")


def test_what_we_remember_is_told_from_what_a_name_says() -> None:
    assert {each for each in Claim if each.is_remembered} == {Claim.ASKED, Claim.KNOWN, Claim.REQUESTED}
    assert {each for each in Claim if not each.is_ours} == {Claim.NEVER, Claim.NONE, Claim.PART}


@pytest.mark.parametrize(
    ("sliver", "ours", "before", "asked", "made"),
    [
        (None, (), Holding(CM, {}, None, made=True), False, False),
        (a_sliver(NODE), (NODE,), NOTHING, True, True),
        (a_sliver(NODE), (NODE,), NOTHING, False, False),
        (a_sliver(NODE), (NODE,), None, True, False),
        (a_sliver(NODE, generator=GENERATOR), (NODE,), None, False, True),
        (a_sliver(NODE, generator=GENERATOR), (NODE,), NOTHING, False, True),
        (a_sliver(NODE, generator="libxml2"), (NODE,), None, False, False),
        (a_sliver(generator=GENERATOR), (), None, False, True),
        (a_sliver(NODE, CTL, generator=GENERATOR), (NODE,), None, False, False),
        (a_sliver(NODE, CTL), (NODE,), NOTHING, True, False),
        (a_sliver(NODE, unread=1), (NODE,), NOTHING, True, False),
        (a_sliver(NODE, CTL), (NODE,), MADE, False, True),
        (a_sliver(NODE, generator=GENERATOR), (NODE,), replace(MADE, made=False), True, False),
        (a_sliver(NODE, CTL), (NODE,), replace(MADE, sliver_urn="old"), False, False),
        (a_sliver(NODE), (NODE,), replace(MADE, sliver_urn="old"), True, False),
        (
            a_sliver(NODE, generator=GENERATOR),
            (NODE,),
            replace(MADE, sliver_urn="old", made=False),
            False,
            True,
        ),
        (a_sliver(NODE, CTL), (NODE,), replace(MADE, sliver_urn="", machines={"es-3": "s3"}), False, True),
        (a_sliver(NODE, CTL), (NODE,), replace(MADE, sliver_urn="", machines={"es-3": "pc3"}), False, True),
        (a_sliver(NODE, CTL), (NODE,), replace(MADE, sliver_urn="", machines={"es-3": "s1"}), False, False),
        (a_sliver(NODE), (NODE,), replace(MADE, there=False, made=False), True, True),
    ],
)
def test_a_sliver_is_known_to_be_ours_if_we_asked_for_it_until_it_is_gone(
    sliver: Sliver | None, ours: tuple[SliverNode, ...], before: Holding | None, asked: bool, made: bool
) -> None:
    assert is_made_by_us(sliver, ours, before, asked=asked) is made


@pytest.mark.parametrize(
    ("sliver", "leaving", "goes"),
    [
        (a_sliver(), (), True),
        (a_sliver(NODE), (NODE,), True),
        (a_sliver(NODE), (), False),
        (a_sliver(NODE, CTL), (NODE,), False),
        (a_sliver(unread=1), (), False),
        (a_sliver(NODE, STORE), (NODE,), True),
    ],
)
def test_a_sliver_goes_whole_with_all_that_is_in_it(
    sliver: Sliver, leaving: tuple[SliverNode, ...], goes: bool
) -> None:
    assert goes_whole(ANY, sliver, leaving, made=True, has_foreign=False) is goes


@pytest.mark.parametrize(
    ("slice_is", "made", "has_foreign", "goes"),
    [
        (None, True, False, True),
        (None, False, False, False),
        ("shared", True, False, True),
        ("shared", False, False, False),
        ("ours", False, False, True),
        ("ours", True, True, False),
    ],
)
def test_a_sliver_goes_whole_only_if_it_is_known_to_be_ours(
    slice_is: SliceIs | None, made: bool, has_foreign: bool, goes: bool
) -> None:
    site = Ownership(slice_is=slice_is)
    assert goes_whole(site, a_sliver(NODE), (NODE,), made=made, has_foreign=has_foreign) is goes
