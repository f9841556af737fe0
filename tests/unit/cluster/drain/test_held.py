"""Nodes that wait for their fence: how they register so, which they are, and who lets them in."""

from datetime import timedelta

import pytest

from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.gate import Gate
from agent.cluster.drain.held import can_hold, held, held_nodes, holds
from agent.cluster.drain.wanted import wishes_of
from agent.cluster.grow.supply import count_supply
from agent.cluster.join.plan import plan_joins
from agent.cluster.moment import JoinRecord
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.slurm.model import Node, Snapshot
from tests.unit.cluster.conftest import NOW, UTAH, Slurm, a_desk, a_machine, a_moment, settings_with
from tests.unit.cluster.drain.conftest import SLICE, Bench, Made, at
from tests.unit.cluster.drain.conftest import Slurm as Emptied


@pytest.mark.parametrize(
    ("told", "drained"),
    [
        ('slurmd -Z -N pc1 --conf "Feature=x"', 'slurmd -Z -N pc1 --conf "Feature=x State=DRAIN"'),
        ("slurmd -Z --conf 'CPUs=2 Feature=x'", "slurmd -Z --conf 'CPUs=2 Feature=x State=DRAIN'"),
        ("slurmd -Z --conf=Feature=x -N a", 'slurmd -Z --conf "Feature=x State=DRAIN" -N a'),
        ("slurmd --conf Feature=x -Z", 'slurmd --conf "Feature=x State=DRAIN" -Z'),
        ("slurmd -Z -N pc1", "slurmd -Z --conf State=DRAIN -N pc1"),
        ("slurmd -N pc1 -Z && echo ok", "slurmd -N pc1 -Z --conf State=DRAIN && echo ok"),
        ("sudo sh -c 'slurmd -Z --conf \"A=1\"'", "sudo sh -c 'slurmd -Z --conf \"A=1 State=DRAIN\"'"),
        ('sh -c "slurmd -Z --conf \\"A=1\\""', 'sh -c "slurmd -Z --conf \\"A=1 State=DRAIN\\""'),
        ('S=/x slurmd -Z --conf "F=$(uname -r)"', 'S=/x slurmd -Z --conf "F=$(uname -r) State=DRAIN"'),
    ],
)
def test_slurmd_registers_the_node_drained_however_its_line_is_written(told: str, drained: str) -> None:
    assert held([told]) == (drained,)
    assert can_hold(["true", told])


@pytest.mark.parametrize(
    "told",
    [
        'slurmd -Z --conf "Feature=x State=DOWN"',
        "slurmd -Z --conf state=FUTURE",
        "slurmd -b -N pc1",
        "pkill -x slurmd || true",
        "systemctl start slurmd",
    ],
)
def test_a_line_that_gives_a_state_or_registers_no_node_stays_as_it_is(told: str) -> None:
    assert held([told]) == (told,)
    assert not can_hold([told])


FENCED = settings_with(drain=DrainSettings(fence=True, cleanup_lead=30))
WAITS = Node("pc1", "IDLE", frozenset({"DRAIN"}), partitions=("main",))


def situation(*nodes: Node, settings=FENCED, jobs=(), facts=(), **fields):
    given = {"leases": {UTAH: at(9000)}, "all_read": True, **dict(facts)}
    snapshot = Snapshot(NOW, {n.name: n for n in nodes}, tuple(jobs))
    fields = {"limited": frozenset({"main"}), **fields}
    return a_moment(machines=[a_machine(1)], settings=settings, snapshot=snapshot, facts=given, **fields)


def test_a_machine_is_held_back_where_its_node_is_new_and_may_be_fenced() -> None:
    assert holds(situation(), "pc1")
    assert not holds(situation(WAITS), "pc1")
    assert not holds(situation(limited=frozenset()), "pc1")
    assert not holds(situation(settings=settings_with()), "pc1")


