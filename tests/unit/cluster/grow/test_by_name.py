"""Machines for the nodes that Slurm's power saving asks for by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.by_name import grow_by_name, is_waking, lacking, offers_for
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.join import JoinSettings
from agent.core.model import Intent, IntentKind, SliverNode
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, a_moment, settings_with

WAKING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})
ONE_TYPE = DemandSettings(max_nodes=2)
SMALL = MachineType(hardware_type="small", cpus=4, memory=1000, max_nodes=1)
GPU = MachineType(hardware_type="gpu", cpus=4, gres="gpu:2", features=("fast",))
BIG = MachineType(hardware_type="big", cpus=16)
TYPES = DemandSettings(max_nodes=5, types=(SMALL, GPU, BIG))


def lacks(
    *nodes: Node, held: str = "", requested: str = "", demand: DemandSettings = ONE_TYPE
) -> dict[str, tuple[str, ...]] | None:
    """Tell what nodes lack a machine, of those that are left to Slurm's power saving."""
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b,c")
    machines = [SliverNode(n, f"pc-{n}", UTAH, f"urn:{n}") for n in held]
    intents = tuple(Intent(IntentKind.ADD, UTAH, n, NOW) for n in requested)
    settings = settings_with(demand, join=join)
    return lacking(a_moment(*nodes, machines=machines, settings=settings, facts={"requested": intents}))


def test_a_node_lacks_a_machine_while_slurm_wakes_it_and_none_is_held_or_asked_for() -> None:
    waking = [Node(n, "MIXED", WAKING) for n in "abcd"]
    assert lacks(*waking, held="a", requested="b") == {"c": ("",)}
    assert lacks(Node("a", "IDLE", ASLEEP), Node("b", "DOWN", WAKING)) == {}


def test_where_no_node_is_left_to_power_saving_the_queue_decides() -> None:
    assert lacking(a_moment(Node("a", "MIXED", WAKING))) is None


def test_a_node_that_is_down_waits_for_no_machine() -> None:
    assert is_waking(Node("a", "IDLE", WAKING))
    assert not is_waking(Node("a", "DOWN", WAKING))
    assert not is_waking(Node("a", "IDLE", ASLEEP))


def test_machines_are_wanted_by_name_within_what_may_be_held_and_can_be_spared() -> None:
    settings = DemandSettings(max_nodes=2)
    growth = grow_by_name(Supply(lacking=dict.fromkeys("abc", ("",))), settings)
    assert (growth.names, growth.count, growth.wanted) == ({"a": "", "b": ""}, 2, {"": 2})
    assert growth.refused == {"c": "max_nodes is reached"}
    assert growth.reasons == ("Slurm powers a, b up", "c: max_nodes is reached")
    growth = grow_by_name(Supply(lacking=dict.fromkeys("ab", ("",)), spare={"": 1}), settings)
    assert growth.names == {"a": ""}
    assert growth.refused == {"b": "no CM can spare a machine now"}


@pytest.mark.parametrize(
    ("node", "kinds"),
    [
        (Node("a", "MIXED", WAKING, cpus=4, memory=1000), ("small", "big")),
        (Node("a", "MIXED", WAKING, cpus=4, memory=2000), ("big",)),
        (Node("a", "MIXED", WAKING, cpus=16), ("big",)),
        (Node("a", "MIXED", WAKING, cpus=4, features=frozenset({"fast", "x"}), gres="gpu:2(S:0)"), ("gpu",)),
        (Node("a", "MIXED", WAKING, cpus=4, gres="gpu:2"), ()),
        (Node("a", "MIXED", WAKING, cpus=4, gres="what is this"), ()),
        (Node("a", "MIXED", WAKING, cpus=32), ()),
    ],
)
def test_a_node_gets_a_type_that_can_be_what_slurm_conf_says_of_it(
    node: Node, kinds: tuple[str, ...]
) -> None:
    assert lacks(node, demand=TYPES) == {"a": kinds}


def test_one_type_serves_every_node_whatever_slurm_conf_says_of_it() -> None:
    assert offers_for(Node("a", "IDLE", cpus=64, gres="gpu:8"), ONE_TYPE.offers()) == ONE_TYPE.offers()


def test_each_type_has_its_own_bounds_and_a_node_that_is_like_none_is_refused() -> None:
    supply = Supply(
        held={"big": 1},
        lacking={
            **dict.fromkeys("ab", ("small",)),
            **dict.fromkeys("cd", ("gpu",)),
            "e": ("big",),
            "f": (),
        },
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


def test_what_no_cm_was_asked_about_yet_is_not_refused() -> None:
    lacking_two = {"a": ("small",), "b": ("gpu",)}
    growth = grow_by_name(Supply(lacking=lacking_two, spare={}), TYPES)
    assert growth.names == {"a": "small", "b": "gpu"}


def test_where_the_preferred_type_cannot_be_had_another_serves_that_is_like_the_node() -> None:
    both = dict.fromkeys("abcd", ("small", "big"))
    growth = grow_by_name(Supply(lacking=both, spare={"small": 5, "big": 1}), TYPES)
    assert growth.names == {"a": "small", "b": "big"}
    assert growth.refused == dict.fromkeys("cd", "max_nodes of small is reached")
    growth = grow_by_name(Supply(lacking=both, spare={"small": 0, "big": 9}), TYPES)
    assert growth.names == dict.fromkeys("abcd", "big")


@pytest.mark.parametrize(("held", "refused"), [(4, "c"), (3, ""), (5, "ac")])
def test_what_is_held_of_any_type_counts_towards_max_nodes(held: int, refused: str) -> None:
    growth = grow_by_name(Supply({"?": held}, lacking={"a": ("small",), "c": ("gpu",)}), TYPES)
    assert growth.refused == dict.fromkeys(refused, "max_nodes is reached")
    assert set(growth.names) == {"a", "c"} - set(refused)


def test_where_slurm_wakes_nothing_nothing_is_wanted() -> None:
    assert grow_by_name(Supply(lacking={}), TYPES) == GrowthPlan(0, wanted={})
    assert grow_by_name(Supply(), TYPES) == GrowthPlan(0, wanted={})


NODES = st.lists(
    st.builds(
        Node,
        st.sampled_from("abcd"),
        st.sampled_from(["IDLE", "MIXED", "DOWN"]),
        st.sampled_from([WAKING, ASLEEP, frozenset()]),
        cpus=st.sampled_from([1, 4, 16, 64]),
    ),
    unique_by=lambda node: node.name,
)


@given(NODES, st.integers(0, 6), st.dictionaries(st.sampled_from(["small", "gpu", "big"]), st.integers(0, 3)))
def test_each_node_that_lacks_a_machine_gets_one_or_is_told_why_not(
    nodes: list[Node], held: int, spare: dict[str, int]
) -> None:
    found = lacks(*nodes, demand=TYPES)
    growth = grow_by_name(Supply({"big": held}, lacking=found, spare=spare), TYPES)
    assert growth.names.keys() | growth.refused.keys() == found.keys()
    assert not growth.names.keys() & growth.refused.keys()
    assert growth.count == len(growth.names) == sum(growth.wanted.values())
    assert not growth.count or held + growth.count <= TYPES.max_nodes
    assert all(count <= spare.get(kind, 99) for kind, count in growth.wanted.items())
