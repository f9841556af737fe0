"""Whose word empties a node, and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.cluster.drain.wanted import Said, Situation, drains_of, most_urgent, wishes_of
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import AdminDrain, Revocation, SliverNode
from agent.slurm.model import Job, Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
MACHINE = SliverNode("node-1", "pc1", "urn:cm", "urn:sliver+1", "d430", "", "", "")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def revoked(node: str, seconds: float) -> Drain:
    return Drain(node, DrainCause.REVOKED, at(seconds))


def situation(*nodes: Node, jobs: tuple[Job, ...] = (), **changes: Any) -> Situation:
    """One machine of ours that nobody wants empty, but for the changes."""
    said = Said(changes.pop("admin", {}), changes.pop("take_over", ()), changes.pop("taken_as", {}))
    calm = Situation(
        machines={"pc1": MACHINE},
        all_read=True,
        snapshot=Snapshot(NOW, {node.name: node for node in nodes}, jobs),
        revocations={},
        taken=(),
        useless=(),
        hold=None,
        leases={},
        said=said,
        limited=frozenset({"main"}),
    )
    return replace(calm, **changes)


def cause(now: Situation) -> DrainCause | None:
    drain = drains_of(now).get("pc1")
    return drain.cause if drain else None


def test_a_machine_that_nobody_wants_empty_is_not_emptied() -> None:
    assert drains_of(situation(Node("pc1", "IDLE"))) == {}


def test_a_machine_is_taken_or_revoked_as_itself_and_not_as_one_that_had_its_place_before() -> None:
    assert cause(situation(taken={"pc1"})) is DrainCause.TAKEN
    assert cause(situation(taken={"pc1"}, taken_as={"pc1": "node-1"})) is DrainCause.TAKEN
    assert cause(situation(taken={"pc1"}, taken_as={"pc1": "node-0"})) is None
    for client_id, expected in (("", DrainCause.REVOKED), ("node-1", DrainCause.REVOKED), ("node-0", None)):
        revocation = Revocation("pc1", client_id, at(900), NOW, NOW)
        assert cause(situation(revocations={"pc1": revocation})) is expected


def test_an_administrators_wish_is_carried_with_all_that_was_said() -> None:
    wish = AdminDrain("pc1", "disk", "ada", NOW, at(60), give_back=True)
    (drain,) = drains_of(situation(admin={"pc1": wish}, take_over={"pc1"})).values()
    assert drain == Drain("pc1", DrainCause.ADMIN, at(60), "ada", "disk", give_back=True, takes_over=True)
    (drain,) = drains_of(situation(admin={"pc1": wish})).values()
    assert not drain.takes_over


def test_what_is_of_no_use_is_surplus_and_an_administrators_wish_comes_first() -> None:
    assert cause(situation(useless={"pc1"})) is DrainCause.SURPLUS
    wish = AdminDrain("pc1", "disk", "ada", NOW)
    assert cause(situation(useless={"pc1"}, admin={"pc1": wish})) is DrainCause.ADMIN


def test_a_teardown_drains_a_node_as_its_administrator_would_and_calls_it_surplus_once_it_is_empty() -> None:
    hold = AdminDrain("", "teardown", "ada", NOW, at(600))
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}))
    drained = Node("pc1", "IDLE", frozenset({"DRAIN"}))
    asked = Drain("pc1", DrainCause.ADMIN, at(600), "ada", "teardown")
    assert drains_of(situation(Node("pc1", "IDLE"), hold=hold)) == {"pc1": asked}
    assert drains_of(situation(drained, jobs=(job,), hold=hold)) == {"pc1": asked}
    assert drains_of(situation(hold=hold, snapshot=None)) == {"pc1": asked}
    for now in (situation(drained, hold=hold), situation(hold=hold)):
        assert drains_of(now) == {"pc1": Drain("pc1", DrainCause.SURPLUS)}


def test_in_a_teardown_other_wishes_of_administrators_do_not_count_and_a_revocation_does() -> None:
    hold = AdminDrain("", "teardown", "ada", NOW)
    wish = AdminDrain("pc1", "disk", "bob", NOW)
    (drain,) = drains_of(situation(hold=hold, admin={"pc1": wish}, snapshot=None)).values()
    assert drain.who == "ada"
    revocation = Revocation("pc1", "", at(900), NOW, NOW)
    assert cause(situation(hold=hold, revocations={"pc1": revocation})) is DrainCause.REVOKED


def test_a_pause_empties_nothing() -> None:
    assert drains_of(situation(hold=AdminDrain("", "pause", "ada", NOW))) == {}


LIMITED = Node("pc1", "IDLE", partitions=("main",))
FENCED = DrainSettings(fence=True, cleanup_lead=30)


def test_without_fences_those_that_stand_are_removed_and_while_not_all_is_known_they_stay() -> None:
    now = situation(LIMITED, leases={"urn:cm": at(9000)})
    assert wishes_of(now, DrainSettings()).fences == {}
    assert wishes_of(replace(now, snapshot=None), FENCED).fences is None
    assert wishes_of(replace(now, all_read=False), FENCED).fences is None


def test_a_node_whose_jobs_have_a_limit_is_fenced_at_the_end_of_its_lease() -> None:
    now = situation(LIMITED, leases={"urn:cm": at(9000)})
    wishes = wishes_of(now, FENCED)
    assert wishes.fences == {"pc1": at(8970)}
    assert wishes.ours == {"pc1"}
    assert wishes_of(replace(now, limited=frozenset()), FENCED).fences == {}
    assert wishes_of(replace(now, leases={}), FENCED).fences == {}


def test_a_revocation_comes_before_an_administrators_wish_and_that_before_a_surplus() -> None:
    admin = Drain("pc1", DrainCause.ADMIN, who="ada", why="x")
    surplus = Drain("pc1", DrainCause.SURPLUS)
    assert most_urgent([surplus, admin]) == {"pc1": admin}
    seconded = replace(revoked("pc1", 9), seconded=True)
    assert most_urgent([admin, revoked("pc1", 9), surplus]) == {"pc1": seconded}
    assert most_urgent([revoked("pc1", 9)]) == {"pc1": revoked("pc1", 9)}


@pytest.mark.parametrize(("due", "earlier"), [(None, 900), (60, 60), (1200, 900)])
def test_a_revoked_node_is_emptied_by_an_administrators_deadline_where_that_is_earlier(
    due: int | None, earlier: int
) -> None:
    admin = Drain("pc1", DrainCause.ADMIN, at(due) if due else None, who="ada", why="x")
    for drains in ([admin, revoked("pc1", 900)], [revoked("pc1", 900), admin]):
        (chosen,) = most_urgent(drains).values()
        assert (chosen.cause, chosen.deadline) == (DrainCause.REVOKED, at(earlier))
