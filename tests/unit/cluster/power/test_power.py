"""What Slurm's power saving asks for, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.grow.by_name import grow_by_name, lacking
from agent.cluster.grow.supply import Supply
from agent.cluster.join.plan import plan_joins
from agent.cluster.memory.hold import PAUSE
from agent.cluster.moment import History, Moment
from agent.cluster.power.power import PowerPlan, is_forsaken, plan_power, power_surplus, still_forsaken
from agent.cluster.reasons import FAILED, KEPT
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdminDrain, KnownAs, MachineId, SliverNode
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_moment, settings_with

WAKING = frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"})
ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})
JOIN = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b,c", power_retry=300)
PAUSED = AdminDrain("", PAUSE, "ada", NOW)


def seen(*nodes: Node, held: str = "", **fields) -> Moment:
    """A moment with these nodes, of which Slurm's power saving may ask for a, b and c."""
    machines = [SliverNode(n, f"pc-{n}", UTAH, f"urn:{n}") for n in held.split()]
    settings = settings_with(DemandSettings(max_nodes=2), join=JOIN)
    return a_moment(*nodes, machines=machines, settings=settings, **fields)


def plan(moment: Moment, since: Mapping[str, datetime] | None = None, **supply) -> PowerPlan:
    stock = Supply(lacking=lacking(moment), **supply)
    moment = replace(moment, history=History(forsaken_since=since or {}))
    return plan_power(moment, stock, grow_by_name(stock, moment.settings.demand))


def test_what_cms_can_spare_and_nobody_has_read_yet_is_no_failure() -> None:
    assert plan(seen(Node("a", "MIXED", WAKING)), spare={}).fail == {}


def test_a_node_that_gets_no_machine_is_given_up_at_once_with_the_reason() -> None:
    waking = [Node(n, "MIXED", WAKING) for n in "abc"]
    assert plan(seen(*waking)).fail == {"c": "max_nodes is reached"}
    assert set(plan(seen(*waking, hold=PAUSED)).fail.values()) == {"pause by ada"}


def test_a_node_is_given_up_while_no_cm_has_a_machine_and_growth_is_stopped() -> None:
    waking, cms = Node("a", "MIXED", WAKING), (UTAH, WISC)
    assert plan(seen(waking, facts={"cms": cms, "exhausted": frozenset({UTAH})})).fail == {}
    assert plan(seen(waking, facts={"cms": cms, "exhausted": frozenset(cms)})).fail == {
        "a": "Cloudlab has none now"
    }
    assert plan(seen(waking, facts={"braked": "too many failed"})).fail == {"a": "too many failed"}


def test_a_node_whose_machine_failed_is_given_up_while_slurm_waits_for_it() -> None:
    failed = {"failed": frozenset({"urn:a"})}
    waking, working = Node("a", "MIXED", WAKING), Node("a", "MIXED")
    assert plan(seen(waking, held="a", facts=failed)).fail == {"a": "its machine failed"}
    assert plan(seen(working, held="a", facts=failed)).fail == {}
    assert plan(seen(waking, held="a")).fail == {}


def test_a_node_whose_machine_is_at_a_silent_cm_is_neither_sent_to_sleep_nor_given_another() -> None:
    draining = Node("a", "MIXED", frozenset({"CLOUD", "DRAIN"}), reason="esagent: surplus, to be given back")
    bound = {(UTAH, "a"): KnownAs(MachineId(UTAH, "a", "pc-a", "urn:a"), "a", "cloud")}
    assert plan(seen(draining)).sleep == ("a",)
    silent = {"bound": bound, "facts": {"unseen": frozenset({(UTAH, "a")})}}
    assert plan(seen(draining, **silent)).sleep == ()
    assert lacking(seen(Node("a", "MIXED", WAKING), **silent)) == {}


def test_a_node_that_is_given_up_while_it_drains_is_set_down_before_it_is_powered_down() -> None:
    draining = Node("a", "IDLE", WAKING | {"DRAIN"}, reason="esagent: surplus, to be given back")
    told = plan(seen(draining, hold=PAUSED))
    assert (told.fail, told.sleep) == ({"a": "pause by ada"}, ())


def test_a_machine_goes_when_its_node_was_sent_to_sleep_or_given_up() -> None:
    nodes = (
        Node("a", "IDLE", ASLEEP),
        Node("b", "DOWN", frozenset({"CLOUD"}), reason="ResumeTimeout reached"),
        Node("c", "MIXED", WAKING),
    )
    verdicts = power_surplus(seen(*nodes, held="a b c"))
    assert {v.name for v in verdicts if v.goes} == {"a", "b"}


def test_a_node_that_failed_is_powered_down_and_may_be_woken_again_later() -> None:
    awake = Node("a", "DOWN", frozenset({"CLOUD"}), reason=f"{FAILED}paused")
    assert plan(seen(awake)).sleep == ("a",)
    asleep = Node("a", "DOWN", ASLEEP, reason=f"{FAILED}paused")
    assert plan(seen(asleep)).restore == ()
    assert plan(seen(asleep), since={"a": NOW - timedelta(seconds=300)}).restore == ("a",)


def test_a_node_whose_machine_went_back_may_be_woken_again_at_once() -> None:
    drained = Node("a", "IDLE", ASLEEP | {"DRAIN"}, reason="esagent: surplus, to be given back")
    assert plan(seen(drained)).restore == ("a",)
    assert plan(seen(drained, held="a")).restore == ()