def test_a_drain_without_a_reason_is_that_of_the_registration() -> None:
    assert held_nodes(situation(WAITS)) == {"pc1"}
    somebodys = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="disk", partitions=("main",))
    busy = Node("pc1", "MIXED", frozenset({"DRAIN"}), partitions=("main",))
    idle = Node("pc1", "IDLE", partitions=("main",))
    another = Node("n1", "IDLE", frozenset({"DRAIN"}), partitions=("main",))
    for node in (somebodys, busy, idle, another):
        assert held_nodes(situation(node)) == frozenset()


def test_where_nodes_are_not_fenced_and_commands_give_a_state_the_drain_is_not_ours() -> None:
    unfenced = settings_with()
    assert held_nodes(situation(WAITS, settings=unfenced)) == frozenset()
    record = {a_machine(1).key: JoinRecord(NOW, NOW, 1, running=False)}
    assert held_nodes(situation(WAITS, settings=unfenced, joins=record)) == {"pc1"}
    own = JoinSettings(commands=('slurmd -Z --conf "State=DRAIN"',))
    assert held_nodes(situation(WAITS, settings=settings_with(drain=FENCED.drain, join=own))) == frozenset()


def test_it_counts_as_room_has_not_joined_yet_and_is_no_surplus() -> None:
    moment = situation(WAITS, facts={"ready": frozenset({a_machine(1).key})})
    assert count_supply(moment).resuming == {"pc1"}
    plan = plan_joins(moment)
    assert (plan.joined, plan.start, plan.failed, plan.watch) == ((), (), (), ())


def test_it_is_let_in_once_its_fence_stands() -> None:
    bench = Bench(Emptied([WAITS]))
    bench.held = {"pc1"}
    bench.fences = {"pc1": at(900)}
    bench.slurm.hang_at = "reserve"
    bench.drainer.tick()
    assert bench.slurm.said("undrain") == []
    bench.slurm.hang_at = ""
    bench.after(5).drainer.tick()
    assert [what for what, _ in bench.slurm.calls if what in {"reserve", "undrain"}][-2:] == [
        "reserve",
        "undrain",
    ]
    assert bench.slurm.said("undrain") == [("pc1",)]


def test_it_is_let_in_where_slurm_refuses_its_fence_or_it_gets_none() -> None:
    bench = Bench(Emptied([WAITS, Node("pc2", "IDLE", frozenset({"DRAIN"}))]))
    bench.held = {"pc1", "pc2"}
    bench.fences = {"pc1": at(900)}
    bench.slurm.refuse = {"reserve"}
    bench.drainer.tick()
    assert bench.slurm.said("undrain") == [("pc1", "pc2")]


def test_what_somebody_wants_emptied_meanwhile_is_not_let_in() -> None:
    assert wishes_of(situation(WAITS)).held == {"pc1"}
    assert wishes_of(situation(WAITS, chosen=frozenset({"pc1"}))).held == frozenset()


def test_who_brings_a_node_up_waits_for_its_fence_and_not_for_ever(monkeypatch) -> None:
    monkeypatch.setattr("agent.cluster.drain.gate.POLL", 0.0)
    slurm = Slurm()
    fencer = Fencer(slurm, SLICE, Made())
    moments = [situation(), situation(WAITS)]
    woken: list[str] = []
    desk = a_desk(FENCED, wake=woken.append)
    gate = Gate(desk, lambda: moments.pop(0) if len(moments) > 1 else moments[0], fencer)
    fencer.step({"pc1": at(8970)}, NOW)
    gate.wait("pc1")
    assert woken == ["get_system_state"]
    monkeypatch.setattr("agent.cluster.drain.gate.PATIENCE", 0.0)
    fencer.step({"pc1": at(8970) - timedelta(hours=1)}, NOW)
    desk.bell.clear()
    gate.wait("pc1")
    desk.settings = settings_with()
    gate.wait("nobody knows it")
