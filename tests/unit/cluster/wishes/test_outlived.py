"""A wish ends with its machine, also where nobody saw that go; and not before that is certain."""

from dataclasses import replace

import pytest

from agent.cluster.memory.hold import PAUSE
from agent.cluster.reasons import CM_TEARDOWN, TEARDOWN, Drain, DrainCause
from agent.cluster.wishes.outlived import WishPlan, plan_wishes, settled_teardowns
from agent.core.model import AdminDrain, CmTeardown
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment

MACHINE = a_machine(1)
NEXT = replace(MACHINE, client_id="node-7", sliver_id="urn:sliver+7")
ELSEWHERE = a_machine(1, WISC)
WISH = AdminDrain("pc1", "disk", "ada", NOW, cm=UTAH, client_id="node-1", sliver_id="urn:sliver+1")
OLD = AdminDrain("pc1", "disk", "ada", NOW)
GONE, REPLACED = "its machine is gone", "it was for an earlier machine of this name"


def plan(wish, *machines, foreign=(), doubted=(), read=(UTAH, WISC), cms=(UTAH, WISC)) -> WishPlan:
    """What follows from these machines of ours, where these CMs were heard."""
    facts = {"cms": cms, "read": frozenset(read), "all_read": set(read) >= set(cms), "foreign": foreign}
    facts["doubted"], facts["unseen"] = doubted, frozenset((m.cm, m.client_id) for m in doubted)
    return plan_wishes(a_moment(machines=machines, facts=facts, admin={wish.place: wish}), ())


def why_over(wish, *machines, **facts) -> str:
    return next((why for _, why in plan(wish, *machines, **facts).over), "")


def test_a_wish_whose_machine_is_there_stands() -> None:
    assert plan(WISH, MACHINE) == WishPlan()


def test_a_wish_whose_machine_went_while_nobody_looked_is_over_once_that_is_certain() -> None:
    assert why_over(WISH, read=()) == ""
    assert why_over(WISH, read=(WISC,)) == "", "its CM is silent"
    assert why_over(WISH, read=(UTAH,), doubted=(MACHINE,)) == "", "it is missing for the first time"
    assert why_over(WISH, read=(UTAH,)) == GONE
    assert why_over(WISH, ELSEWHERE) == GONE


@pytest.mark.parametrize("ours", [True, False])
def test_a_wish_is_over_when_another_machine_has_its_place(ours: bool) -> None:
    machines, others = ((NEXT,), ()) if ours else ((), (NEXT,))
    assert why_over(WISH, *machines, foreign=others) == REPLACED


def test_a_wish_for_a_machine_that_is_not_ours_any_more_stands_while_it_is_there() -> None:
    assert why_over(WISH, foreign=(MACHINE,)) == ""


def test_a_machine_of_the_same_node_id_at_another_cm_is_another_one() -> None:
    assert plan(WISH, MACHINE, ELSEWHERE) == WishPlan()
    assert why_over(WISH, ELSEWHERE, read=(WISC,)) == ""


def test_a_wish_at_a_cm_that_left_agent_conf_ends_once_nothing_can_be_held_there() -> None:
    assert why_over(WISH, read=(WISC,), cms=(WISC,), doubted=(MACHINE,)) == "", "it cannot be asked"
    assert why_over(WISH, read=(), cms=(WISC,)) == "", "its machine may be at one that is silent still"
    assert why_over(WISH, read=(WISC,), cms=(WISC,)) == GONE


def test_the_next_machine_is_another_one_where_the_cm_tells_no_sliver_ids() -> None:
    nameless, after = replace(MACHINE, sliver_id=""), replace(NEXT, sliver_id="")
    wish = replace(WISH, sliver_id="")
    assert why_over(wish, nameless) == ""
    assert why_over(wish, after) == REPLACED


# --- wishes of an older agent, which wrote down no CM


@pytest.mark.parametrize("sliver_id", ["", "urn:sliver+1"])
def test_a_wish_of_an_older_agent_is_bound_to_its_machine(sliver_id: str) -> None:
    old = replace(OLD, sliver_id=sliver_id)
    assert plan(old, MACHINE) == WishPlan(found=((old, (MACHINE,)),))


def test_it_is_bound_when_all_cms_are_read_unless_it_is_known_by_its_sliver_id() -> None:
    """The machine that is meant may be at the CM that is silent."""
    assert plan(OLD, MACHINE, read=(UTAH,)) == WishPlan()
    known = replace(OLD, sliver_id="urn:sliver+1")
    assert plan(known, MACHINE, read=(UTAH,)).found == ((known, (MACHINE,)),)


