"""What is known of machines, as manifests and statuses come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model import NodeStatus, Sliver, SliverNode, SliverStatus
from agent.core.slice.machines import Changes, Machine, MachineBook, Sightings, judge_boot

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM, OTHER = "urn:cm", "urn:other"
PATIENCE = 600.0
SIGHTINGS = 3
STRANGERS = {"ctl", "nfs"}
"""client_ids of machines that are not ours."""


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def node(number: int, cm: str = CM, **changes: str) -> SliverNode:
    made = SliverNode(f"node-{number}", f"pc{number}", cm, f"s{number}")
    return replace(made, **changes)  # type: ignore[arg-type]


def nobody(_: SliverNode) -> bool:
    return False


def show(
    book: MachineBook,
    *nodes: SliverNode,
    cm: str = CM,
    asked: dict[str, datetime] | None = None,
    announced: Callable[[SliverNode], bool] = nobody,
    remembered: Iterable[SliverNode] = (),
) -> Changes:
    """Let a CM show a sliver with these machines."""
    sliver = Sliver(cm, f"{cm}+sliver", None, nodes, "<rspec/>")
    return book.observe(
        cm,
        sliver,
        now=NOON,
        ours=lambda each: each.client_id not in STRANGERS,
        asked=asked or {},
        announced=announced,
        sightings=SIGHTINGS,
        remembered=remembered,
    )


def show_nothing(book: MachineBook, cm: str = CM) -> Changes:
    return book.observe(
        cm, None, now=NOON, ours=lambda _: True, asked={}, announced=nobody, sightings=SIGHTINGS
    )


def status(*entries: tuple[SliverNode, str], cm: str = CM) -> SliverStatus:
    nodes = tuple(
        NodeStatus(n.client_id, n.node_id, n.sliver_id, "started", said, error="TBFAILED")
        for n, said in entries
    )
    return SliverStatus(cm, "started", "mixed", "", nodes)


def book_of(*nodes: SliverNode, cm: str = CM) -> MachineBook:
    book = MachineBook()
    show(book, *nodes, cm=cm)
    return book


def ready(book: MachineBook, *nodes: SliverNode) -> tuple[Machine, ...]:
    return book.judge(status(*((n, "ready") for n in nodes)), NOON, PATIENCE)


def test_a_machine_begins_without_a_fate() -> None:
    assert Machine(node(1), NOON) == Machine(node(1), NOON, "", "", proven=False)


# --- manifests


def test_a_machine_is_new_once() -> None:
    book = MachineBook()
    assert show(book, node(1)) == Changes((node(1),), (), ())
    assert show(book, node(1), node(2)) == Changes((node(2),), (), ())
    assert book.held() == (node(1), node(2))
    assert book.with_fate("") == (node(1), node(2))


def test_what_the_manifest_says_of_a_machine_is_taken_over() -> None:
    book = book_of(node(1))
    show(book, node(1, address="10.0.0.9"))
    assert book.with_fate("") == (node(1, address="10.0.0.9"),)


def test_a_machine_without_a_sliver_id_is_known_by_its_client_id() -> None:
    one, two = node(1, sliver_id=""), node(2, sliver_id="")
    book = book_of(one, two)
    assert book.held() == (one, two)
    [settled] = book.judge(status((two, "ready")), NOON, PATIENCE)
    assert settled.node == two


def test_a_machine_counts_as_gone_when_several_manifests_in_a_row_lack_it() -> None:
    book = book_of(node(1), node(2))
    assert show(book, node(1)) == Changes((), (), (node(2),))
    assert show(book, node(1)) == Changes((), (), (node(2),))
    assert book.with_fate("") == (node(1),), "nobody knows how one is that was not seen"
    assert show(book, node(1)) == Changes((), (node(2),), ())
    assert show(book, node(1)) == Changes((), (), ())


def test_a_machine_that_is_back_in_the_manifest_begins_its_row_anew() -> None:
    book = book_of(node(1))
    for _ in range(SIGHTINGS - 1):
        assert show(book).missing == (node(1),)
    assert book.in_doubt(CM)
    assert show(book, node(1)) == Changes((), (), ())
    assert not book.in_doubt(CM)
    assert show(book).missing == (node(1),)


def test_what_a_manifest_lacks_is_in_doubt_until_it_is_back_or_gone() -> None:
    book = book_of(node(1), node(2))
    assert book.doubted() == ()
    show(book, node(1))
    assert book.doubted() == book.doubted(CM) == (node(2),)
    assert book.doubted(OTHER) == ()
    show(book, node(1), node(2))
    assert book.doubted() == ()
    for _ in range(SIGHTINGS - 1):
        show_nothing(book)
        assert set(book.doubted()) == {node(1), node(2)}
    assert not book.is_absent(CM, SIGHTINGS)
    show_nothing(book)
    assert book.doubted() == ()
    assert book.is_absent(CM, SIGHTINGS)
    assert not book.is_absent(OTHER, 1)
    show(book)
    assert not book.is_absent(CM, 1)


def test_what_the_first_manifest_lacks_of_an_earlier_run_is_in_doubt_and_told_to_nobody() -> None:
    one, two = (SliverNode(f"node-{n}", "", CM, f"s{n}") for n in (1, 2))
    book = MachineBook()
    assert show(book, node(1), remembered=[one, two]) == Changes((node(1),), (), ())
    assert book.doubted() == (two,)
    assert book.not_gone(CM) == {"node-1": "s1", "node-2": "s2"}
    assert show(book, node(1), remembered=[one, two]) == Changes((), (), ())
    assert show(book, node(1), node(2)) == Changes((node(2),), (), ())
    assert book.doubted() == ()
    gone = MachineBook()
    for _ in range(SIGHTINGS):
        assert show(gone, remembered=[two]) == Changes((), (), ())
    assert gone.doubted() == ()


def test_a_nameless_machine_takes_the_place_of_none_that_is_remembered() -> None:
    book = MachineBook()
    show(book, node(1, node_id=""), remembered=[SliverNode("node-2", "", CM, "s2")])
    assert [n.client_id for n in book.doubted()] == ["node-2"]


def test_a_machine_whose_leaving_was_announced_is_gone_at_once() -> None:
    book = book_of(node(1), node(2))
    assert show(book, announced=lambda n: n.node_id == "pc2") == Changes((), (node(2),), (node(1),))


@pytest.mark.parametrize(
    "successor",
    [node(2, client_id="node-1"), node(2, node_id="pc1"), node(1, sliver_id="s2")],
)
def test_a_machine_whose_place_another_one_took_is_gone_at_once(successor: SliverNode) -> None:
    book = book_of(node(1))
    assert show(book, successor) == Changes((successor,), (node(1),), ())


def test_a_machine_is_as_old_as_its_request_or_as_its_first_manifest() -> None:
    book = MachineBook()
    show(book, node(1), node(2), asked={"node-1": later(-500)})
    assert [m.node for m in book.judge(status(), later(200), PATIENCE)] == [node(1)]
    assert [m.node for m in book.judge(status(), later(601), PATIENCE)] == [node(2)]


def test_a_cm_without_a_sliver_has_no_status_either() -> None:
    book = book_of(node(1))
    ready(book, node(1))
    assert book.status_of(node(1)) is not None
    show_nothing(book)
    assert book.slivers == {CM: None}
    assert book.statuses == {}
    assert book.status_of(node(1)) is None
    show_nothing(book, OTHER)
    assert book.slivers == {CM: None, OTHER: None}


def test_machines_are_told_by_cm() -> None:
    book = book_of(node(1))
    show(book, node(2, OTHER), cm=OTHER)
    assert book.held() == (node(1), node(2, OTHER))
    assert book.held(OTHER) == (node(2, OTHER),)
    assert book.held("urn:third") == ()
    assert book.with_fate("") == (node(1), node(2, OTHER))
    assert book.with_fate("", OTHER) == (node(2, OTHER),)
    assert book.with_fate("", "urn:third") == ()


def test_a_machine_may_be_touched_while_the_last_manifest_has_it() -> None:
    book = book_of(node(1))
    assert book.may_touch(node(1))
    assert not book.may_touch(node(2))
    assert not book.may_touch(node(1, OTHER))
    show(book)
    assert not book.may_touch(node(1))


# --- an empty sliver


def strange(name: str, cm: str = CM) -> SliverNode:
    return SliverNode(name, f"pc-{name}", cm, f"s-{name}")


def test_machines_that_are_not_ours_are_told_by_cm_and_may_not_be_touched() -> None:
    ctl, nfs, other = strange("ctl"), strange("nfs"), strange("ctl", OTHER)
    book = book_of(ctl, node(1), nfs)
    show(book, other, cm=OTHER)
    assert (book.foreign(CM), book.foreign(OTHER), book.foreign("urn:none")) == ((ctl, nfs), (other,), ())
    assert book.foreign() == (ctl, nfs, other)
    assert book.held() == (node(1),)
    assert not book.may_touch(ctl)


def test_machines_that_are_not_ours_come_once_and_go_once() -> None:
    ctl, nfs = strange("ctl"), strange("nfs")
    book = MachineBook()
    assert show(book, ctl) == Changes((), (), (), foreign=(ctl,))
    assert show(book, ctl, nfs) == Changes((), (), (), foreign=(nfs,))
    assert show(book, nfs) == Changes((), (), (), foreign_gone=(ctl,))
    assert show(book, nfs) == Changes((), (), ())
    assert show_nothing(book) == Changes((), (), (), foreign_gone=(nfs,))


def test_one_that_has_become_ours_is_not_gone() -> None:
    taken = strange("ctl")
    book = book_of(taken)
    changes = book.observe(
        CM,
        Sliver(CM, f"{CM}+sliver", None, (taken,), "<rspec/>"),
        now=NOON,
        ours=lambda _: True,
        asked={},
        announced=nobody,
        sightings=SIGHTINGS,
    )
    assert changes == Changes((taken,), (), ())


def test_those_of_ours_that_a_manifest_lacks_are_not_gone_before_several_do() -> None:
    book = book_of(node(1), node(2), strange("ctl"))
    show(book, node(2))
    assert book.not_gone(CM) == {"node-1": "s1", "node-2": "s2"}
    for _ in range(SIGHTINGS):
        show(book, node(2))
    assert book.not_gone(CM) == {"node-2": "s2"}
    assert book.not_gone(OTHER) == {}


def test_a_sliver_is_bare_when_several_manifests_in_a_row_have_no_machine() -> None:
    book = MachineBook()
    assert not book.is_bare(CM, 1)
    show(book)
    assert book.is_bare(CM, 1)
    assert not book.is_bare(CM, 2)
    show(book)
    assert book.is_bare(CM, 2)
    assert not book.is_bare(CM, 3)


def test_a_machine_in_between_or_no_sliver_at_all_begins_that_row_anew() -> None:
    book = MachineBook()
    show(book)
    show(book, node(1), announced=lambda _: True)
    show(book, announced=lambda _: True)
    assert book.is_bare(CM, 1)
    assert not book.is_bare(CM, 2)
    show_nothing(book)
    assert not book.is_bare(CM, 1)
    show(book)
    assert not book.is_bare(CM, 2)


def test_a_sliver_is_not_bare_while_a_machine_is_in_doubt() -> None:
    book = book_of(node(1))
    show(book)
    assert not book.is_bare(CM, 1)
    show(book)
    show(book)
    assert book.is_bare(CM, 1)


# --- statuses and fates


def test_a_fate_is_settled_once() -> None:
    book = book_of(node(1), node(2))
    [one] = book.judge(status((node(1), "ready"), (node(2), "changing")), NOON, PATIENCE)
    assert (one.node, one.fate, one.reason) == (node(1), "ready", "it is started and ready")
    [two] = book.judge(status((node(1), "failed"), (node(2), "failed")), NOON, PATIENCE)
    assert (two.node, two.fate, two.reason) == (node(2), "failed", "its status is failed: TBFAILED")
    assert book.with_fate("ready") == (node(1),)
    assert book.with_fate("failed") == (node(2),)
    assert book.with_fate("") == ()


def test_a_machine_that_no_manifest_shows_is_not_judged() -> None:
    book = book_of(node(1))
    show(book)
    assert book.judge(status(), later(9999), PATIENCE) == ()
    show(book, node(1))
    assert len(book.judge(status(), later(9999), PATIENCE)) == 1


def test_without_a_status_the_deadline_alone_judges() -> None:
    book = book_of(node(1))
    show(book, node(2, OTHER), cm=OTHER)
    assert book.judge_unseen(CM, later(PATIENCE), PATIENCE) == ()
    [late] = book.judge_unseen(CM, later(PATIENCE + 1), PATIENCE)
    assert (late.node, late.fate) == (node(1), "failed")
    assert book.judge_unseen("urn:third", later(9999), PATIENCE) == ()


def test_the_last_status_tells_how_a_machine_is() -> None:
    book = book_of(node(1), node(2))
    book.judge(status((node(1), "changing"), (node(2), "ready")), NOON, PATIENCE)
    entry = book.status_of(node(2))
    assert entry is not None
    assert entry.status == "ready"
    assert book.status_of(node(3)) is None
    assert book.status_of(node(2, OTHER)) is None


def test_a_machine_is_given_up_once_even_if_it_was_ready() -> None:
    book = book_of(node(1), node(2))
    ready(book, node(1), node(2))
    machine = book.give_up(CM, "node-2", "its disk died")
    assert machine is not None
    assert (machine.node, machine.fate, machine.reason) == (node(2), "failed", "its disk died")
    assert book.give_up(CM, "node-2", "again") is None
    assert machine.reason == "its disk died"
    assert book.give_up(CM, "node-3", "unknown") is None
    assert book.give_up(OTHER, "node-1", "elsewhere") is None
    assert book.with_fate("ready") == (node(1),)


# --- machines that are not ours any more


def test_a_machine_that_its_cm_denies_is_lost_at_the_last_sighting() -> None:
    book = book_of(node(1), node(2))
    first = book.disown(CM, "pc2", 2, NOON)
    assert first is not None
    assert first.node == node(2)
    assert book.in_doubt(CM)
    assert book.lost(CM) == ()
    assert book.disown(CM, "pc2", 2, NOON) is first
    assert book.lost(CM) == (node(2),)
    assert book.held() == book.with_fate("") == (node(1),)
    assert not book.may_touch(node(2))
    assert not book.in_doubt(CM)
    assert book.disown(CM, "pc2", 2, NOON) is None


def test_looks_that_follow_each_other_at_once_are_one_sighting() -> None:
    """One fault of a CM may last for a moment, in which more than one step asks it."""
    seen = Sightings()
    for seconds, count in ((0, 1), (14.9, 1), (15, 2), (29, 2), (31, 3)):
        seen = seen.again(NOON + timedelta(seconds=seconds), 15)
        assert seen.count == count


def test_a_lost_machine_stays_lost_while_the_manifest_has_it() -> None:
    book = book_of(node(1), node(2))
    book.disown(CM, "pc2", 1, NOON)
    assert show(book, node(1), node(2)) == Changes((), (), ())
    assert book.lost(CM) == (node(2),)
    assert book.held() == (node(1),)
    assert show(book, node(1)) == Changes((), (), ())
    assert book.lost(CM) == ()
    assert show(book, node(1), node(2)) == Changes((node(2),), (), ()), "it was given to us again"


@pytest.mark.parametrize("known", ["", "s2"])
def test_a_lost_machine_is_known_with_and_without_its_sliver_id(known: str) -> None:
    lost = node(2, sliver_id=known)
    book = book_of(node(1), lost)
    book.disown(CM, "pc2", 1, NOON)
    told = book.recognise(
        CM, Sliver(CM, "urn:sliver", None, (node(1), node(2, sliver_id="" if known else "s2")), "")
    )
    assert told is not None
    assert told.nodes == (node(1), lost)


def test_a_sliver_with_a_lost_machine_is_not_bare() -> None:
    book = book_of(node(1))
    book.disown(CM, "pc1", 1, NOON)
    show(book, node(1))
    assert not book.is_bare(CM, 1)


def test_a_machine_that_the_status_shows_again_is_denied_no_more() -> None:
    book = book_of(node(1))
    book.disown(CM, "pc1", 2, NOON)
    ready(book, node(1))
    assert not book.in_doubt(CM)
    book.disown(CM, "pc1", 2, NOON)
    assert book.lost(CM) == ()


def test_nothing_is_known_of_strangers() -> None:
    book = book_of(node(1))
    assert book.disown(CM, "pc9", 1, NOON) is None
    assert book.disown(OTHER, "pc1", 1, NOON) is None
    assert book.lost(OTHER) == ()
    assert not book.in_doubt(OTHER)


def test_a_cm_is_in_doubt_when_one_of_its_machines_is() -> None:
    book = book_of(node(1), node(2))
    assert not book.in_doubt(CM)
    show(book, node(1))
    assert book.in_doubt(CM)


# --- new machines that prove themselves


def asked_for(*nodes: SliverNode) -> MachineBook:
    book = MachineBook()
    show(book, *nodes, asked={each.client_id: NOON for each in nodes})
    return book


def test_a_machine_proves_itself_once() -> None:
    book = asked_for(node(1))
    assert book.unproven(NOON) == (node(1),)
    assert book.prove(node(1))
    assert not book.prove(node(1))
    assert book.unproven(NOON) == ()
    assert not book.prove(node(2))
    assert not book.prove(node(1, OTHER))


def test_a_failed_one_and_one_in_doubt_will_not_prove_themselves() -> None:
    book = asked_for(node(1), node(2), node(3), node(4))
    book.prove(node(1))
    book.give_up(CM, "node-2", "it did not boot")
    assert book.unproven(NOON) == (node(3), node(4))
    book.disown(CM, "pc3", SIGHTINGS, NOON)
    assert book.unproven(NOON) == (node(4),)
    show(book, node(1), node(2), node(3))
    assert book.unproven(NOON) == ()
    assert MachineBook().unproven(NOON) == ()


def test_one_that_starts_is_not_waited_for_for_ever_and_a_ready_one_is() -> None:
    book = asked_for(node(1), node(2))
    ready(book, node(1))
    assert book.unproven(later(1)) == (node(1),)


def test_one_that_is_ready_when_it_is_first_seen_was_of_use_before() -> None:
    book = book_of(node(1), node(2), node(3))
    book.judge(status((node(1), "ready"), (node(2), "changing"), (node(3), "failed")), NOON, PATIENCE)
    ready(book, node(2))
    assert not book.prove(node(1))
    assert book.prove(node(2)), "it was seen to start"
    assert book.prove(node(3)), "its fault counts"


def test_one_that_was_asked_for_proves_itself_however_fast_it_is_ready() -> None:
    book = asked_for(node(1))
    ready(book, node(1))
    assert book.prove(node(1))


# --- booting


def entry(state: str = "started", said: str = "changing", error: str = "TBFAILED") -> NodeStatus:
    return NodeStatus("node-1", "pc1", "s1", state, said, rawstate="PXEWAIT", error=error)


@pytest.mark.parametrize(
    ("seen", "age", "expected"),
    [
        (entry(), 10, ""),
        (entry(), 600, ""),
        (entry(), 601, "failed"),
        (entry(said="ready"), 10, "ready"),
        (entry(said="ready"), 6000, "ready"),
        (entry(state="stopped", said="ready"), 10, ""),
        (entry(said="failed"), 10, "failed"),
        (entry(said="never heard of"), 10, ""),
        (None, 10, ""),
        (None, 601, "failed"),
    ],
)
def test_a_boot_is_judged_by_status_and_time(seen: NodeStatus | None, age: float, expected: str) -> None:
    verdict = judge_boot(seen, NOON, later(age), 600)
    assert verdict.status == expected
    assert bool(verdict.reason) == bool(expected)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (entry(said="ready"), "it is started and ready"),
        (entry(said="failed"), "its status is failed: TBFAILED"),
        (entry(said="failed", error=""), "its status is failed: no reason given"),
        (entry(), "it is not ready after 10m (started, changing, PXEWAIT)"),
        (None, "it is not ready after 10m (no status)"),
    ],
)
def test_the_verdict_on_a_boot_says_why(seen: NodeStatus | None, reason: str) -> None:
    assert judge_boot(seen, NOON, later(601), 600).reason == reason
