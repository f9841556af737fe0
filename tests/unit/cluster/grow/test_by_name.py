"""Machines for the nodes that Slurm's power saving asks for by name."""

from datetime import UTC, datetime

import pytest

from agent.cluster.grow.by_name import grow_by_name, lacking, offer_for
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.core.model import SliverNode
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMES = frozenset({"a", "b", "c"})
WAKING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})
ONE_TYPE = DemandSettings(max_nodes=2).offers()
SMALL = MachineType(hardware_type="small", cpus=4, memory=1000, max_nodes=1)
GPU = MachineType(hardware_type="gpu", cpus=4, gres="gpu:2", features=("fast",))
BIG = MachineType(hardware_type="big", cpus=16)
TYPES = DemandSettings(max_nodes=5, types=(SMALL, GPU, BIG))


def picture(*nodes: Node, held: str = "") -> Picture:
    machines = {n: SliverNode(n, f"pc-{n}", "urn:cm", f"urn:{n}", "", "", "", "") for n in held.split()}
    return Picture(Snapshot(NOW, {n.name: n for n in nodes}, ()), machines)


def test_a_node_lacks_a_machine_while_slurm_wakes_it_and_none_is_held_or_asked_for() -> None:
    seen = picture(*(Node(n, "MIXED", WAKING) for n in "abcd"), held="a")
    assert lacking(seen, NAMES, {"b"}, ONE_TYPE) == {"c": ""}
    assert lacking(picture(Node("a", "IDLE", ASLEEP), Node("b", "DOWN", WAKING)), NAMES, (), ONE_TYPE) == {}


def test_machines_are_wanted_by_name_within_what_may_be_held_and_can_be_spared() -> None:
    settings = DemandSettings(max_nodes=2)
    growth = grow_by_name(Supply(lacking=dict.fromkeys("abc", "")), settings)
    assert (growth.names, growth.count, growth.wanted) == ({"a": "", "b": ""}, 2, {"": 2})
    assert growth.refused == {"c": "max_nodes is reached"}
    assert "c: max_nodes is reached" in growth.reasons
    growth = grow_by_name(Supply(lacking=dict.fromkeys("ab", ""), spare={"": 1}), settings)
    assert growth.names == {"a": ""}
    assert growth.refused == {"b": "no CM can spare a machine now"}


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (Node("a", "MIXED", WAKING, cpus=4, memory=1000), "small"),
        (Node("a", "MIXED", WAKING, cpus=4, memory=2000), "big"),
        (Node("a", "MIXED", WAKING, cpus=16), "big"),
        (Node("a", "MIXED", WAKING, cpus=4, features=frozenset({"fast", "x"}), gres="gpu:2(S:0)"), "gpu"),
        (Node("a", "MIXED", WAKING, cpus=4, gres="gpu:2"), None),
        (Node("a", "MIXED", WAKING, cpus=4, gres="what is this"), None),
        (Node("a", "MIXED", WAKING, cpus=32), None),
    ],
)
def test_a_node_gets_the_first_type_that_can_be_what_slurm_conf_says_of_it(
    node: Node, kind: str | None
) -> None:
    assert lacking(picture(node), NAMES, (), TYPES.offers()) == {"a": kind}


def test_one_type_serves_every_node_whatever_slurm_conf_says_of_it() -> None:
    assert offer_for(Node("a", "IDLE", cpus=64, gres="gpu:8"), ONE_TYPE) is ONE_TYPE[0]


def test_each_type_has_its_own_bounds_and_a_node_that_is_like_none_is_refused() -> None:
    supply = Supply(
        held={"big": 1},
        lacking={"a": "small", "b": "small", "c": "gpu", "d": "gpu", "e": "big", "f": None},
        spare={"small": 5, "gpu": 1, "big": 5},
    )
    growth = grow_by_name(supply, TYPES)
    assert growth.names == {"a": "small", "c": "gpu", "e": "big"}
    assert growth.wanted == {"small": 1, "gpu": 1, "big": 1}
    assert growth.refused == {
        "b": "max_nodes of small is reached",
        "d": "no CM can spare a machine now",
        "f": "no type of machine in [demand] is like it",
    }
