"""Fences in time: which reservations are made, moved and removed."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.fence import FencePlan, Fencer, Mark, can_be_fenced, plan_fence, with_fences
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import LedgerError, SlurmDownError, SlurmRefusedError
from agent.slurm.cli.scontrol import parse_limited
from agent.slurm.model import Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import Slurm
from tests.unit.cluster.drain.conftest import NOW, SLICE, Made, at

FOREIGN = Reservation("maintenance", frozenset({"pc1"}), NOW, at(60))
MARK = Mark.of_slice(SLICE)
MADE = frozenset({"MAINT", "IGNORE_JOBS"})
HOUR = timedelta(hours=1)


def ours(starts: datetime) -> str:
    return MARK.name(starts, ())


def a_fencer(slurm: Slurm, *made: str, urn: str = SLICE) -> Fencer:
    return Fencer(slurm, urn, Made(*made))


def test_nodes_of_one_time_share_a_fence_and_others_are_left_alone() -> None:
    slurm = Slurm(reservations=[FOREIGN])
    a_fencer(slurm).step({"pc1": at(600), "pc2": at(600.4), "pc3": at(900)}, NOW)
    assert ours(at(600)).endswith("-20261122T121000Z")
    assert slurm.reserved == {
        "maintenance": FOREIGN,
        ours(at(600)): Reservation(ours(at(600)), frozenset({"pc1", "pc2"}), at(600), at(600) + HOUR, MADE),
        ours(at(900)): Reservation(ours(at(900)), frozenset({"pc3"}), at(900), at(900) + HOUR, MADE),
    }


def test_a_renewal_moves_a_fence_a_jitter_does_not_and_a_withdrawal_removes_it() -> None:
    slurm = Slurm(reservations=[FOREIGN])
    fencer = a_fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    fencer.step({"pc1": at(604)}, NOW)
    assert slurm.reserved.keys() == {ours(at(600)), "maintenance"}
    fencer.step({"pc1": at(1200)}, NOW)
    assert slurm.reserved.keys() == {ours(at(1200)), "maintenance"}
    fencer.step({}, NOW)
    assert slurm.reserved.keys() == {"maintenance"}


SITES_OWN = (
    Reservation("esagent-maintenance", frozenset({"pc1"}), at(600), at(7200), MADE),
    Reservation("esagent-20261122T121000Z", frozenset({"pc1"}), at(600), at(7200), MADE),
    # Named after one of ours, and without the flags: somebody made it by hand.
    Reservation(ours(at(900)), frozenset({"pc1"}), at(900), at(7200), frozenset({"SPEC_NODES"})),
    Reservation(
        Mark.of_slice("urn:publicid:IDN+example.net+slice+other").name(at(600), ()),
        *(frozenset({"pc9"}), at(600), at(7200), MADE),
    ),
)


@pytest.mark.parametrize("theirs", SITES_OWN, ids=["a name", "an older form", "no flags", "another slice"])
def test_a_reservation_that_does_not_bear_our_mark_is_not_touched_whatever_its_name(theirs) -> None:
    slurm = Slurm(reservations=[theirs])
    fencer = a_fencer(slurm)
    for wanted in ({}, {"pc1": at(600), "pc2": at(900)}, {}):
        fencer.step(wanted, NOW)
        assert slurm.reserved[theirs.name] == theirs
        assert sorted(n for r in slurm.reserved.values() if r != theirs for n in r.nodes) == sorted(wanted)


def test_ours_are_known_by_their_mark_without_a_ledger() -> None:
    slurm = Slurm()
    a_fencer(slurm).step({"pc1": at(600), "pc2": at(900)}, NOW)
    a_fencer(slurm, urn=SLICE.upper()).step({"pc2": at(900)}, NOW)
    assert slurm.reserved.keys() == {ours(at(900))}
    a_fencer(slurm).step({}, NOW)
    assert slurm.reserved == {}


def test_those_of_an_older_agent_are_known_by_the_ledger_and_are_cut_short() -> None:
    older = [
        Reservation(
            f"esagent-20261122T12{n}000Z", frozenset({f"pc{n}"}), at(600 * n), at(0) + 365 * 24 * HOUR, MADE
        )
        for n in (1, 2)
    ]
    slurm = Slurm(reservations=older)
    made = Made(*(fence.name for fence in older))
    Fencer(slurm, SLICE, made).step({"pc1": at(600)}, NOW)
    assert list(slurm.reserved.values()) == [replace(older[0], ends=at(600) + HOUR)]
    assert made.names == {older[0].name}


def test_what_is_made_is_written_down_before_and_struck_after() -> None:
    slurm, made = Slurm(), Made()
    fencer = Fencer(slurm, SLICE, made)
    slurm.refuses = {"pc1"}
    with pytest.raises(SlurmRefusedError):
        fencer.step({"pc1": at(600)}, NOW)
    assert made.names == {ours(at(600))}
    slurm.refuses = set()
    fencer.step({"pc1": at(900)}, NOW)
    assert made.names == {ours(at(900))}
    fencer.step({}, NOW)
    assert made.names == set()


def test_a_ledger_that_cannot_be_written_keeps_no_fence_from_being_made_or_removed() -> None:
    slurm, made = Slurm(), Made()
    made.fault = LedgerError("the disk is full")
    fencer = Fencer(slurm, SLICE, made)
    fencer.step({"pc1": at(600)}, NOW)
    assert slurm.reserved.keys() == {ours(at(600))}
    fencer.step({}, NOW)
    assert slurm.reserved == {}


def test_a_fence_ends_by_itself_and_is_moved_on_seldom_while_somebody_is_there() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    ends = []
    for minute in range(0, 24 * 60, 10):
        fencer.step({"pc1": at(600)}, at(minute * 60))
        (fence,) = slurm.reserved.values()
        assert fence.starts == at(600)
        assert fence.ends - max(fence.starts, at(minute * 60)) >= HOUR / 2
        ends.append(fence.ends)
    assert ends[0] == at(600) + HOUR
    assert ends[-1] <= at(24 * 3600) + HOUR
    assert len(set(ends)) <= 24 * 2


def test_a_fence_that_is_moved_on_is_no_news() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    first = fencer.step({"pc1": at(0)}, NOW)
    later = fencer.step({"pc1": at(0)}, at(3000))
    assert [(len(plan.reserve), len(plan.told)) for plan in (first, later)] == [(1, 1), (1, 0)]


def test_the_end_is_reckoned_by_the_wall_clock() -> None:
    slurm = Slurm()
    a_fencer(slurm).step({"pc1": at(600)}, NOW, timedelta(hours=5))
    (fence,) = slurm.reserved.values()
    assert fence.ends == NOW + 6 * HOUR


def test_while_not_all_is_known_fences_are_made_and_none_is_taken_away() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    fencer.step({"pc1": at(600), "pc2": at(600), "pc3": at(900)}, NOW)
    fencer.step({"pc4": at(600), "pc3": at(1200)}, NOW, whole=False)
    assert {(r.starts, node) for r in slurm.reserved.values() for node in r.nodes} == {
        *((at(600), "pc1"), (at(600), "pc2"), (at(600), "pc4"), (at(1200), "pc3")),
    }
    fencer.step({"pc4": at(600), "pc3": at(1200)}, NOW)
    assert {node for r in slurm.reserved.values() for node in r.nodes} == {"pc3", "pc4"}


def test_a_node_is_settled_once_its_fence_stands_or_slurm_wants_none() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    assert not fencer.is_settled("pc1", at(600))
    slurm.refuses = {"pc2"}
    with pytest.raises(SlurmRefusedError):
        fencer.step({"pc1": at(600), "pc2": at(900)}, NOW)
    assert fencer.is_settled("pc1", at(602))
    assert fencer.is_settled("pc2", at(900))
    assert not fencer.is_settled("pc1", at(900))
    slurm.fault = SlurmDownError("no controller answered")
    with pytest.raises(SlurmDownError):
        fencer.step({"pc1": at(1200)}, NOW)
    assert not fencer.is_settled("pc1", at(1200))


def test_slurm_is_asked_again_only_when_something_changed_or_after_a_while() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    asked = slurm.requests
    assert fencer.step({"pc1": at(600)}, at(5)) is None
    assert slurm.requests == asked
    slurm.reserved.clear()
    fencer.step({"pc1": at(600)}, at(60))
    assert slurm.reserved


def test_a_fence_takes_nodes_in_and_lets_them_go() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    for wanted in ({"pc1": at(600)}, {"pc1": at(600), "pc2": at(600)}, {"pc2": at(600)}):
        done = fencer.step(wanted, NOW)
        (fence,) = slurm.reserved.values()
        assert fence.nodes == wanted.keys()
        assert done == FencePlan((fence,), (), (fence,))


def test_a_node_does_not_go_into_the_fence_of_another_whose_time_is_near() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    fencer.step({"pc1": at(600), "pc2": at(603)}, NOW)
    assert {fence.starts: fence.nodes for fence in slurm.reserved.values()} == {
        at(600): {"pc1"},
        at(603): {"pc2"},
    }


def test_what_slurm_refuses_keeps_no_other_change_from_being_made_and_is_tried_again() -> None:
    slurm = Slurm()
    fencer = a_fencer(slurm)
    wanted = {"pc1": at(600), "pc2": at(900), "pc3": at(1200)}
    slurm.refuses = {"pc1", "pc2"}
    with pytest.raises(SlurmRefusedError, match="pc1"):
        fencer.step(wanted, NOW)
    assert [fence.nodes for fence in slurm.reserved.values()] == [{"pc3"}]
    slurm.refuses = {"pc1"}
    with pytest.raises(SlurmRefusedError, match="pc1"):
        fencer.step(wanted, NOW)
    slurm.refuses = set()
    fencer.step(wanted, NOW)
    assert sorted(name for fence in slurm.reserved.values() for name in fence.nodes) == sorted(wanted)


def test_a_node_is_fenced_only_if_all_its_partitions_give_jobs_a_limit() -> None:
    node = Node("pc1", "IDLE", partitions=("short", "long"))
    assert can_be_fenced(node, {"short", "long", "x"})
    assert can_be_fenced(node, {"short", "long"})
    assert not can_be_fenced(node, {"short"})
    assert not can_be_fenced(Node("pc1", "IDLE"), {"short"})


def test_partitions_with_a_default_or_a_largest_time_give_jobs_a_limit() -> None:
    listed = "main|infinite|n/a\nshort|1:00:00|n/a\nlong|infinite|30:00\n"
    assert sorted(parse_limited(listed)) == ["long", "short"]


def test_a_far_revocation_is_fenced_and_drained_later_while_other_drains_stay_as_they_are() -> None:
    far = Drain("pc1", DrainCause.REVOKED, at(7200))
    unfenced = Drain("pc2", DrainCause.REVOKED, at(7200))
    admin = Drain("pc3", DrainCause.ADMIN, at(7200), "ada", "x")
    drains = {d.node: d for d in (far, unfenced, admin)}
    settings = DrainSettings(fence=True, fence_min=1800, cleanup_lead=30)
    leases = {"pc1": at(90000), "pc4": at(90000)}
    later, fences = with_fences(drains, {"pc1", "pc3", "pc4"}, leases, settings)
    assert later["pc1"].since == at(5400)
    assert (later["pc2"], later["pc3"]) == (unfenced, admin)
    assert fences == {"pc1": at(7170), "pc4": at(89970)}


def test_a_revocation_without_a_deadline_leaves_the_fence_at_the_end_of_the_lease() -> None:
    drain = Drain("pc1", DrainCause.REVOKED)
    later, fences = with_fences({"pc1": drain}, {"pc1"}, {"pc1": at(900)}, DrainSettings(cleanup_lead=30))
    assert (later, fences) == ({"pc1": drain}, {"pc1": at(870)})


def test_a_fence_does_not_put_off_what_an_administrator_wants_too() -> None:
    drain = Drain("pc1", DrainCause.REVOKED, at(7200), seconded=True)
    later, fences = with_fences({"pc1": drain}, {"pc1"}, {}, DrainSettings(fence=True))
    assert later == {"pc1": drain}
    assert fences.keys() == {"pc1"}


times = st.integers(0, 40).map(lambda n: at(n * 7))
fences = st.dictionaries(st.sampled_from(["pc1", "pc2", "pc3", "pc4"]), times)


@given(st.lists(fences, max_size=4))
def test_whatever_the_wishes_were_each_node_has_one_fence_at_its_time_and_the_next_look_changes_nothing(
    rounds,
) -> None:
    slurm = Slurm(reservations=[FOREIGN])
    fencer = a_fencer(slurm)
    wanted: dict[str, datetime] = {}
    for wanted in rounds:
        fencer.step(wanted, NOW)
    made = [r for r in slurm.reserved.values() if r != FOREIGN]
    if rounds:
        assert sorted(n for r in made for n in r.nodes) == sorted(wanted)
        assert all(abs(r.starts - wanted[n]) <= timedelta(seconds=5) for r in made for n in r.nodes)
        plan = plan_fence(slurm.reservations(), wanted, MARK, NOW)
        assert (plan.reserve, plan.remove) == ((), ())
