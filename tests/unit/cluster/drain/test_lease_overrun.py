"""A lease ended and its CM does not answer: its machines are out of service until a manifest shows them."""

from dataclasses import replace

import pytest

from agent.cluster.drain.nodes import DownNodes, DrainNodes, UndrainNodes, plan_nodes
from agent.cluster.drain.wanted import drains_of, wishes_of
from agent.cluster.grow.supply import count_supply
from agent.cluster.join.plan import JoinPlan, plan_joins
from agent.cluster.moment import Moment
from agent.cluster.reasons import Drain, DrainCause, marks
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.wishes.completion import busy_cms
from agent.cluster.wishes.going import why_not_kept, why_not_resumed
from agent.core.model import KnownAs
from agent.core.slice.ending import Ending
from agent.slurm.model import Node
from tests.unit.cluster.conftest import UTAH, WISC, a_machine, a_moment
from tests.unit.cluster.drain.conftest import NOW, at, drained, running

MACHINE, OTHER = a_machine(1), a_machine(2, cm=WISC)
TAKEN = Drain("pc1", DrainCause.TAKEN, slivers=marks(MACHINE))
OVER = {"over": {UTAH: at(-60)}, "ready": {MACHINE.sliver_id}}


def over(*nodes: Node, jobs=(), facts=None, **fields) -> Moment:
    said = {**OVER, **(facts or {})}
    return a_moment(*nodes, machines=[MACHINE, OTHER], jobs=jobs, facts=said, **fields)


def acts(moment: Moment):
    wishes = wishes_of(moment)
    ours, unread = wishes.ours, wishes.unread
    return plan_nodes(
        moment.snapshot, wishes.drains, ours=ours, unread=unread, settings=DrainSettings(), now=NOW
    )


def test_its_nodes_are_as_those_of_a_machine_that_cloudlab_took() -> None:
    assert drains_of(over()) == {"pc1": TAKEN}
    ending = {"endings": {UTAH: Ending(UTAH, at(-60), NOW, "nobody answers")}}
    assert drains_of(over(facts=ending)) == {"pc1": TAKEN}, "what is left to do by the end is over"
    assert acts(over(Node("pc1", "IDLE"))) == [DrainNodes(("pc1",), TAKEN.reason)]


def test_a_job_that_is_there_still_is_put_back_at_once() -> None:
    moment = over(Node("pc1", "ALLOCATED"), jobs=[running("7", "pc1")])
    *_, down = acts(moment)
    assert isinstance(down, DownNodes)
    assert (down.nodes, [job.id for job in down.lost]) == (("pc1",), ["7"])


@pytest.mark.parametrize("state", ["IDLE", "DOWN"])
def test_it_serves_again_once_a_manifest_shows_it(state: str) -> None:
    node = replace(drained("pc1", TAKEN), state=state)
    back = a_moment(node, machines=[MACHINE], facts={"ready": {MACHINE.sliver_id}})
    assert acts(back) == [UndrainNodes(("pc1",), state == "DOWN")]


def test_it_is_neither_counted_nor_joined_nor_kept() -> None:
    moment = over()
    assert count_supply(moment).count == 1, "the other CM's"
    assert plan_joins(moment) == JoinPlan()
    why = f"its lease ended at 2026-11-22T11:59:00Z, and nobody answers at {UTAH}"
    assert why_not_kept(MACHINE, moment) == why_not_resumed(MACHINE, moment) == why
    assert busy_cms(moment.slice) == {WISC}


def test_of_a_cm_that_was_not_heard_since_the_start_the_same_holds() -> None:
    at_utah = (UTAH, MACHINE.client_id)
    known = {
        "bound": {at_utah: KnownAs(MACHINE.key, "pc1", "dynamic")},
        "began": frozenset({at_utah}),
    }
    facts = {"over": {UTAH: at(-60)}, "read": frozenset({WISC}), "all_read": False}
    moment = a_moment(
        Node("pc1", "IDLE"), machines=[OTHER], facts=facts, read_back=frozenset({WISC}), **known
    )
    assert drains_of(moment) == {"pc1": TAKEN}
    assert acts(moment) == [DrainNodes(("pc1",), TAKEN.reason)]
    assert "pc1" in moment.present, "its record stays: a manifest tells whether it is gone"
