"""What a machine of a type gives is what came of it; before, what slurm.conf or [demand] says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.demand import plan_growth
from agent.cluster.grow.shapes import NEWEST, learn, offers_of, words_of
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import History, Moment
from agent.cluster.settings.demand import DemandSettings, MachineType, Offer
from agent.cluster.settings.join import JoinSettings
from agent.cluster.shape import MachineShape, least
from agent.slurm.gres import offered_gres
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node
from agent.slurm.request import Request
from tests.unit.cluster.conftest import NOW, a_machine, a_moment, settings_with

SMALL = MachineType(hardware_type="small", cpus=4, features=("fa",), max_nodes=3)
BIG = MachineType(hardware_type="big", cpus=40, memory=190000)
TYPES = DemandSettings(types=(SMALL, BIG))
CAME = Layout(sockets=1, cores=10, threads=2, usable_cpus=18, system_memory=500, tmp_disk=900)


def node(n: int = 1, **fields: object) -> Node:
    """A node of ours that has registered; the higher its number, the newer its machine."""
    told = {"cpus": 20, "memory": 64000, "layout": CAME, "booted": NOW - timedelta(hours=20 - n)}
    return Node(f"pc{n}", **{"state": "IDLE", **told, **fields})


def learnt(*nodes: Node, kind: str = "big", demand: DemandSettings = TYPES, **fields: object) -> Moment:
    """The moment after a reading in which each of these nodes has a machine of ours behind it."""
    machines = [a_machine(int(each.name.removeprefix("pc")), hardware_type=kind) for each in nodes]
    moment = a_moment(*nodes, machines=machines, settings=settings_with(demand), **fields)
    return replace(moment, machine_types=learn(moment))


def offer(moment: Moment, kind: str = "big") -> Offer:
    return next(each for each in offers_of(moment) if each.type == kind)


def test_before_one_has_come_settings_say_what_a_machine_gives() -> None:
    moment = a_moment(settings=settings_with(TYPES))
    assert offers_of(moment) == TYPES.offers()


def test_once_one_has_come_plans_go_by_what_slurm_saw_of_it() -> None:
    moment = learnt(node(gres="gpu:a100:2(S:0)", features=frozenset({"fast"})))
    features = frozenset({"fast"})
    assert offer(moment) == Offer("big", 20, 64000, "gpu:a100:2(S:0)", features, 10_000, CAME)
    assert offer(moment, "small") == TYPES.offers()[0]


def test_no_machine_is_borrowed_for_a_job_that_what_came_cannot_hold() -> None:
    job = Job("1", "PENDING", reason="Resources", cpus=30, request=Request(max_nodes=1, cpus=30))
    history = History(waiting_since={"1": NOW - timedelta(hours=1)})
    moment = a_moment(jobs=[job], settings=settings_with(TYPES), history=history)
    came = replace(moment, machine_types={"big": MachineShape(20, 64000)})
    assert plan_growth(moment, Supply()).wanted == {"big": 1}
    assert plan_growth(came, Supply()).wanted == {}


def test_generic_resources_that_cannot_be_read_are_none_to_borrow_for() -> None:
    assert offered_gres(offer(learnt(node(gres="gpu:a100:2x,shard:4"))).gres) == {"gpu": 0, "shard": 4}


def test_what_was_seen_holds_when_none_of_the_type_is_left() -> None:
    known = learnt(node()).machine_types
    later = a_moment(settings=settings_with(TYPES), machine_types=known)
    assert learn(later) == known
    assert offer(later).cpus == 20


def test_a_record_that_no_slurmd_has_confirmed_tells_nothing() -> None:
    unconfirmed = [
        node(booted=None),
        node(state="DOWN"),
        node(state="UNKNOWN"),
        node(flags=frozenset({"INVALID_REG", "DRAIN"})),
        node(flags=frozenset({"POWERING_UP"})),
        node(cpus=0),
    ]
    assert [learnt(each).machine_types for each in unconfirmed] == [{}] * len(unconfirmed)


def test_a_drained_node_tells_what_its_machine_is() -> None:
    assert offer(learnt(node(flags=frozenset({"DRAIN"})))).cpus == 20


def test_a_feature_that_is_the_name_of_one_machine_is_none_of_its_type() -> None:
    moment = learnt(node(features=frozenset({"node-1", "pc1", "ssd"})))
    assert offer(moment).features == {"ssd"}


def test_of_machines_that_differ_the_least_of_each_counts() -> None:
    moment = learnt(
        node(1, memory=64000, gres="gpu:a100:2,shard:8", features=frozenset({"ssd", "x"})),
        node(2, memory=63000, gres="gpu:a100:1,tape:1", features=frozenset({"ssd", "y"})),
        node(3, memory=65000, gres="gpu:a100:4,shard:2", layout=replace(CAME, usable_cpus=0)),
    )
    found = offer(replace(moment, machine_types=learn(moment)))
    assert (found.memory, found.gres, found.features) == (63000, "gpu:a100:1", frozenset())
    assert found.layout == CAME


def test_a_new_image_changes_a_type_once_enough_have_come_with_it() -> None:
    old = [node(n) for n in range(1, 4)]
    new = [node(n, gres="gpu:2") for n in range(4, 4 + NEWEST)]
    assert offer(learnt(*old, *new[:-1])).gres == ""
    assert offer(learnt(*old, *new)).gres == "gpu:2"


def test_what_comes_with_less_counts_at_once() -> None:
    assert offer(learnt(node(1, gres="gpu:2"), node(2))).gres == ""


def test_where_settings_were_changed_they_hold_until_the_next_machine_comes() -> None:
    known = learnt(node(1)).machine_types
    changed = DemandSettings(types=(SMALL, BIG.model_copy(update={"gres": "gpu:4"})))
    waiting = learnt(node(1), demand=changed, machine_types=known)
    assert offer(waiting) == changed.offers()[1]
    came = learnt(node(1), node(2, gres="gpu:2"), demand=changed, machine_types=waiting.machine_types)
    assert (offer(came).cpus, offer(came).gres) == (20, "gpu:2")


def test_what_came_of_a_type_before_settings_named_it_counts() -> None:
    known = learnt(node(1), kind="odd").machine_types
    named = DemandSettings(types=(MachineType(hardware_type="odd", cpus=99),))
    assert offer(a_moment(settings=settings_with(named), machine_types=known), "odd").cpus == 20


def test_where_no_type_is_named_the_least_of_those_held_counts_else_the_one_that_came_last() -> None:
    demand = DemandSettings(node_cpus=16)
    words = words_of(demand.offers()[0])
    known = {
        "m510": MachineShape(16, 64000, said=words, newest=NOW - timedelta(days=2)),
        "xl170": MachineShape(20, 60000, said=words, newest=NOW - timedelta(days=1)),
    }

    def found(*kinds: str) -> tuple[int, int | None]:
        machines = [a_machine(n, hardware_type=kind) for n, kind in enumerate(kinds, 1)]
        moment = a_moment(machines=machines, settings=settings_with(demand), machine_types=known)
        return offer(moment, "").cpus, offer(moment, "").memory

    assert found() == (20, 60000)
    assert found("m510", "m510") == (16, 64000)
    assert found("m510", "xl170", "unseen") == (16, 60000)


DECLARED = Layout(sockets=2, cores=4, threads=1)
CLOUD = JoinSettings(mode="cloud", predeclared="es-[1-9]")


def declared(name: str = "es-1", **fields: object) -> Node:
    """A node of slurm.conf that no machine is behind."""
    told = {"cpus": 8, "memory": 9000, "layout": DECLARED, "flags": frozenset({"CLOUD", "POWERED_DOWN"})}
    return Node(name, "IDLE", **{**told, **fields})


def test_before_one_has_come_the_nodes_that_slurm_conf_declares_for_it_tell() -> None:
    demand = DemandSettings(types=(BIG, MachineType(hardware_type="mid", cpus=8, features=("fb",))))
    settings = settings_with(demand, join=CLOUD)
    mine = declared(features=frozenset({"fb", "rack"}))
    moment = a_moment(mine, declared("other", cpus=99), settings=settings)
    assert offer(moment, "mid") == Offer("mid", 8, 9000, "", frozenset({"fb", "rack"}), 10_000, DECLARED)
    assert offer(moment) == demand.offers()[0]


def test_a_declared_node_is_of_the_type_that_it_is_most_like() -> None:
    plain = MachineType(hardware_type="plain", cpus=8)
    gpu = MachineType(hardware_type="gpu", cpus=8, gres="gpu:2")
    twin = MachineType(hardware_type="twin", cpus=8)
    node_with = declared(gres="gpu:k80:2")

    def memory(*types: MachineType) -> list[int | None]:
        settings = settings_with(DemandSettings(types=types), join=CLOUD)
        return [each.memory for each in offers_of(a_moment(node_with, settings=settings))]

    assert memory(plain, gpu) == [None, 9000]
    assert memory(plain, twin) == [None, None], "nobody can tell which of the two it is"


def test_a_declared_node_may_name_its_type_as_a_feature() -> None:
    types = (MachineType(hardware_type="d430", cpus=32), MachineType(hardware_type="m400", cpus=8))
    settings = settings_with(DemandSettings(types=types), join=CLOUD)
    node_of_it = declared(features=frozenset({"d430"}))
    assert offer(a_moment(node_of_it, settings=settings), "d430").cpus == 8


def test_without_a_word_in_demand_declared_nodes_tell_all() -> None:
    settings = settings_with(DemandSettings(), join=CLOUD)
    (found,) = offers_of(a_moment(declared(), declared("es-2", cpus=4), settings=settings))
    assert (found.cpus, found.memory) == (4, 9000)


def test_a_cloud_node_of_another_kind_of_machine_tells_nothing_where_machines_register_themselves() -> None:
    settings = settings_with(DemandSettings())
    assert offers_of(a_moment(declared(), settings=settings)) == settings.demand.offers()


def test_what_came_counts_for_more_than_what_slurm_conf_declares() -> None:
    settings = settings_with(DemandSettings(types=(BIG,)), join=CLOUD)
    known = {"big": MachineShape(20, 64000)}
    moment = a_moment(declared(cpus=40, memory=190000), settings=settings, machine_types=known)
    assert offer(moment).cpus == 20


shapes = st.builds(
    MachineShape,
    cpus=st.integers(1, 64),
    memory=st.integers(0, 10**6),
    gres=st.sampled_from(["", "gpu:2", "gpu:a100:4,shard:3", "gpu:1(S:0)", "shard", "?!"]),
    features=st.frozensets(st.sampled_from("abc")),
    layout=st.builds(
        Layout,
        *(st.integers(0, 4) for _ in range(3)),
        usable_cpus=st.integers(0, 8),
        system_memory=st.integers(0, 99),
        tmp_disk=st.integers(0, 99),
    ),
)


@given(st.lists(shapes, min_size=1, max_size=5))
def test_the_least_of_machines_is_more_than_none_of_them(each: list[MachineShape]) -> None:
    found = least(each)
    for shape in each:
        assert found.cpus <= shape.cpus
        assert (found.layout.usable_cpus or found.cpus) <= (shape.layout.usable_cpus or shape.cpus)
        assert found.memory - found.layout.system_memory <= shape.memory - shape.layout.system_memory
        assert found.layout.tmp_disk <= shape.layout.tmp_disk
        assert found.features <= shape.features
        had = offered_gres(shape.gres)
        assert all(had.get(kind, 0) >= count for kind, count in offered_gres(found.gres).items())


@given(st.lists(shapes, min_size=1, max_size=5))
def test_the_least_is_the_same_in_any_order(each: list[MachineShape]) -> None:
    assert least(each) == least(reversed(each))
