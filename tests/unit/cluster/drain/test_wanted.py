"""Whose word empties a node, and until when."""

from dataclasses import replace

import pytest

from agent.cluster.drain.wanted import drains_of, most_urgent, returnable, wishes_of
from agent.cluster.moment import Moment
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import AdminDrain, Intent, IntentKind
from agent.core.said import Revocation, Taken
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import UTAH, WISC, a_machine, a_moment, settings_with
from tests.unit.cluster.drain.conftest import NOW, at, revoked

MACHINE = a_machine(1)
MARK = frozenset({"1"})


def situation(*nodes, **changes) -> Moment:
    """One machine of ours that nobody wants empty, but for the changes."""
    return a_moment(*nodes, machines=[MACHINE], **changes)


def cause(now: Moment) -> DrainCause | None:
    drain = drains_of(now).get("pc1")
    return drain.cause if drain else None


def taken_as(client_id: str) -> Moment:
    return situation(facts={"taken": {"pc1": Taken("pc1", client_id, NOW)}})


def revoked_as(client_id: str, **changes) -> Moment:
    revocation = Revocation("pc1", client_id, at(900), NOW, NOW)
    return situation(facts={"revocations": {"pc1": revocation}}, **changes)


def test_a_machine_that_nobody_wants_empty_is_not_emptied() -> None:
    assert drains_of(situation(Node("pc1", "IDLE"))) == {}


def test_a_machine_is_taken_or_revoked_as_itself_and_not_as_one_that_had_its_place_before() -> None:
    assert cause(taken_as("")) is DrainCause.TAKEN
    assert cause(taken_as("node-1")) is DrainCause.TAKEN
    assert cause(taken_as("node-0")) is None
    for client_id, expected in (("", DrainCause.REVOKED), ("node-1", DrainCause.REVOKED), ("node-0", None)):
        assert cause(revoked_as(client_id)) is expected


def test_a_revocation_is_told_from_an_earlier_one_of_the_same_machine() -> None:
    assert drains_of(revoked_as("")) == {"pc1": replace(revoked("pc1", 900), begun=NOW, slivers=MARK)}


def unconfirmed(heard_ago: float, **changes) -> bool:
    """Tell it of the drain of a machine that goes in 900 s, and was last spoken of so many seconds ago."""
    revocation = Revocation("pc1", "", at(900), NOW, at(-heard_ago))
    return drains_of(situation(facts={"revocations": {"pc1": revocation}}, **changes))["pc1"].unconfirmed


def test_a_revocation_whose_notices_have_stopped_may_be_withdrawn() -> None:
    every_minute = settings_with(drain=DrainSettings(notice_interval=60))
    assert [unconfirmed(ago, settings=every_minute) for ago in (0, 90, 91)] == [False, False, True]
    assert not unconfirmed(91, settings=settings_with(drain=DrainSettings(notice_interval=600)))


def test_what_somebody_else_wants_gone_earlier_or_back_anyway_does_not_wait_for_notices() -> None:
    def wish(due: float | None, *, give_back: bool) -> dict[tuple[str, str], AdminDrain]:
        deadline = None if due is None else at(due)
        return {("", "pc1"): AdminDrain("pc1", "disk", "ada", NOW, deadline, give_back=give_back)}

    assert unconfirmed(91, admin=wish(None, give_back=False))
    assert unconfirmed(91, admin=wish(1000, give_back=False))
    assert not unconfirmed(91, admin=wish(60, give_back=False))
    assert not unconfirmed(91, admin=wish(None, give_back=True))


def test_an_administrators_wish_is_carried_with_all_that_was_said() -> None:
    wish = AdminDrain("pc1", "disk", "ada", NOW, at(60), give_back=True)
    taking = replace(wish, takes_over=True)
    (drain,) = drains_of(situation(admin={("", "pc1"): taking})).values()
    asked = Drain("pc1", DrainCause.ADMIN, at(60), "ada", "disk", True, takes_over=True, begun=NOW)
    assert drain == replace(asked, slivers=MARK)
    (drain,) = drains_of(situation(admin={("", "pc1"): wish})).values()
    assert not drain.takes_over


