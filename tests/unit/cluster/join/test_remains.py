"""Which nodes of Slurm machines of ours left behind that nobody remembers."""

from collections.abc import Iterable

import pytest

from agent.cluster.join.remains import find_remains
from agent.cluster.reasons import FAILED, JOINING, KEPT, SILENT
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

REVOKED = "esagent: revoked by Cloudlab, due 2026-11-22T12:15:00Z, sliver 7"
ADMIN = "esagent: drained by ada, sliver 7: disk"
TAKEN_7 = "esagent: taken by Cloudlab, sliver 7"
FEATURED = settings_with(demand=DemandSettings(features=("big", "cloudlab")))
CLOUD = settings_with(join=JoinSettings(mode="cloud", predeclared="pc[1-4]"))


def a_node(state: str = "MIXED", *flags: str, reason: str = "", features: Iterable[str] = ()) -> Node:
    return Node(
        "pc1", state, frozenset({"DYNAMIC_NORM", *flags}), reason=reason, features=frozenset(features)
    )


def found(node: Node, settings: ClusterSettings | None = None, **fields: object) -> dict[str, str]:
    return dict(find_remains(a_moment(node, settings=settings, **fields)))


@pytest.mark.parametrize("state", ["MIXED", "IDLE", "DOWN"])
@pytest.mark.parametrize("reason", [REVOKED, ADMIN, f"{REVOKED} : Not responding"])
def test_a_node_that_is_drained_for_a_machine_of_ours_that_is_gone_is_found(state: str, reason: str) -> None:
    assert found(a_node(state, "DRAIN", reason=reason)) == {"pc1": TAKEN_7}


def test_so_is_one_whose_machine_was_joining_or_heard_nothing_of_us() -> None:
    assert found(a_node("DOWN", reason=JOINING)) == {"pc1": "esagent: taken by Cloudlab"}
    assert found(a_node("IDLE", "DRAIN", reason=SILENT)) == {"pc1": "esagent: taken by Cloudlab"}


@pytest.mark.parametrize(
    "node",
    [
        a_node("IDLE", reason=REVOKED),
        a_node("IDLE", "DRAIN", reason="disk is dying"),
        a_node("IDLE", "DRAIN", reason="esagent: what a person writes"),
        a_node("DOWN", reason=KEPT),
        a_node("DOWN", reason=f"{FAILED}none free"),
        Node("pc1", "MIXED", frozenset({"DRAIN"}), reason=REVOKED),
    ],
    ids=["in-service", "a-persons", "like-ours", "kept", "power-saving", "declared"],
)
def test_a_node_that_tells_of_no_machine_of_ours_is_left_alone(node: Node) -> None:
    assert found(node) == {}


def test_a_node_that_a_machine_may_be_behind_is_never_found() -> None:
    node = a_node("DOWN", "DRAIN", "NOT_RESPONDING", reason=REVOKED, features=("elastic",))
    machine = a_machine(1)
    assert found(node, machines=[machine]) == {}
    for where in ("foreign", "doubted"):
        assert found(node, facts={where: (machine,)}) == {}
    other = SliverNode("x", "pc1", UTAH, "urn:sliver+9")
    assert found(node, facts={"foreign": (other,)}) == {}
    assert found(node, elsewhere=frozenset({"pc1"})) == {}


def test_where_nodes_of_others_are_drained_too_their_reason_tells_nothing() -> None:
    foreign = settings_with(drain=DrainSettings(foreign=True))
    assert found(a_node("MIXED", "DRAIN", reason=REVOKED), foreign) == {}
    assert found(a_node("MIXED", "DRAIN", reason=ADMIN), foreign) == {"pc1": TAKEN_7}


@pytest.mark.parametrize("features", [("elastic",), ("big", "cloudlab", "x")])
def test_a_silent_node_with_the_features_of_borrowed_machines_is_found(features: tuple[str, ...]) -> None:
    for state in ("MIXED", "DOWN"):
        assert found(a_node(state, "NOT_RESPONDING", features=features), FEATURED)
    assert found(a_node("IDLE", features=features), FEATURED), "no slurmd told when it booted: a mere record"
    alive = Node("pc1", "IDLE", frozenset({"DYNAMIC_NORM"}), features=frozenset(features), booted=NOW)
    assert not found(alive, FEATURED), "it may be somebody else's"


@pytest.mark.parametrize("features", [(), ("cloudlab",)])
def test_a_silent_node_with_other_features_is_left_alone(features: tuple[str, ...]) -> None:
    assert not found(a_node("MIXED", "NOT_RESPONDING", features=features), FEATURED)


def test_of_predeclared_nodes_those_are_found_that_hold_a_job_and_are_silent_or_are_drained_by_us() -> None:
    job = Job("7", "RUNNING", nodes=frozenset({"pc1", "pc9"}))
    silent = Node("pc1", "MIXED", frozenset({"NOT_RESPONDING"}))
    assert found(silent, CLOUD, jobs=[job]) == {"pc1": "esagent: taken by Cloudlab"}
    assert found(silent, CLOUD) == {}
    waking = Node("pc1", "ALLOCATED", frozenset({"NOT_RESPONDING", "POWERING_UP"}))
    assert found(waking, CLOUD, jobs=[job]) == {}
    assert found(Node("pc1", "MIXED", booted=NOW), CLOUD, jobs=[job]) == {}
    assert found(Node("pc1", "MIXED", frozenset({"DRAIN"}), reason=REVOKED), CLOUD) == {"pc1": TAKEN_7}
    assert found(Node("pc9", "MIXED", frozenset({"NOT_RESPONDING"})), CLOUD, jobs=[job]) == {}


def test_before_slurm_was_read_nothing_is_found() -> None:
    assert found(a_node(), snapshot=None) == {}
