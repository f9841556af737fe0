"""What is done when nothing is left on a node, and who learns of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.desk import Desk
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.drain.wanted import returnable
from agent.cluster.memory.memory import Memory
from agent.cluster.reach import Reach
from agent.cluster.reasons import DrainCause, marks
from agent.cluster.shrink.leaving import Leaving
from agent.core.errors import AgentError
from agent.core.model import AdminDrain
from agent.core.said import Revocation
from agent.core.slice.ending import Ending
from agent.slurm.model import Node, Snapshot
from tests.unit.cluster.conftest import NOW, UTAH, Shell, a_machine, a_slice, settings_with

DUE = NOW + timedelta(seconds=90)
OF_PC1 = marks(a_machine(1))
SURPLUS = LeaveNode("pc1", DrainCause.SURPLUS, None, "", slivers=OF_PC1)
REVOKED = Revocation("pc1", "node-1", DUE, NOW - timedelta(seconds=30), NOW)


class Site:
    """Takes leave of pc1, which is ours."""

    def __init__(self, clock, ledger, revocations=(), **known):
        self.shell, self.woken, self.ended = Shell(), [], []
        self.commands = ["stop slurmd"]
        facts = a_slice(a_machine(1), revocations={r.node_id: r for r in revocations}, **known)
        desk = Desk(settings_with(), clock, ledger, wake=lambda *steps: self.woken.extend(steps))
        self.memory = Memory(desk, lambda: facts, ledger)
        reach = Reach(desk, self.shell, lambda machine: True)
        self.leaving = Leaving(desk, self.memory, reach, self.commands_of, self.ended.extend)

    def commands_of(self, machines):
        if not self.commands:
            raise AgentError("not fit for a shell command")
        return [f"{command} on {machine['node_id']}" for machine in machines for command in self.commands]

    def choose(self):
        """Have pc1 given back as surplus."""
        self.memory.chosen.choose(a_machine(1))
        return self

    def left(self, cause, node="pc1", deadline=None, slivers=OF_PC1):
        self.leaving.left(LeaveNode(node, cause, deadline, "", slivers=slivers))
        return self.memory.now()


@pytest.fixture
def make_site(clock, ledger):
    return lambda *revocations: Site(clock, ledger, revocations)


def test_the_delete_commands_run_on_the_machine(make_site):
    site = make_site().choose()
    assert site.leaving.leave(SURPLUS, 5).ok
    assert site.shell.ran == [("pc1", ("stop slurmd on pc1",))]


def test_where_nobody_wants_the_machine_to_go_any_more_its_delete_commands_do_not_run(make_site):
    """Since an administrator resumed it, or the queue wants it, after the drainer had found it empty."""
    site = make_site()
    for wish in (None, AdminDrain("pc1", "a look", "ada", NOW)):
        if wish:
            site.memory.drains.put(wish)
        assert site.leaving.leave(SURPLUS, 5).error == "nobody wants it to go any more"
        assert site.left(DrainCause.SURPLUS).emptied == frozenset()
    assert (site.shell.ran, site.woken) == ([], [])


@pytest.mark.parametrize("act", ["resume", "keep", "unpause"])
def test_once_its_delete_commands_have_begun_a_machine_goes_whatever_is_said(make_site, act):
    site, wish = make_site(), AdminDrain("pc1", "a look", "ada", NOW, give_back=True)
    if act == "unpause":
        site.memory.hold.put("teardown", "ada", NOW)
        site.memory.known.take(1, Snapshot(NOW, {"pc1": Node("pc1", "IDLE", frozenset({"DRAIN"}))}, ()))
    elif act == "keep":
        site.choose()
    else:
        site.memory.drains.put(wish)
    assert site.leaving.leave(SURPLUS, 5).ok
    if act == "unpause":
        site.memory.hold.lift()
    elif act == "keep":
        assert site.memory.chosen.keep([a_machine(1)]) == ()
    else:
        site.memory.drains.lift(a_machine(1))
    assert site.memory.wishes().drains["pc1"].cause is DrainCause.SURPLUS, "it stays drained"
    assert returnable(site.memory.now()) == frozenset()
    moment = site.left(DrainCause.SURPLUS)
    assert (moment.leaving, moment.emptied, moment.chosen) == ({"pc1"},) * 3


def test_a_revoked_machine_may_be_resumed_should_cloudlab_change_its_mind(make_site):
    site = make_site(REVOKED)
    assert site.leaving.leave(replace(SURPLUS, cause=DrainCause.REVOKED), 5).ok
    assert site.memory.now().leaving == frozenset()


def test_a_node_that_is_not_ours_any_more_is_not_touched(make_site):
    site = make_site()
    assert site.leaving.leave(replace(SURPLUS, node="pc2"), 5).error == "it is not ours any more"
    assert site.shell.ran == []
    assert site.left(DrainCause.SURPLUS, "pc2").emptied == frozenset()
    assert site.left(DrainCause.REVOKED, "pc2").chosen == frozenset()
    assert (site.woken, site.ended) == ([], [])


def test_another_machine_that_has_the_node_name_by_now_is_not_touched(make_site):
    site = make_site(REVOKED)
    other = frozenset({"0"})
    assert site.leaving.leave(replace(SURPLUS, slivers=other), 5).error == "it is not ours any more"
    for cause in (DrainCause.SURPLUS, DrainCause.ADMIN, DrainCause.REVOKED):
        moment = site.left(cause, slivers=other)
        assert (moment.emptied, moment.chosen) == (frozenset(), frozenset())
    assert (site.shell.ran, site.woken, site.ended) == ([], [], [])


def test_a_machine_that_cannot_be_told_from_others_is_left_by_its_name(make_site):
    site = make_site().choose()
    assert site.leaving.leave(replace(SURPLUS, slivers=frozenset()), 5).ok
    assert site.left(DrainCause.SURPLUS, slivers=frozenset()).emptied == {"pc1"}


def test_commands_that_cannot_be_written_are_a_fault_of_the_leave(make_site):
    site = make_site().choose()
    site.commands = []
    result = site.leaving.leave(SURPLUS, 5)
    assert (result.host.name, result.error) == ("pc1", "not fit for a shell command")
    assert site.shell.ran == []


def test_a_surplus_machine_is_given_back_in_the_next_step(make_site, ledger):
    site = make_site().choose()
    site.leaving.leave(SURPLUS, 5)
    chosen = site.left(DrainCause.SURPLUS)
    assert (chosen.emptied, chosen.chosen) == ({"pc1"}, {"pc1"})
    assert (site.woken, site.ended, ledger.events()) == (["delete_nodes"], [], ())


def test_a_machine_that_an_administrator_had_emptied_to_go_is_surplus_from_then_on(make_site):
    site = make_site()
    site.memory.drains.put(AdminDrain("pc1", "a look", "ada", NOW, give_back=True))
    site.leaving.leave(replace(SURPLUS, cause=DrainCause.ADMIN), 5)
    chosen = site.left(DrainCause.ADMIN)
    assert (chosen.emptied, chosen.chosen) == ({"pc1"}, {"pc1"})
    assert site.woken == ["delete_nodes"]


def test_a_revoked_machine_is_released_and_its_margin_told(make_site, ledger):
    site = make_site(REVOKED)
    chosen = site.left(DrainCause.REVOKED, deadline=DUE)
    assert (chosen.emptied, chosen.chosen) == (frozenset(), frozenset())
    assert ([item["node_id"] for item in site.ended], site.woken) == (["pc1"], ["delete_nodes"])
    (event,) = ledger.events()
    assert (event.kind, event.subject) == ("release", "pc1")
    assert event.message == "Cloudlab may take it, 90 s before its deadline"
    assert dict(event.data) == {"margin_seconds": 90.0, "drain_seconds": 30.0}


def test_a_release_after_the_deadline_tells_how_late_it_is(make_site, ledger, clock):
    site = make_site(REVOKED)
    clock.advance(100)
    site.left(DrainCause.REVOKED, deadline=DUE)
    assert dict(ledger.events()[0].data) == {"margin_seconds": -10.0, "drain_seconds": 130.0}


def test_a_revocation_that_nobody_remembers_has_no_duration(make_site, ledger):
    make_site().left(DrainCause.REVOKED)
    (event,) = ledger.events()
    assert event.message == "Cloudlab may take it, 0 s before its deadline"
    assert dict(event.data)["margin_seconds"] == 0.0
    assert dict(event.data).get("drain_seconds") is None


def test_a_machine_that_goes_with_its_lease_is_given_back_and_told_with_the_margin(clock, ledger):
    ending = Ending(UTAH, DUE, NOW - timedelta(seconds=30), "others have reserved it")
    site = Site(clock, ledger, endings={UTAH: ending})
    leave = LeaveNode("pc1", DrainCause.LEASE, DUE, "", slivers=OF_PC1)
    assert site.leaving.leave(leave, 5).ok
    moment = site.left(DrainCause.LEASE, deadline=DUE)
    assert moment.emptied == moment.chosen == moment.leaving == {"pc1"}
    assert (site.ended, site.woken) == ([], ["delete_nodes"])
    (event,) = [e for e in ledger.events() if e.kind == "release"]
    assert event.message == "it is given back, 90 s before its deadline"
    assert (event.data["margin_seconds"], event.data["drain_seconds"]) == (90.0, 30.0)
