"""What is shown of each machine."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.reasons import TEARDOWN
from agent.cluster.view import coming_views, foreign_views, node_views
from agent.core.model import AdminDrain, CmTeardown, Intent, IntentKind, NodeStatus, SliverNode
from agent.core.said import ResourceValue, Revocation, Taken
from agent.core.views import NodeState, NodeView
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment, a_status

MACHINE = a_machine(1)
DUE = NOW + timedelta(hours=1)
IDLE = Node("pc1", "IDLE", weight=7)
DRAINED = Node("pc1", "IDLE", frozenset({"DRAIN"}))
DRAINING = Node("pc1", "MIXED", frozenset({"DRAIN"}))
DOWN = Node("pc1", "DOWN")
REVOKED = Revocation("pc1", "node-1", DUE, NOW, NOW)
READY = {"statuses": {MACHINE.key: a_status(MACHINE)}}
BOOTING = {"statuses": {MACHINE.key: NodeStatus("node-1", "pc1", MACHINE.sliver_id, "booting", "")}}
FAILED = {"statuses": {MACHINE.key: NodeStatus("node-1", "pc1", MACHINE.sliver_id, "", "failed")}}


def view(*nodes, **fields):
    (found,) = node_views(a_moment(*nodes, machines=[MACHINE], **fields))
    return found


def test_a_machine_is_shown_with_what_is_known_of_it():
    facts = {"values": {"pc1": ResourceValue("pc1", 0.5, NOW)}, "revocations": {"pc1": REVOKED}}
    assert view(IDLE, facts=facts) == NodeView(
        node="pc1",
        node_id="pc1",
        client_id="node-1",
        cm=UTAH,
        state=NodeState.DRAINING,
        value=0.5,
        weight=7,
        due=DUE,
    )


def test_a_machine_that_one_manifest_lacks_is_shown_as_it_was_seen_last():
    doubted = (a_machine(2), SliverNode("node-3", "", UTAH, "urn:sliver+3"))
    asked = (Intent(IntentKind.ADD, UTAH, "node-3", NOW),)
    facts = {"doubted": doubted, "requested": asked}
    moment = a_moment(IDLE, Node("pc2", "IDLE"), machines=[MACHINE], facts=facts)
    shown = [(found.node, found.client_id, found.state) for found in node_views(moment)]
    assert shown == [
        ("node-3", "node-3", NodeState.BOOTING),
        ("pc1", "node-1", NodeState.JOINED),
        ("pc2", "node-2", NodeState.JOINED),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"admin": {("", "pc2"): AdminDrain("pc2", "a look", "bob", NOW)}},
        {"hold": AdminDrain("", TEARDOWN, "ada", NOW)},
        {"teardowns": {UTAH: CmTeardown(UTAH, "ada", NOW)}},
        {"facts": {"revocations": {"pc2": replace(REVOKED, node_id="pc2", client_id="node-2")}}},
    ],
)
def test_one_that_is_to_be_emptied_is_not_shown_as_back_in_service(fields):
    facts = {"doubted": (a_machine(2),), **fields.pop("facts", {})}
    (found,) = node_views(a_moment(Node("pc2", "IDLE"), facts=facts, **fields))
    assert found.state is NodeState.DRAINING


def test_what_is_not_known_is_left_open():
    found = view()
    assert (found.value, found.weight, found.due, found.asked) == (None, None, None, None)
    assert view(snapshot=None).state is NodeState.BOOTING


@pytest.mark.parametrize(
    ("node", "fields", "state"),
    [
        (None, {}, NodeState.BOOTING),
        (None, {"facts": BOOTING}, NodeState.BOOTING),
        (None, {"facts": READY}, NodeState.READY),
        (None, {"facts": FAILED}, NodeState.FAILED),
        (DOWN, {"facts": READY}, NodeState.READY),
        (DOWN, {"facts": FAILED}, NodeState.FAILED),
        (IDLE, {"facts": FAILED}, NodeState.JOINED),
        (IDLE, {}, NodeState.JOINED),
        (DRAINING, {}, NodeState.DRAINING),
        (DRAINED, {}, NodeState.DRAINED),
        (DRAINED, {"facts": {"revocations": {"pc1": REVOKED}}}, NodeState.DRAINED),
        (IDLE, {"chosen": frozenset({"pc1"})}, NodeState.DRAINING),
        (IDLE, {"facts": {"taken": {"pc1": Taken("pc1", "", NOW)}}}, NodeState.DRAINING),
        (DRAINED, {"emptied": frozenset({"pc1"})}, NodeState.RELEASED),
        (IDLE, {"facts": {"revocations": {"pc1": replace(REVOKED, releasable=True)}}}, NodeState.RELEASED),
    ],
)
def test_the_state_of_a_machine_is_the_furthest_that_it_has_come(node, fields, state):
    assert view(*[node] if node else [], **fields).state is state


def test_machines_are_shown_by_name_and_those_that_were_asked_for_after_them():
    asked = Intent(IntentKind.ADD, UTAH, "node-3", NOW)
    moment = a_moment(machines=[a_machine(2), MACHINE], facts={"requested": (asked,)})
    assert [each.node for each in node_views(moment)] == ["pc1", "pc2", "node-3"]


def test_what_was_asked_for_is_shown_until_its_cm_holds_it():
    asked = [
        Intent(IntentKind.ADD, UTAH, "node-9", NOW),
        Intent(IntentKind.ADD, UTAH, "node-1", NOW),
        Intent(IntentKind.ADD, WISC, "node-1", NOW - timedelta(1)),
        Intent(IntentKind.ADD, UTAH, "node-2", NOW),
    ]
    found = coming_views(asked, [MACHINE])
    assert [(each.cm, each.node) for each in found] == [(WISC, "node-1"), (UTAH, "node-2"), (UTAH, "node-9")]
    assert found[0] == NodeView("node-1", "", "node-1", WISC, NodeState.REQUESTED, asked=NOW - timedelta(1))


def test_machines_that_are_not_ours_are_shown_with_cloudlabs_word_and_slurms():
    head, nfs = a_machine(8), a_machine(9)
    facts = {
        "foreign": (nfs, head),
        "values": {"pc8": ResourceValue("pc8", 0.7, NOW)},
        "revocations": {"pc9": Revocation("pc9", "node-9", DUE, NOW, NOW, releasable=True)},
    }
    moment = a_moment(IDLE, Node("node-8", "IDLE", weight=5), machines=[MACHINE], facts=facts)
    assert [each.node for each in node_views(moment)] == ["pc1"]
    assert foreign_views(moment) == (
        NodeView("node-8", "pc8", "node-8", UTAH, NodeState.FOREIGN, value=0.7, weight=5),
        NodeView("pc9", "pc9", "node-9", UTAH, NodeState.FOREIGN, due=DUE),
    )


def test_the_deadline_of_an_earlier_machine_is_not_that_of_one_that_is_not_ours():
    earlier = Revocation("pc9", "node-7", DUE, NOW, NOW)
    (shown,) = foreign_views(a_moment(facts={"foreign": (a_machine(9),), "revocations": {"pc9": earlier}}))
    assert shown.due is None


def test_one_that_is_not_ours_and_has_no_name_of_its_own_in_slurm_is_shown_by_its_client_id():
    double = replace(a_machine(8), node_id="pc1")
    (shown,) = foreign_views(a_moment(machines=[MACHINE], facts={"foreign": (double,)}))
    assert shown.node == "node-8"
