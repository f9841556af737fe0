"""What Slurm's power saving asks for, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.by_name import grow_by_name, lacking
from agent.cluster.grow.supply import Supply
from agent.cluster.join.plan import plan_joins
from agent.cluster.moment import Picture
from agent.cluster.power.power import PowerPlan, plan_power, power_surplus
from agent.cluster.reasons import FAILED
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node, Snapshot

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMES = frozenset({"a", "b", "c"})
WAKING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})
ONE_TYPE = DemandSettings(max_nodes=2).offers()


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