def test_what_is_of_no_use_is_surplus_and_an_administrators_wish_comes_first() -> None:
    failed = {"failed": frozenset({MACHINE.key})}
    assert cause(situation(chosen=frozenset({"pc1"}))) is DrainCause.SURPLUS
    assert cause(situation(Node("pc1", "IDLE"), facts=failed)) is DrainCause.SURPLUS
    assert cause(situation(facts=failed)) is None, "Slurm does not have it"
    wish = AdminDrain("pc1", "disk", "ada", NOW)
    assert cause(situation(chosen=frozenset({"pc1"}), admin={("", "pc1"): wish})) is DrainCause.ADMIN


def test_a_teardown_drains_a_node_as_its_administrator_would_and_calls_it_surplus_once_it_is_empty() -> None:
    hold = AdminDrain("", "teardown", "ada", NOW, at(600))
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}))
    drained = Node("pc1", "IDLE", frozenset({"DRAIN"}))
    asked = Drain("pc1", DrainCause.ADMIN, at(600), "ada", "teardown", slivers=MARK)
    assert drains_of(situation(Node("pc1", "IDLE"), hold=hold)) == {"pc1": asked}
    assert drains_of(situation(drained, jobs=[job], hold=hold)) == {"pc1": asked}
    assert drains_of(situation(hold=hold, snapshot=None)) == {"pc1": asked}
    for now in (situation(drained, hold=hold), situation(hold=hold)):
        assert drains_of(now) == {"pc1": Drain("pc1", DrainCause.SURPLUS, slivers=MARK)}


def test_a_teardown_empties_every_machine() -> None:
    hold = AdminDrain("", "teardown", "ada", NOW)
    now = a_moment(machines=[MACHINE, a_machine(2)], hold=hold)
    assert drains_of(now).keys() == {"pc1", "pc2"}


def test_in_a_teardown_a_machine_is_empty_by_the_earlier_deadline() -> None:
    """`esagent release --now` requeues the jobs of one machine at once."""
    hold, wish = AdminDrain("", "teardown", "ada", NOW), AdminDrain("pc1", "disk", "bob", NOW)
    for due, own, expected in ((None, at(60), at(60)), (at(30), at(60), at(30)), (at(90), None, at(90))):
        said = {"hold": replace(hold, deadline=due), "admin": {("", "pc1"): replace(wish, deadline=own)}}
        (drain,) = drains_of(situation(snapshot=None, **said)).values()
        assert (drain.why, drain.deadline) == ("teardown", expected)


def test_in_a_teardown_other_wishes_of_administrators_do_not_count_and_a_revocation_does() -> None:
    hold = AdminDrain("", "teardown", "ada", NOW)
    wish = AdminDrain("pc1", "disk", "bob", NOW)
    (drain,) = drains_of(situation(hold=hold, admin={("", "pc1"): wish}, snapshot=None)).values()
    assert drain.who == "ada"
    assert cause(revoked_as("", hold=hold)) is DrainCause.REVOKED


def test_a_pause_empties_nothing() -> None:
    assert drains_of(situation(hold=AdminDrain("", "pause", "ada", NOW))) == {}


def test_a_machine_that_blocks_its_lease_has_to_be_empty_by_a_deadline() -> None:
    chosen = {"chosen": frozenset({"pc1"})}
    (drain,) = drains_of(situation(Node("pc1", "IDLE"), **chosen, blocking={"pc1": at(60)})).values()
    assert (drain.cause, drain.deadline) == (DrainCause.SURPLUS, at(60))


