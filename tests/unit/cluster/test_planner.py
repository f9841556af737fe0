"""The plan that `esagent plan` prints is what the cycle does next."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.join.plan import JoinPlan, JoinStep
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.hold import PAUSE
from agent.cluster.moment import History
from agent.cluster.planner import Plan, PlannedStep, Planner
from agent.cluster.reasons import TEARDOWN, Drain, DrainCause
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.shrink.departures import DeparturePlan
from agent.cluster.shrink.surplus import NodeVerdict
from agent.cluster.steer.weights import SetWeight
from agent.core.config import CycleSettings, ManagerConfig
from agent.core.model import AdminDrain, Share, SliverStatus
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.rspec import request_client_ids
from agent.core.said import ResourceValue, Revocation, Taken
from agent.ledger.ledger import Ledger
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling, Unit
from tests.unit.cluster.conftest import (
    CLOUDLAB_STEPS,
    NOW,
    UTAH,
    WISC,
    Clock,
    Cloudlab,
    Shell,
    Slurm,
    a_machine,
    a_moment,
    a_slice,
    free_machine,
    settings_with,
)

SURPLUS = Drain("", DrainCause.SURPLUS).reason
HOUR = timedelta(hours=1)
IDLE = Node("pc1", "IDLE", cpus=2, partitions=("main",))
ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})
WAITING = Job("1", "PENDING", "ada", cpus=2, reason="Resources", partitions=("main",))
IDLE_SINCE = History(idle_since={"pc1": NOW - HOUR}, joined_since={"pc1": NOW - HOUR})
PAUSED = AdminDrain("", PAUSE, "ada", NOW)
GROWING = settings_with(DemandSettings(node_cpus=2, grow_after=0, max_nodes=5))

reasons = st.sampled_from(["", SURPLUS, "esagent: drained by bob: a look", "broken"])
states = st.sampled_from(["IDLE", "ALLOCATED", "DOWN", None])
"""None: Slurm does not have it."""


@st.composite
def nodes(draw, name, chosen):
    state, reason = draw(states), SURPLUS if name in chosen and draw(st.booleans()) else draw(reasons)
    if state is None:
        return None
    flags = frozenset({"DRAIN"} if reason else ())
    cpus = 2 if state == "ALLOCATED" else 0
    return Node(
        *(name, state, flags),
        cpus=2,
        allocated_cpus=cpus,
        weight=draw(st.sampled_from([1, 10, 505])),
        reason=reason,
        booted=NOW - HOUR,
        last_busy=NOW - draw(st.sampled_from([timedelta(0), HOUR])),
        partitions=("main",),
    )


@st.composite
def jobs(draw, number, names):
    running = draw(st.booleans()) and names
    if running:
        return Job(
            str(number), "RUNNING", "ada", nodes=frozenset({draw(st.sampled_from(names))}), ends=NOW + HOUR
        )
    return Job(
        str(number),
        "PENDING",
        "ada",
        cpus=draw(st.sampled_from([1, 2, 4])),
        reason=draw(st.sampled_from(["Resources", "Priority", "Dependency"])),
        partitions=("main",),
        submitted=NOW - draw(st.sampled_from([timedelta(0), HOUR])),
        requested_nodes=frozenset(draw(st.sampled_from([(), (), (), tuple(names[:1])]))),
    )


class Site(Cloudlab):
    """Two CMs, of which each may hold nothing for us; some machines fail to boot."""

    def __init__(self, *machines, free, bare, failed):
        super().__init__(*machines, cms=(UTAH, WISC), free=free)
        self.bare = bare
        self.failed = failed

    def find_sliver(self, cm):
        return None if cm in self.bare else super().find_sliver(cm)

    def create_sliver(self, cm, rspec):
        self.bare.discard(cm)
        names = request_client_ids(rspec, cm)
        self.asked.append(("create", cm, names))
        for name in names:
            self._lend(cm, name)
        return self.find_sliver(cm)

    def delete_sliver(self, cm):
        super().delete_sliver(cm)
        self.machines = [machine for machine in self.machines if machine.cm != cm]
        self.bare.add(cm)

    def sliver_status(self, cm):
        status = super().sliver_status(cm)
        nodes = (replace(n, status="failed") if n.node_id in self.failed else n for n in status.nodes)
        return SliverStatus(cm, "ready", "ready", "", tuple(nodes))


@st.composite
def worlds(draw):
    """A slice at two CMs, a Slurm, and what the agent remembers."""
    count = draw(st.integers(0, 4))
    machines = [a_machine(n, draw(st.sampled_from([UTAH, WISC]))) for n in range(1, count + 1)]
    names = [machine.node_id for machine in machines]
    subset = st.sets(st.sampled_from(names)) if names else st.just(set())
    chosen = draw(subset)
    there = [node for name in names if (node := draw(nodes(name, chosen))) is not None]
    queue = [draw(jobs(n, names)) for n in range(draw(st.integers(0, 3)))]
    free = [free_machine(90 + n, (UTAH, WISC)[n % 2], "d430") for n in range(draw(st.integers(0, 12)))]
    booked = [Reservation("r", frozenset(names[:1]), NOW - HOUR, NOW + HOUR)] if draw(st.booleans()) else []
    bare = draw(st.sets(st.sampled_from([UTAH, WISC]))) - {m.cm for m in machines}
    return {
        "site": Site(*machines, free=free, bare=bare, failed=draw(subset)),
        "slurm": Slurm(*there, jobs=queue, reservations=booked),
        "chosen": chosen,
        "emptied": draw(subset) if draw(st.booleans()) else set(),
        "revoked": draw(subset),
        "admin": draw(subset),
        "values": {name: draw(st.sampled_from([0.0, 0.5, 1.0])) for name in draw(subset)},
        "held_up": draw(st.sampled_from(["", "", "pause", "teardown"])),
        "demand": DemandSettings(
            max_nodes=draw(st.integers(2, 6)), min_nodes=draw(st.integers(0, 2)), node_cpus=2
        ),
        "join": JoinSettings(probe=draw(st.sampled_from([(), ("true",)]))),
    }


def remember(manager, world):
    memory, names = manager.memory, {m.node_id: m for m in world["site"].machines}
    memory.known.read_back = frozenset({UTAH, WISC})
    for name in world["chosen"]:
        memory.chosen.choose(names[name])
    for name in world["emptied"]:
        memory.chosen.empty(names[name])
    for name in world["revoked"]:
        due = Revocation(name, names[name].client_id, NOW + HOUR, NOW, NOW)
        manager.revocations["", name] = due
    for name in world["admin"]:
        memory.drains.put(AdminDrain(name, "a look", "bob", NOW))
    for name, value in world["values"].items():
        manager.resource_values["", name] = ResourceValue(name, value, NOW)
    if world["held_up"]:
        memory.hold.put(world["held_up"], "bob", NOW)


def told(events, kind):
    return sorted(event.subject for event in events if event.kind == kind)


def of_kind(plan, kind):
    return sorted(step.subject for step in plan.steps if step.kind == kind)


def planned(*nodes, settings=GROWING, **fields):
    """What one planner plans for ``a_moment``."""
    return Planner().plan(a_moment(*nodes, settings=settings, **fields))


def test_a_plan_is_told_step_by_step_in_the_order_in_which_it_is_done():
    pc = [a_machine(n) for n in range(1, 4)]
    made = Plan(
        shares={("", UTAH): 2, ("big", WISC): 1},
        kept={"pc5": "job 1 asks for it by name", "pc4": "the queue wants it again"},
        verdicts=(NodeVerdict("pc6", True, "idle"), NodeVerdict("pc7", False, "busy")),
        departures=DeparturePlan(failed=(pc[0],)),
        joins=JoinPlan(
            start=(JoinStep(pc[0], "pc1", "ready"),),
            probe=(JoinStep(pc[1], "pc2", "at work"),),
            failed=(JoinStep(pc[2], "pc3", "silent"),),
            watch=(JoinStep(pc[2], "pc8", "away"),),
        ),
        weights=(SetWeight(("pc1", "pc2"), 7, "default"),),
    )
    assert made.steps == (
        PlannedStep("add", UTAH, "2 more: the queue wants them"),
        PlannedStep("add", WISC, "1 more of type big: the queue wants them"),
        PlannedStep("keep", "pc4", "the queue wants it again"),
        PlannedStep("keep", "pc5", "job 1 asks for it by name"),
        PlannedStep("surplus", "pc6", "idle"),
        PlannedStep("delete", "node-1", "it failed, or is empty and surplus"),
        PlannedStep("join", "pc1", "ready"),
        PlannedStep("probe", "pc2", "at work"),
        PlannedStep("give up", "pc3", "silent"),
        PlannedStep("weight", "pc1,pc2", "7: default"),
    )
    assert replace(made, held_up="pause by ada").steps == made.steps[2:]
    assert (made.wanted_at(UTAH), made.wanted_at(WISC)) == ({"": 2}, {"big": 1})


def test_before_slurm_was_read_nothing_is_planned_but_it_is_told_what_holds_growth_up():
    made = planned(snapshot=None)
    assert (made.steps, made.jobs, made.growth.count) == ((), (), 0)
    assert (made.held_up, made.asks_reservations) == ("", False)
    assert planned(snapshot=None, hold=PAUSED).held_up == "pause by ada"


def test_a_pause_holds_up_what_is_asked_for_and_a_brake_what_is_told_of_it():
    lending = {"shares": {UTAH: Share(9, 10)}}
    assert planned(jobs=[WAITING], facts=lending).shares == {("", UTAH): 1}
    paused = planned(jobs=[WAITING], facts=lending, hold=PAUSED)
    assert (paused.growth.count, paused.shares, paused.held_up) == (1, {}, "pause by ada")
    braked = planned(jobs=[WAITING], facts={**lending, "braked": "too many failed"})
    assert (braked.shares, braked.steps) == ({("", UTAH): 1}, ())


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({}, False),
        ({"history": IDLE_SINCE}, True),
        ({"chosen": frozenset({"pc1"})}, True),
        ({"history": IDLE_SINCE, "reservations": ()}, False),
        ({"chosen": frozenset({"pc1"}), "reservations": ()}, False),
    ],
)
def test_reservations_are_asked_for_where_a_node_goes_or_may_be_kept_and_they_were_not_read(fields, asks):
    assert planned(IDLE, machines=[a_machine(1)], **fields).asks_reservations is asks


def test_what_the_queue_wants_is_worked_out_once_for_what_was_read_and_anew_when_any_of_it_changed():
    planner = Planner()
    moment = a_moment(jobs=[WAITING], settings=GROWING)
    growth = planner.plan(moment).growth
    assert growth.count == 1
    assert planner.plan(replace(moment, now=NOW + HOUR)).growth is growth
    later = replace(GROWING, demand=GROWING.demand.model_copy(update={"grow_after": 60}))
    waits = History(waiting_since={"1": NOW - HOUR})
    for fields, count in (
        ({"snapshot": replace(moment.snapshot, jobs=())}, 0),
        ({"settings": later}, 0),
        ({"settings": later, "history": waits}, 1),
        ({"settings": later, "history": None}, 0),
        ({"slice": a_slice(a_machine(1))}, 0),
    ):
        assert planner.plan(replace(moment, **fields)).growth.count == count


def test_what_the_queue_wants_is_worked_out_anew_when_slurm_chooses_nodes_another_way():
    planner = Planner()
    moment = a_moment(jobs=[WAITING], settings=GROWING)
    growth = planner.plan(moment).growth
    assert planner.plan(replace(moment, scheduling=Scheduling(Unit.CORE))).growth is not growth


def test_where_slurms_power_saving_decides_it_names_what_grows_and_what_goes():
    nodes = Node("node-1", "MIXED", frozenset({"POWERING_UP"})), Node("node-2", "IDLE", ASLEEP)
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="node-[1-3]")
    power = settings_with(GROWING.demand, join=join)
    made = planned(*nodes, machines=[a_machine(2)], jobs=[WAITING], settings=power)
    assert made.growth.names == {"node-1": ""}
    assert [verdict.name for verdict in made.verdicts if verdict.goes] == ["node-2"]
    assert planned(*nodes, settings=power, hold=PAUSED).power.fail == {"node-1": "pause by ada"}


def test_only_machines_that_serve_or_return_to_service_are_joined():
    """pc1 returns, pc2 stays chosen, pc3 becomes surplus, and pc4 is busy."""
    nodes = [replace(IDLE, name=f"pc{n}", state="ALLOCATED" if n == 4 else "IDLE") for n in range(1, 5)]
    machines = [a_machine(n) for n in range(1, 5)]
    made = planned(
        *nodes,
        machines=machines,
        jobs=[replace(WAITING, requested_nodes=frozenset({"pc1"}))],
        chosen=frozenset({"pc1", "pc2"}),
        history=History(idle_since={"pc3": NOW - HOUR}, joined_since={"pc3": NOW - HOUR}),
        facts={"ready": frozenset(machine.key for machine in machines)},
        reservations=(),
    )
    assert made.kept == {"pc1": "job 1 asks for it by name"}
    assert of_kind(made, "surplus") == ["pc3"]
    assert [step.name for step in made.joins.joined] == ["pc1", "pc4"]


def test_a_node_that_returns_to_service_is_not_told_to_go_in_the_same_plan():
    drained = replace(IDLE, flags=frozenset({"DRAIN"}), reason=SURPLUS)
    made = planned(drained, machines=[a_machine(1)], jobs=[WAITING], chosen=frozenset({"pc1"}))
    assert made.nodes == (NodeVerdict("pc1", False, "the queue wants it again"),)


def test_a_machine_that_a_reservation_may_keep_is_joined_as_any_other():
    """Until the reservations are read nobody knows whether it goes."""
    made = planned(
        IDLE,
        machines=[a_machine(1)],
        history=History(idle_since={"pc1": NOW - HOUR}, joined_since={"pc1": NOW - HOUR}),
        facts={"ready": frozenset({a_machine(1).key})},
    )
    assert made.asks_reservations
    assert [step.name for step in made.joins.joined] == ["pc1"]


def test_a_node_that_is_named_is_room_at_once_and_returns_for_that_and_not_for_the_queue():
    drained = replace(IDLE, flags=frozenset({"DRAIN"}), reason=SURPLUS)
    training = Reservation("training", frozenset({"pc1"}), NOW + HOUR, NOW + 2 * HOUR)
    named = {"chosen": frozenset({"pc1"}), "reservations": (training,)}
    waiting = replace(WAITING, time_limit=HOUR)
    made = planned(drained, machines=[a_machine(1)], jobs=[waiting], **named)
    assert made.kept == {"pc1": "reservation training names it"}
    assert (made.growth.count, made.supply.resuming) == (0, {"pc1"})


def test_a_machine_that_is_given_back_is_not_weighed_any_more():
    drained = replace(IDLE, flags=frozenset({"DRAIN"}), reason=SURPLUS)
    both = {"machines": [a_machine(1), a_machine(2)], "facts": {"failed": frozenset({"urn:sliver+1"})}}
    made = planned(drained, replace(drained, name="pc2"), **both)
    assert of_kind(made, "delete") == ["node-1"]
    assert of_kind(made, "weight") == ["pc2"]


def test_of_each_machine_it_is_told_whether_it_goes_and_why():
    wish = AdminDrain("pc1", "a look", "bob", NOW)
    nodes = [replace(IDLE, name=f"pc{n}") for n in range(1, 7)]
    made = planned(
        *nodes,
        machines=[a_machine(n) for n in range(8, 0, -1)],
        admin={("", "pc1"): wish, ("", "pc2"): replace(wish, node_id="pc2", give_back=True)},
        chosen=frozenset({"pc3"}),
        facts={"taken": {"pc4": Taken("pc4", "node-4", NOW)}, "ready": frozenset({"urn:sliver+7"})},
        history=History(idle_since={"pc5": NOW - HOUR}, joined_since={"pc5": NOW - HOUR}),
        hold=PAUSED,
    )
    assert [(verdict.name, verdict.goes, verdict.why) for verdict in made.nodes] == [
        ("pc1", False, "esagent: drained by bob: a look"),
        ("pc2", True, "esagent: drained by bob, to be given back: a look"),
        ("pc3", True, SURPLUS),
        ("pc4", True, "esagent: taken by Cloudlab"),
        ("pc5", True, "idle for 1h and nothing waits for it"),
        ("pc6", False, "Slurm says IDLE"),
        ("pc7", False, "ready, and Slurm says nothing of it"),
        ("pc8", False, "it has not joined yet"),
    ]


def test_in_a_teardown_every_machine_goes_also_one_with_jobs_on_it():
    teardown = AdminDrain("", TEARDOWN, "ada", NOW)
    running = Job("1", "RUNNING", nodes=frozenset({"pc1"}))
    made = planned(IDLE, machines=[a_machine(1)], jobs=[running], hold=teardown)
    assert [(verdict.goes, verdict.why) for verdict in made.nodes] == [
        (True, "esagent: drained by ada: teardown")
    ]


@given(worlds())
def test_what_the_cycle_does_next_is_what_the_plan_said(world):
    site, slurm, ledger = world["site"], world["slurm"], Ledger(":memory:")
    manager = SlurmElasticSliceManager(
        site,
        ManagerConfig(clock=Clock(), events=ledger, cycle=CycleSettings(growth_stop_after=100)),
        backend=slurm,
        shell=Shell(),
        settings=settings_with(demand=world["demand"], join=world["join"]),
        wishes=ledger,
    )
    manager.set_helper(SimpleElasticSliceHelper(server=site))
    for step in CLOUDLAB_STEPS:
        if step != "ensure_sliver":
            getattr(manager, step)()
    remember(manager, world)
    manager._reader.read()
    plan, chosen = manager.plan(), manager.memory.now().chosen
    held = {machine.client_id: machine.node_id for machine in site.machines}
    manager.manage_once(force=True)
    events = ledger.events(newest=1000)

    asked = Counter()
    for what, cm, names in site.asked:
        asked[cm] += len(names) if what in {"add", "create"} else 0
    assert sorted(+asked) == of_kind(plan, "add")
    assert +asked == Counter({cm: sum(plan.wanted_at(cm).values()) for cm in +asked})
    kept, goes = of_kind(plan, "keep"), of_kind(plan, "surplus")
    assert (told(events, "keep"), told(events, "surplus")) == (kept, goes)
    given = held.keys() - {machine.client_id for machine in site.machines}
    assert sorted(given) == of_kind(plan, "delete")
    gone = {held[client_id] for client_id in given}
    assert manager.memory.now().chosen | gone == (chosen - set(kept)) | set(goes) | gone
    assert told(events, "joining") == of_kind(plan, "join")
    assert told(events, "join-failed") == of_kind(plan, "give up")
    weighed = [name for act, *names in slurm.acts if act == "set_weight" for name in names]
    assert sorted(weighed) == sorted(n for step in of_kind(plan, "weight") for n in step.split(","))
    for thread in threading.enumerate():
        if thread.name.startswith("join-"):
            thread.join()
    ledger.close()


def test_a_node_that_is_about_to_serve_again_is_room_and_no_other_is_asked_for(make_manager):
    """Between the decision to keep it and the end of its drain in Slurm."""
    since = NOW - HOUR
    waiting = Job("8", "PENDING", "ada", cpus=1, reason="Resources", partitions=("main",), submitted=since)
    surplus = Node("pc1", "IDLE", frozenset({"DRAIN"}), cpus=2, reason=SURPLUS, partitions=("main",))
    site = Cloudlab(a_machine(1), free=[free_machine(n) for n in range(90, 98)])
    manager = make_manager(site, Slurm(surplus, jobs=[waiting]), demand=DemandSettings(node_cpus=2))
    manager.memory.chosen.choose(a_machine(1))
    manager.get_system_state()
    assert manager.memory.chosen.chosen == frozenset()
    manager.add_nodes()
    assert site.asked == []
