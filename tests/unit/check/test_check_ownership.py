"""What `esagent check` tells of whose the machines of a slice are, and of what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.check.finding import Finding, Grade
from agent.check.ownership import Held, check_lonely_lans, check_ownership, is_shared, ours_of, say_whose
from agent.core.model import Holding, LanPort, Sliver, SliverNode
from agent.core.ownership import GENERATOR, Claim, Ownership, SliceIs
from agent.core.request.helper import SimpleElasticSliceHelper

CM, OTHER = (f"urn:publicid:IDN+{name}.example.net+authority+cm" for name in ("utah", "wisc"))
NOTHING = "it has nothing that we did not ask for"
UNKNOWN = "nothing tells who asked for the sliver"
ARE = " machines of this slice are not ours:"
SAYS = "as [cloudlab] slice_is says"
AT = f"the sliver at {CM}"
GOES, STAYS = "goes with its last machine", "stays: only machines of ours are given back there"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def machine(client_id: str, cm: str = CM) -> SliverNode:
    return SliverNode(client_id, f"pc-{client_id}", cm, f"urn:sliver+{client_id}", "m510")


def held(*client_ids: str, cm: str = CM, generator: str = "", unread: int = 0, **fields) -> Held:
    nodes = tuple(machine(name, cm) for name in client_ids)
    return Held(cm, Sliver(cm, "urn:sliver", NOON, nodes, "", unread=unread, generator=generator), **fields)


def made(*client_ids: str, cm: str = CM) -> Held:
    """A sliver that the ledger knows as one that we asked for, with these machines."""
    machines = {name: f"urn:sliver+{name}" for name in client_ids}
    return held(*client_ids, cm=cm, before=Holding(cm, machines, NOON, there=True, made=True))


def look(*helds: Held, own: str = "", never: str = "", slice_is=None) -> list[Finding]:
    words = {"own": own.split(), "never": never.split()}
    ownership = Ownership(frozenset(words["own"]), frozenset(words["never"]), slice_is)
    said = say_whose(helds, ownership, SimpleElasticSliceHelper(node_prefix="es"))
    sets = {key: {word: frozenset({word}) for word in each} for key, each in words.items()}
    return list(check_ownership(helds, said, ownership, sets))


def about(subject: str, findings: list[Finding]) -> Finding:
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


# --- machines


def test_each_machine_is_told_with_what_makes_it_ours_or_not() -> None:
    before = Holding(CM, {"es-1": "urn:sliver+es-1"}, NOON)
    found = look(
        held("ctl", "nfs", "cp-1", "cp-2", "es-1", "es-2", asked=frozenset({"es-2"}), before=before),
        own="cp-1 cp-2",
        never="pc-cp-2",
    )
    assert about(f"machines at {CM}", found) == Finding(
        f"machines at {CM}",
        Grade.FINE,
        "3 ours: cp-1 ([request] own names it), es-1 (it was ours before), es-2 (we asked for it); "
        "3 not ours, and left alone: ctl, nfs (nothing says that we asked for it), "
        "cp-2 ([request] never names it)",
    )


def test_a_cm_without_a_sliver_has_none() -> None:
    assert about(f"machines at {CM}", look(Held(CM, None))).seen == "none"


def test_machines_without_a_usable_name_are_counted() -> None:
    seen = about(f"machines at {CM}", look(held("ctl", unread=2))).seen
    assert seen.endswith("; 2 without a usable name, and left alone")


def test_a_name_of_ours_that_nothing_remembers_is_told_before_its_machine_is_taken_over() -> None:
    told, warned, *_ = look(held("ctl", "es-1", "es-7"))
    assert told.grade is Grade.FINE
    assert "2 ours: es-1, es-7 (its name is one that we give)" in told.seen
    assert warned == Finding(
        f"machines at {CM}",
        Grade.WARNING,
        "nothing remembers that we asked for es-1, es-7: the agent takes over what has its names, and"
        " gives it back when it is idle",
        "name in [request] never what is not ours, or choose another [request] node_prefix",
    )


def test_what_the_ledger_or_a_setting_explains_is_no_surprise() -> None:
    found = look(made("es-1"), held("es-2", cm=OTHER), own="es-2")
    assert [finding.grade for finding in found if finding.subject.startswith("machines at")] == [
        Grade.FINE,
        Grade.FINE,
    ]


def test_only_a_machine_that_is_ours_may_be_logged_in_to() -> None:
    helds = (held("ctl", "es-1", "es-2"), held("cp-1", cm=OTHER))
    said = say_whose(helds, Ownership(never=frozenset({"es-2"})), SimpleElasticSliceHelper(node_prefix="es"))
    assert [node.client_id for node in ours_of([said])] == ["es-1"]


# --- the slice


@pytest.mark.parametrize(
    ("helds", "slice_is", "grade", "words"),
    [
        ((Held(CM, None),), None, Grade.FINE, f"ours: {NOTHING}; a sliver that we ask for {GOES}"),
        ((made("es-1"), Held(OTHER, None)), None, Grade.FINE, f"ours: {NOTHING}; {AT} {GOES}"),
        (
            (held("es-1", generator=GENERATOR),),
            None,
            Grade.FINE,
            f"ours: {NOTHING}; {AT} {GOES}",
        ),
        ((held("es-1"),), None, Grade.WARNING, f"{UNKNOWN} at {CM}; {AT} {STAYS}"),
        ((held(),), None, Grade.WARNING, f"{UNKNOWN} at {CM}; {AT} {STAYS}"),
        (
            (held("es-1", generator=GENERATOR, unread=1),),
            None,
            Grade.WARNING,
            f"{UNKNOWN} at {CM}; {AT} {STAYS}",
        ),
        ((held("es-1"),), "ours", Grade.FINE, f"ours, {SAYS}; {AT} {GOES}"),
        ((held("es-1"),), "shared", Grade.FINE, f"shared, {SAYS}; {AT} {STAYS}"),
        ((made("es-1"),), "shared", Grade.FINE, f"shared, {SAYS}; {AT} {GOES}"),
        (
            (made("es-1"), held("ctl", "nfs", cm=OTHER)),
            None,
            Grade.FINE,
            f"shared, since 2{ARE} ctl, nfs; {AT} {GOES}; the sliver at {OTHER} {STAYS}",
        ),
        (
            (held("ctl", "nfs", "es-1"),),
            "ours",
            Grade.WARNING,
            f"[cloudlab] slice_is says that it is ours, and 2{ARE} ctl, nfs; {AT} {STAYS}",
        ),
    ],
)
def test_whose_the_slice_is_and_what_follows(helds, slice_is, grade: Grade, words: str) -> None:
    found = about("whose slice", look(*helds, slice_is=slice_is))
    assert (found.grade, found.seen) == (grade, words)


def test_where_a_setting_would_tell_or_tells_wrong_it_is_named() -> None:
    found = about("whose slice", look(held("es-1"), held("es-2", cm=OTHER)))
    assert found.seen.startswith(f"{UNKNOWN} at {CM}, {OTHER}; ")
    assert found.mend == 'set [cloudlab] slice_is to "ours", or to "shared" where others have a part in it'
    found = about("whose slice", look(held("ctl"), slice_is="ours"))
    assert found.mend == 'set it to "shared", or name in [request] own what is ours'


def test_a_sliver_that_was_asked_for_just_now_is_ours() -> None:
    before = Holding(CM, {}, None, there=False)
    found = about("whose slice", look(held("es-1", before=before, asked=frozenset({"es-1"}))))
    assert found.seen == f"ours: {NOTHING}; {AT} {GOES}"


def test_a_sliver_with_a_block_store_that_is_never_ours_stays() -> None:
    sliver = made("es-1").sliver
    assert sliver is not None
    store = replace(machine("data"), sliver_type="emulab-blockstore")
    with_store = replace(made("es-1"), sliver=replace(sliver, nodes=(*sliver.nodes, store)))
    found = about("whose slice", look(with_store, never="data"))
    assert found.seen == f"shared, since 1 machine of this slice is not ours: data; {AT} {STAYS}"


# --- settings that name nothing


def test_a_name_that_is_to_be_protected_and_is_not_there_is_a_warning() -> None:
    found = about("[request] never", look(held("ctl", "nfs"), never="nfs Ctl Nfs"))
    assert (found.grade, found.seen) == (Grade.WARNING, "no machine of the slice has a name of Ctl, Nfs")
    assert found.mend == "take the names as `machines at` tells them; case matters"


def test_a_name_that_is_to_be_ours_and_is_not_there_may_come_yet() -> None:
    found = about("[request] own", look(held("ctl"), own="cp-3"))
    assert (found.grade, found.seen) == (Grade.FINE, "no machine of the slice has a name of cp-3 now")


def test_of_names_that_are_there_by_client_id_or_node_id_nothing_is_said() -> None:
    found = look(held("ctl", "cp-3"), own="pc-cp-3", never="ctl")
    assert not [finding for finding in found if finding.subject.startswith("[request]")]


def test_in_an_empty_slice_no_name_is_missed() -> None:
    assert not [f for f in look(Held(CM, None), own="cp-3", never="ctl") if f.subject.startswith("[request]")]


def on_lan(client_id: str, netmask: str = "255.255.255.0", lan: str = "lan-0") -> SliverNode:
    port = LanPort(lan, "10.10.1.1", netmask)
    return SliverNode(client_id, f"pc-{client_id}", "urn:cm", f"s-{client_id}", lans=(port,))


@pytest.mark.parametrize(
    ("nodes", "lonely"),
    [
        ({on_lan("ctl"): Claim.NONE, on_lan("es-1"): Claim.NAME}, True),
        (
            {
                replace(
                    on_lan("ctl"), lans=(*on_lan("ctl", lan="lan-1").lans, *on_lan("ctl").lans)
                ): Claim.NONE
            },
            True,
        ),
        ({on_lan("ctl"): Claim.NEVER, on_lan("nfs", lan="lan-1"): Claim.NONE}, True),
        ({on_lan("ctl"): Claim.NONE, on_lan("nfs"): Claim.NONE}, False),
        ({on_lan("ctl", netmask=""): Claim.NONE}, False),
        ({on_lan("es-1"): Claim.NAME, on_lan("es-2"): Claim.ASKED}, False),
    ],
)
def test_a_machine_that_would_lose_its_lan_with_our_last_machine_is_told(
    nodes: dict[SliverNode, Claim], lonely: bool
) -> None:
    told = Finding(
        "LANs at urn:cm",
        Grade.WARNING,
        "ctl would be alone in lan-0 when our last machine goes, and lose it",
        "give the LAN a second machine that is not the agent's, or set [demand] min_nodes",
    )
    assert list(check_lonely_lans({"urn:cm": nodes}, ["lan-0"])) == [told] * lonely


@pytest.mark.parametrize(
    ("claim", "slice_is", "shared"),
    [
        (Claim.NONE, None, True),
        (Claim.NEVER, None, True),
        (Claim.NAME, None, False),
        (Claim.PART, None, False),
        (Claim.NONE, "ours", False),
        (Claim.NAME, "shared", True),
    ],
)
def test_a_slice_is_shared_where_the_site_says_so_or_a_machine_of_others_is_there(
    claim: Claim, slice_is: SliceIs | None, shared: bool
) -> None:
    node = SliverNode("x", "pc1", CM, "urn:x")
    assert is_shared([{CM: {node: claim}}], slice_is) is shared
    assert is_shared([], slice_is) is (slice_is == "shared")