def test_what_is_emptied_as_surplus_alone_may_go_back_into_service() -> None:
    pc1 = frozenset({"pc1"})
    node, surplus = Node("pc1", "IDLE"), {"chosen": pc1}
    assert returnable(situation(node)) == frozenset()
    assert returnable(situation(node, **surplus)) == pc1
    assert returnable(situation(node, **surplus, emptied=pc1)) == frozenset()
    assert returnable(situation(node, **surplus, blocking={"pc1": None})) == frozenset()
    assert returnable(situation(node, **surplus, facts={"failed": {MACHINE.key}})) == frozenset()
    assert returnable(revoked_as("", **surplus)) == frozenset()
    wish = AdminDrain("pc1", "disk", "ada", NOW)
    assert returnable(situation(node, **surplus, admin={("", "pc1"): wish})) == frozenset()
    assert returnable(situation(**surplus, hold=AdminDrain("", "teardown", "ada", NOW))) == frozenset()
    assert returnable(situation(node, **surplus, hold=AdminDrain("", "pause", "ada", NOW))) == pc1


def test_what_somebody_else_drained_too_does_not_go_back_into_service_and_our_own_drain_does() -> None:
    pc1 = frozenset({"pc1"})
    for reason, expected in (("disk is dying", frozenset()), (Drain("pc1", DrainCause.SURPLUS).reason, pc1)):
        node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=reason)
        assert returnable(situation(node, chosen=pc1)) == expected


def test_nothing_goes_back_into_service_before_slurm_was_read() -> None:
    assert returnable(situation(snapshot=None, chosen=frozenset({"pc1"}))) == frozenset()


LIMITED = Node("pc1", "IDLE", partitions=("main",))
FENCED = settings_with(drain=DrainSettings(fence=True, cleanup_lead=30))


def leased(settings=FENCED, *, leases=None, all_read=True, **changes) -> Moment:
    """Its node's jobs have a limit, and its lease ends."""
    ends = {UTAH: at(9000)} if leases is None else leases
    facts = {"leases": ends, "all_read": all_read}
    fields = {"limited": frozenset({"main"}), **changes}
    return situation(LIMITED, settings=settings, facts=facts, **fields)


def test_without_fences_those_that_stand_are_removed_and_while_not_all_is_known_they_stay() -> None:
    assert wishes_of(leased(settings_with())).fences == {}
    assert wishes_of(leased(settings_with(), snapshot=None)).fences == {}
    assert wishes_of(leased(snapshot=None)).fences is None
    assert wishes_of(leased(all_read=False)).fences is None
    assert wishes_of(leased(all_read=False)).known_fences == {"pc1": at(8970)}


def test_a_node_whose_jobs_have_a_limit_is_fenced_at_the_end_of_its_lease() -> None:
    wishes = wishes_of(leased())
    assert wishes.fences == {"pc1": at(8970)}
    assert wishes.ours == {"pc1"}
    assert wishes_of(leased(limited=frozenset())).fences == {}
    assert wishes_of(leased(leases={})).fences == {}


def test_what_a_drain_is_for_is_not_known_until_its_cm_was_looked_at() -> None:
    assert wishes_of(situation(read_back=frozenset({WISC}))).unread == {"pc1"}
    assert wishes_of(situation(read_back=frozenset({UTAH}))).unread == frozenset()


def test_what_stands_for_an_earlier_machine_is_lifted_when_the_new_one_has_booted_and_not_before() -> None:
    earlier = Drain("pc1", DrainCause.SURPLUS, slivers=frozenset({"0"}))
    booted = {"ready": frozenset({MACHINE.key})}
    node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=earlier.reason)
    assert wishes_of(situation(node)).unread == {"pc1"}
    assert wishes_of(situation(node, facts=booted)).unread == frozenset()
    ours = replace(node, reason=replace(earlier, slivers=MARK).reason)
    assert wishes_of(situation(ours)).unread == frozenset()


def test_a_node_that_is_down_for_an_earlier_machine_is_left_to_the_join_of_the_new_one() -> None:
    booted = {"ready": frozenset({MACHINE.key})}
    for slivers, expected in (({"0"}, {"pc1"}), (MARK, set()), (set(), set())):
        reason = Drain("pc1", DrainCause.TAKEN, slivers=frozenset(slivers)).reason
        for flags in (frozenset(), frozenset({"DRAIN"})):
            node = Node("pc1", "DOWN", flags, reason=reason)
            assert wishes_of(situation(node, facts=booted)).unread == expected