def test_it_is_bound_to_each_machine_that_it_may_be_for() -> None:
    other = replace(ELSEWHERE, sliver_id="urn:wisc+1")
    assert plan(OLD, MACHINE, other).found == ((OLD, (MACHINE, other)),)
    known = replace(OLD, sliver_id="urn:sliver+1")
    assert plan(known, MACHINE, other).found == ((known, (MACHINE,)),)


def test_it_is_over_once_no_cm_has_its_machine() -> None:
    assert why_over(OLD, read=(UTAH,)) == ""
    assert why_over(OLD, doubted=(MACHINE,)) == ""
    assert why_over(OLD) == GONE
    earlier = replace(OLD, sliver_id="urn:sliver+0")
    assert why_over(earlier, MACHINE, read=(UTAH,)) == ""
    assert why_over(earlier, MACHINE) == GONE


# --- wishes that were lifted


def standing(machine, why: str, cause=DrainCause.ADMIN) -> Node:
    return Node(
        machine.node_id, "IDLE", frozenset({"DRAIN"}), reason=Drain("", cause, None, "ada", why).reason
    )


def is_settled(lifted, *nodes, machines=(), **facts) -> bool:
    said = plan_wishes(a_moment(*nodes, machines=machines, facts=facts), [lifted]).settled
    assert said in {(), (lifted,)}
    return bool(said)


def test_that_a_drain_was_lifted_is_remembered_while_slurm_shows_it() -> None:
    lifted = replace(WISH, lifted=True)
    assert not is_settled(lifted, standing(MACHINE, "disk"), machines=[MACHINE])
    assert is_settled(lifted, Node("pc1", "IDLE"), machines=[MACHINE])
    assert is_settled(lifted, standing(MACHINE, "", DrainCause.SURPLUS), machines=[MACHINE])


def test_and_while_its_machine_may_still_come_into_sight() -> None:
    lifted = replace(WISH, lifted=True)
    assert not is_settled(lifted, read=frozenset({WISC}), all_read=False)
    assert not is_settled(lifted, doubted=(MACHINE,))
    assert is_settled(lifted)
    unread = a_moment(machines=[MACHINE], snapshot=None)
    assert plan_wishes(unread, [lifted]) == WishPlan()


@pytest.mark.parametrize("reason", [PAUSE, TEARDOWN])
def test_that_a_teardown_was_lifted_is_remembered_while_slurm_shows_it(reason: str) -> None:
    lifted = AdminDrain("", reason, "ada", NOW, lifted=True)
    at_work = Node("pc1", "IDLE")
    assert not is_settled(lifted, at_work, machines=[MACHINE], all_read=False)
    assert not is_settled(lifted, standing(MACHINE, TEARDOWN), machines=[MACHINE], all_read=True)
    assert is_settled(lifted, standing(MACHINE, "disk"), machines=[MACHINE], all_read=True)
    assert is_settled(lifted, at_work, machines=[MACHINE], all_read=True)


@pytest.mark.parametrize(
    ("node", "read", "settled"),
    [
        (standing(MACHINE, CM_TEARDOWN), {UTAH}, False),
        (standing(MACHINE, "disk"), {UTAH}, True),
        (Node("pc1", "IDLE"), {UTAH}, True),
        (Node("pc1", "IDLE"), {WISC}, False),
    ],
)
def test_that_a_teardown_of_one_cm_was_lifted_is_remembered_while_slurm_may_show_it(
    node, read, settled: bool
) -> None:
    lifted = CmTeardown(UTAH, "ada", NOW, lifted=True)
    moment = a_moment(node, machines=[MACHINE], facts={"read": frozenset(read), "all_read": False})
    assert settled_teardowns(moment, [lifted]) == ((lifted,) if settled else ())
    assert settled_teardowns(replace(moment, snapshot=None), [lifted]) == ()


def test_what_slurm_shows_at_another_cm_does_not_keep_it_nor_one_that_left_agent_conf() -> None:
    lifted = CmTeardown(WISC, "ada", NOW, lifted=True)
    facts = {"read": frozenset({UTAH}), "all_read": True}
    moment = a_moment(standing(MACHINE, CM_TEARDOWN), machines=[MACHINE], facts=facts)
    assert settled_teardowns(moment, [lifted]) == (lifted,)
