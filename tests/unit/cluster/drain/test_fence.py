"""Fences in time: which reservations are made, moved and removed."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.fence import FencePlan, Fencer, can_be_fenced, plan_fence, with_fences
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmRefusedError
from agent.slurm.cli.scontrol import parse_limited
from agent.slurm.model import Node, Reservation
from tests.unit.cluster.conftest import Slurm
from tests.unit.cluster.drain.conftest import NOW, at

FOREIGN = Reservation("maintenance", frozenset({"pc1"}), NOW, at(60))


def test_nodes_of_one_time_share_a_fence_and_others_are_left_alone() -> None:
    slurm = Slurm(reservations=[FOREIGN])
    Fencer(slurm).step({"pc1": at(600), "pc2": at(600.4), "pc3": at(900)}, NOW)
    assert slurm.reserved == {
        "maintenance": FOREIGN,
        "esagent-20261122T121000Z": Reservation(
            "esagent-20261122T121000Z", frozenset({"pc1", "pc2"}), at(600), at(600) + timedelta(days=365)
        ),
        "esagent-20261122T121500Z": Reservation(
            "esagent-20261122T121500Z", frozenset({"pc3"}), at(900), at(900) + timedelta(days=365)
        ),
    }


def test_a_renewal_moves_a_fence_a_jitter_does_not_and_a_withdrawal_removes_it() -> None:
    slurm = Slurm(reservations=[FOREIGN])
    fencer = Fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    fencer.step({"pc1": at(604)}, NOW)
    assert sorted(slurm.reserved) == ["esagent-20261122T121000Z", "maintenance"]
    fencer.step({"pc1": at(1200)}, NOW)
    assert sorted(slurm.reserved) == ["esagent-20261122T122000Z", "maintenance"]
    fencer.step({}, NOW)
    assert sorted(slurm.reserved) == ["maintenance"]


def test_slurm_is_asked_again_only_when_something_changed_or_after_a_while() -> None:
    slurm = Slurm()
    fencer = Fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    asked = slurm.requests
    assert fencer.step({"pc1": at(600)}, at(5)) is None
    assert slurm.requests == asked
    slurm.reserved.clear()
    fencer.step({"pc1": at(600)}, at(60))
    assert slurm.reserved


def test_a_fence_takes_nodes_in_and_lets_them_go() -> None:
    slurm = Slurm()
    fencer = Fencer(slurm)
    for wanted in ({"pc1": at(600)}, {"pc1": at(600), "pc2": at(600)}, {"pc2": at(600)}):
        done = fencer.step(wanted, NOW)
        (fence,) = slurm.reserved.values()
        assert fence.nodes == wanted.keys()
        assert done == FencePlan((fence,), ())


def test_a_node_does_not_go_into_the_fence_of_another_whose_time_is_near() -> None:
    slurm = Slurm()
    fencer = Fencer(slurm)
    fencer.step({"pc1": at(600)}, NOW)
    fencer.step({"pc1": at(600), "pc2": at(603)}, NOW)
    assert {fence.starts: fence.nodes for fence in slurm.reserved.values()} == {
        at(600): {"pc1"},
        at(603): {"pc2"},
    }


def test_what_slurm_refuses_keeps_no_other_change_from_being_made_and_is_tried_again() -> None:
    slurm = Slurm()
    fencer = Fencer(slurm)
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
    fencer = Fencer(slurm)
    wanted: dict[str, datetime] = {}
    for wanted in rounds:
        fencer.step(wanted, NOW)
    ours = [r for r in slurm.reserved.values() if r != FOREIGN]
    if rounds:
        assert sorted(n for r in ours for n in r.nodes) == sorted(wanted)
        assert all(abs(r.starts - wanted[n]) <= timedelta(seconds=5) for r in ours for n in r.nodes)
        plan = plan_fence(slurm.reservations(), wanted)
        assert (plan.reserve, plan.remove) == ((), ())
