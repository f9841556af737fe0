"""A machine that goes with its lease is emptied as one that Cloudlab calls for."""

from dataclasses import replace

import pytest

from agent.cluster.drain.wanted import drains_of, wishes_of
from agent.cluster.moment import Moment
from agent.cluster.reasons import Drain, DrainCause, marks, parse_reason
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.shrink.departures import plan_departures
from agent.cluster.view import node_views
from agent.cluster.wishes.going import why_not_resumed
from agent.core.model import AdminDrain
from agent.core.said import Revocation
from agent.core.slice.ending import Ending
from agent.slurm.model import Node
from tests.unit.cluster.conftest import UTAH, a_machine, a_moment, settings_with
from tests.unit.cluster.drain.conftest import NOW, at

MACHINE = a_machine(1)
MARKS = marks(MACHINE)
ENDING = Ending(UTAH, at(3000), NOW, "others have reserved it")
WITH_ITS_LEASE = Drain("pc1", DrainCause.LEASE, at(3000), give_back=True, begun=NOW, slivers=MARKS)


def ending(*nodes: Node, of: Ending = ENDING, facts: dict | None = None, **fields) -> Moment:
    return a_moment(*nodes, machines=[MACHINE], facts={"endings": {UTAH: of}, **(facts or {})}, **fields)


def test_every_machine_of_the_sliver_is_emptied_by_its_end() -> None:
    assert drains_of(ending()) == {"pc1": WITH_ITS_LEASE}


def test_a_notice_comes_first_and_the_earlier_deadline_holds() -> None:
    for due, expected in ((900, 900), (9000, 3000)):
        said = {"revocations": {"pc1": Revocation("pc1", "", at(due), NOW, NOW)}}
        (drain,) = drains_of(ending(facts=said)).values()
        assert (drain.cause, drain.deadline, drain.seconded) == (DrainCause.REVOKED, at(expected), True)


def test_an_administrators_earlier_deadline_holds() -> None:
    wish = AdminDrain("pc1", "disk", "ada", NOW, at(60))
    (drain,) = drains_of(ending(admin={("", "pc1"): wish})).values()
    assert (drain.cause, drain.deadline) == (DrainCause.LEASE, at(60))


def test_it_is_given_back_when_it_is_empty_unless_nobody_answered() -> None:
    assert drains_of(ending())["pc1"].leaves
    assert not drains_of(ending(of=replace(ENDING, gives_back=False)))["pc1"].leaves


def test_once_it_is_left_it_goes_back_by_our_own_call() -> None:
    pc1 = frozenset({"pc1"})
    drained = Node("pc1", "IDLE", frozenset({"DRAIN"}))
    left = ending(drained, chosen=pc1, leaving=pc1, emptied=pc1)
    assert plan_departures(left).empty == (MACHINE,)
    assert plan_departures(ending(drained)).empty == ()


def test_a_fence_stands_before_it_and_its_drain_waits_for_it() -> None:
    settings = settings_with(drain=DrainSettings(fence=True, fence_min=600, cleanup_lead=30))
    node = Node("pc1", "IDLE", partitions=("short",))
    moment = ending(node, settings=settings, limited=frozenset({"short"}))
    wishes = wishes_of(replace(moment, slice=replace(moment.slice, all_read=True)))
    assert wishes.fences == {"pc1": at(2970)}
    assert wishes.drains["pc1"].since == at(2400)


def test_its_reason_says_so_and_is_read_back() -> None:
    assert WITH_ITS_LEASE.reason == "esagent: its lease ends, due 2026-11-22T12:50:00Z, sliver 1"
    assert parse_reason("pc1", WITH_ITS_LEASE.reason) == replace(WITH_ITS_LEASE, give_back=False, begun=None)


def test_a_drain_of_an_earlier_run_holds_until_its_deadline_where_it_names_no_machine() -> None:
    drain = Drain("pc1", DrainCause.LEASE, at(60))
    assert drain.is_meant_for(MACHINE, NOW)
    assert not drain.is_meant_for(MACHINE, at(61))


def test_it_is_shown_with_its_deadline_and_is_not_resumed() -> None:
    (view,) = node_views(ending(Node("pc1", "IDLE")))
    assert view.due == at(3000)
    why = why_not_resumed(MACHINE, ending())
    assert why == "its lease ends at 2026-11-22T12:50:00Z: others have reserved it"


@pytest.mark.parametrize("foreign", [True, False])
def test_a_machine_of_others_in_the_sliver_is_emptied_where_revoked_ones_are(*, foreign: bool) -> None:
    facts = {"foreign": (a_machine(2),), "endings": {UTAH: ENDING}}
    settings = settings_with(drain=DrainSettings(foreign=foreign))
    drains = drains_of(a_moment(Node("pc2", "IDLE"), facts=facts, settings=settings))
    assert {name: drain.foreign for name, drain in drains.items()} == ({"pc2": True} if foreign else {})