def test_only_a_node_that_slurm_waited_for_in_vain_has_to_wait_before_it_is_woken_again() -> None:
    nodes = (
        Node("a", "DOWN", ASLEEP, reason="ResumeTimeout reached"),
        Node("b", "IDLE", ASLEEP | {"DRAIN"}, reason="ResumeTimeout reached"),
        Node("c", "DOWN", ASLEEP, reason=KEPT),
    )
    assert plan(seen(*nodes)).restore == ("b", "c")


def test_a_node_that_is_in_service_keeps_no_other_from_being_woken_again() -> None:
    assert plan(seen(Node("a", "IDLE"), Node("b", "DOWN", ASLEEP, reason=KEPT))).restore == ("b",)


def test_what_an_administrator_took_out_of_service_stays_so() -> None:
    for state, flags in (("DOWN", ASLEEP), ("IDLE", ASLEEP | {"DRAIN"}), ("DOWN", frozenset({"CLOUD"}))):
        told = plan(seen(Node("a", state, flags, reason="a new disk")))
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
    told = plan(seen(*nodes, held=" ".join(held)))
    everything = [*told.fail, *told.sleep, *told.restore]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= JOIN.power_names
    assert not set(told.restore) & held


def test_a_machine_joins_while_its_job_waits_for_it() -> None:
    job = Job("1", "CONFIGURING", nodes=frozenset({"a"}))
    ready = {"ready": frozenset({"urn:a"})}
    moment = seen(Node("a", "MIXED", WAKING), held="a", jobs=[job], facts=ready)
    assert [step.name for step in plan_joins(moment).start] == ["a"]


def test_a_machine_whose_node_is_emptied_already_or_is_not_left_to_power_saving_gets_no_verdict() -> None:
    asleep = [Node(name, "IDLE", ASLEEP) for name in "abd"]
    verdicts = power_surplus(seen(*asleep, held="a b d", chosen=frozenset({"a"})))
    assert [verdict.name for verdict in verdicts] == ["b"]
    assert verdicts[0].why == "Slurm says IDLE+CLOUD+POWERED_DOWN"


@pytest.mark.parametrize(
    ("node", "goes"),
    [
        (Node("a", "IDLE", frozenset({"POWERING_DOWN"})), True),
        (Node("a", "DOWN", reason=f"{FAILED}x"), True),
        (Node("a", "DOWN", reason="a new disk"), False),
        (Node("a", "IDLE", reason="ResumeTimeout reached"), False),
        (Node("a", "IDLE"), False),
    ],
)
def test_only_sleep_and_a_vain_wait_let_a_machine_go(node: Node, goes: bool) -> None:
    assert [verdict.goes for verdict in power_surplus(seen(node, held="a"))] == [goes]


def test_nothing_is_told_before_slurm_was_read_and_where_no_node_is_left_to_power_saving() -> None:
    asleep = Node("a", "DOWN", ASLEEP, reason="ResumeTimeout reached")
    assert plan(seen(snapshot=None)) == PowerPlan()
    assert plan_power(a_moment(asleep), Supply(), grow_by_name(Supply(), DemandSettings())) == PowerPlan()
    assert still_forsaken(seen(snapshot=None)) == {}
    assert still_forsaken(a_moment(asleep)) == {}


def test_a_node_that_is_being_powered_down_is_left_alone_until_it_is() -> None:
    going = Node("a", "DOWN", frozenset({"POWERING_DOWN"}), reason=f"{FAILED}x")
    told = plan(seen(going), since={"a": NOW - timedelta(days=1)})
    assert (told.sleep, told.restore) == ((), ())


def test_a_node_that_failed_may_be_woken_when_power_retry_has_passed_and_not_before() -> None:
    asleep = Node("a", "DOWN", ASLEEP, reason="ResumeTimeout reached")
    assert plan(seen(asleep), since={"a": NOW - timedelta(seconds=299)}).restore == ()
    assert plan(seen(asleep), since={"a": NOW - timedelta(seconds=300)}).restore == ("a",)


def test_the_time_out_of_service_is_counted_from_the_first_look_and_ends_with_it() -> None:
    out = Node("a", "DOWN", reason=f"{FAILED}x"), Node("b", "DOWN", reason=f"{FAILED}x"), Node("c", "IDLE")
    other = Node("d", "DOWN", reason=f"{FAILED}x")
    earlier = History(forsaken_since={"a": NOW - timedelta(hours=1), "c": NOW - timedelta(hours=1)})
    assert still_forsaken(seen(*out, other, history=earlier)) == {"a": NOW - timedelta(hours=1), "b": NOW}
    assert still_forsaken(seen(*out, history=None)) == {"a": NOW, "b": NOW}


@pytest.mark.parametrize(
    ("node", "forsaken"),
    [
        (Node("a", "DOWN", reason=f"{FAILED}x"), True),
        (Node("a", "IDLE", frozenset({"DRAIN"}), reason="ResumeTimeout reached [slurm]"), True),
        (Node("a", "IDLE", frozenset({"DRAIN"}), reason="a new disk"), False),
        (Node("a", "IDLE", reason=f"{FAILED}x"), False),
        (Node("a", "DOWN"), False),
    ],
)
def test_a_node_is_forsaken_where_we_or_a_vain_wait_took_it_out_of_service(
    node: Node, forsaken: bool
) -> None:
    assert is_forsaken(node) is forsaken
