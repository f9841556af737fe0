"""What Slurm's power saving asks for, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.cluster.grow.supply import Supply
from agent.cluster.join.plan import plan_joins
from agent.cluster.moment import Picture
from agent.cluster.power.power import PowerPlan, grow_by_name, lacking, offer_for, plan_power, power_surplus
from agent.cluster.reasons import FAILED
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.join import JoinSettings
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node, Snapshot

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


def plan(
    seen: Picture, held_up: str = "", since: Mapping[str, datetime] | None = None, **supply
) -> PowerPlan:
    stock = Supply(lacking=lacking(seen, NAMES, (), ONE_TYPE), **supply)
    return plan_power(
        seen,
        names=NAMES,
        supply=stock,
        growth=grow_by_name(stock, DemandSettings(max_nodes=2)),
        held_up=held_up,
        failed=(),
        down_since=since or {},
        retry_after=300,
        now=NOW,
    )


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


def test_what_cms_can_spare_and_nobody_has_read_yet_is_no_failure() -> None:
    assert plan(picture(Node("a", "MIXED", WAKING)), spare={}).fail == {}


def test_a_node_that_gets_no_machine_is_given_up_at_once_with_the_reason() -> None:
    seen = picture(*(Node(n, "MIXED", WAKING) for n in "abc"))
    assert plan(seen).fail == {"c": "max_nodes is reached"}
    assert set(plan(seen, held_up="paused").fail.values()) == {"paused"}


def test_a_node_that_is_given_up_while_it_drains_is_set_down_before_it_is_powered_down() -> None:
    draining = Node("a", "IDLE", WAKING | {"DRAIN"}, reason="esagent: surplus, to be given back")
    told = plan(picture(draining), held_up="paused")
    assert (told.fail, told.sleep) == ({"a": "paused"}, ())


def test_a_machine_goes_when_its_node_was_sent_to_sleep_or_given_up() -> None:
    nodes = (
        Node("a", "IDLE", ASLEEP),
        Node("b", "DOWN", frozenset({"CLOUD"}), reason="ResumeTimeout reached"),
        Node("c", "MIXED", WAKING),
    )
    verdicts = power_surplus(picture(*nodes, held="a b c"), NAMES)
    assert {v.name for v in verdicts if v.goes} == {"a", "b"}


def test_a_node_that_failed_is_powered_down_and_may_be_woken_again_later() -> None:
    awake = Node("a", "DOWN", frozenset({"CLOUD"}), reason=f"{FAILED}paused")
    assert plan(picture(awake)).sleep == ("a",)
    asleep = Node("a", "DOWN", ASLEEP, reason=f"{FAILED}paused")
    assert plan(picture(asleep)).restore == ()
    assert plan(picture(asleep), since={"a": NOW - timedelta(seconds=300)}).restore == ("a",)


def test_a_node_whose_machine_went_back_may_be_woken_again_at_once() -> None:
    drained = Node("a", "IDLE", ASLEEP | {"DRAIN"}, reason="esagent: surplus, to be given back")
    assert plan(picture(drained)).restore == ("a",)
    assert plan(picture(drained, held="a")).restore == ()


def test_what_an_administrator_took_out_of_service_stays_so() -> None:
    for state, flags in (("DOWN", ASLEEP), ("IDLE", ASLEEP | {"DRAIN"}), ("DOWN", frozenset({"CLOUD"}))):
        told = plan(picture(Node("a", state, flags, reason="a new disk")))
        assert (told.sleep, told.restore, told.fail) == ((), (), {})


STATES = st.sampled_from(["IDLE", "DOWN", "MIXED"])
FLAGS = st.frozensets(st.sampled_from(["POWERING_UP", "POWERED_DOWN", "POWERING_DOWN", "DRAIN"]))
REASONS = st.sampled_from(["", "by hand", f"{FAILED}x", "ResumeTimeout reached", "esagent: surplus"])


@given(
    nodes=st.lists(st.builds(Node, st.sampled_from("abcd"), STATES, FLAGS, reason=REASONS)),
    held=st.sets(st.sampled_from("abcd")),
)
def test_nothing_is_done_twice_to_a_node_or_to_one_that_is_not_ours(
    nodes: list[Node], held: set[str]
) -> None:
    told = plan(picture(*nodes, held=" ".join(held)))
    everything = [*told.fail, *told.sleep, *told.restore]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= NAMES
    assert not set(told.restore) & held


def test_a_machine_joins_while_its_job_waits_for_it() -> None:
    machine = SliverNode("a", "pc-a", "urn:cm", "urn:a", "", "", "", "")
    settings = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a")
    job = Job("1", "CONFIGURING", nodes=frozenset({"a"}))
    snapshot = Snapshot(NOW, {"a": Node("a", "MIXED", WAKING)}, (job,))
    assert [step.name for step in plan_joins([machine], snapshot, {}, settings, NOW).start] == ["a"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"power_nodes": "a"}, "are expected with it"),
        ({"mode": "cloud", "node_name": "client_id", "power_nodes": "a["}, "power_nodes"),
        (
            {"mode": "cloud", "node_name": "client_id", "power_nodes": "a[1-2]", "predeclared": "a[2-3]"},
            "a2 is in predeclared too",
        ),
    ],
)
def test_power_nodes_that_cannot_work_are_a_fault_of_the_settings(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        JoinSettings.model_validate(given)