def test_an_administrators_wish_for_an_earlier_machine_drains_no_other() -> None:
    for sliver_id, expected in (("", True), (MACHINE.sliver_id, True), ("urn:sliver+0", False)):
        wish = AdminDrain("pc1", "disk", "ada", NOW, sliver_id=sliver_id)
        assert (cause(situation(admin={("", "pc1"): wish})) is DrainCause.ADMIN) is expected


def test_the_drain_of_a_machine_that_is_not_ours_names_it_too() -> None:
    other = a_machine(2)
    facts = {"foreign": (other,), "revocations": {"pc2": Revocation("pc2", "", at(900), NOW, NOW)}}
    settings = settings_with(drain=DrainSettings(foreign=True))
    asked = replace(revoked("pc2", 900), begun=NOW, foreign=True, slivers=frozenset({"2"}))
    assert drains_of(situation(facts=facts, settings=settings)) == {"pc2": asked}


@pytest.mark.parametrize("revocations", [{}, {"pc2": Revocation("pc2", "node-0", at(900), NOW, NOW)}])
def test_a_machine_that_is_not_ours_is_drained_for_a_revocation_of_its_own_alone(revocations) -> None:
    facts = {"foreign": (a_machine(2),), "revocations": revocations}
    assert drains_of(situation(facts=facts, settings=settings_with(drain=DrainSettings(foreign=True)))) == {}


def test_what_is_wanted_of_a_machine_that_is_not_ours_is_not_known_until_its_cm_was_looked_at() -> None:
    known = {
        "facts": {"foreign": (a_machine(2),)},
        "settings": settings_with(drain=DrainSettings(foreign=True)),
    }
    assert wishes_of(situation(**known, read_back=frozenset())).unread == {"pc1", "pc2"}
    assert wishes_of(situation(**known, read_back=frozenset({UTAH}))).unread == set()


@pytest.mark.parametrize(("name", "reason"), [("pc2", "broken fan"), ("pc9", revoked("pc9", 900).reason)])
def test_drains_of_others_and_of_nodes_that_no_machine_is_behind_are_left_alone(name, reason) -> None:
    node = Node(name, "IDLE", frozenset({"DRAIN"}), reason=reason)
    assert wishes_of(situation(node, facts={"foreign": (a_machine(2),)})).ours == {"pc1"}


@pytest.mark.parametrize(
    ("cause", "slivers", "expected"),
    [
        (DrainCause.REVOKED, {"2"}, {"pc1", "pc2"}),
        (DrainCause.REVOKED, {"0"}, {"pc1"}),
        (DrainCause.SURPLUS, {"2"}, {"pc1"}),
    ],
)
def test_what_was_drained_of_a_machine_that_is_not_ours_may_be_lifted_without_the_setting_too(
    cause, slivers, expected
) -> None:
    drain = Drain("pc2", cause, at(900), foreign=True, slivers=frozenset(slivers))
    node = Node("pc2", "IDLE", frozenset({"DRAIN"}), reason=drain.reason)
    found = wishes_of(situation(node, facts={"foreign": (a_machine(2),)}))
    assert (set(found.ours), found.drains) == (expected, {})


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


def test_a_machine_that_its_cm_was_asked_to_take_back_stays_empty_whoever_wants_it_again() -> None:
    asked = Intent(IntentKind.DELETE, UTAH, "node-1", NOW)
    for cm, expected in ((UTAH, DrainCause.SURPLUS), (WISC, None)):
        drained = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="esagent: surplus, to be given back")
        moment = situation(drained, facts={"leaving": (replace(asked, cm=cm),)})
        assert cause(moment) is expected
    chosen = situation(drained, chosen=frozenset({"pc1"}))
    assert returnable(chosen) == {"pc1"}
    assert returnable(situation(drained, chosen=frozenset({"pc1"}), facts={"leaving": (asked,)})) == set()
