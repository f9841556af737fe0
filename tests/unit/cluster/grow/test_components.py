"""Slurm starts all components of a heterogeneous job at once, each on machines of its own, or none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agent.cluster.grow.demand import GrowthPlan, plan_growth
from agent.cluster.grow.moving import Move
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import History
from agent.cluster.settings.demand import DemandSettings
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, a_moment, settings_with

SETTINGS = DemandSettings(node_cpus=4, max_nodes=4, grow_after=0)
FREE = Node("pc1", "IDLE", cpus=4, partitions=("main",))
FIRST = Job("12+0", "PENDING", reason="Resources", partitions=("main",), cpus=1, submitted=NOW)
SECOND = replace(FIRST, id="12+1", reason="None")
ELSE = replace(FIRST, id="13", submitted=NOW + timedelta(seconds=1))


def plan(*jobs: Job, nodes=(FREE,), moves=(), supply: Supply | None = None) -> GrowthPlan:
    moment = a_moment(*nodes, jobs=jobs, settings=settings_with(SETTINGS), history=History())
    return plan_growth(moment, supply or Supply(), moves)


def test_each_has_machines_of_its_own() -> None:
    found = plan(FIRST, SECOND)
    assert (found.count, found.claimed) == (1, {"pc1"})
    assert plan(FIRST, SECOND, nodes=()).count == 2


def test_others_share_what_is_left_of_them() -> None:
    assert plan(FIRST, SECOND, ELSE).count == 1


def test_nothing_is_borrowed_or_claimed_where_one_component_finds_no_place() -> None:
    found = plan(FIRST, replace(SECOND, features="gpu"))
    assert (found.count, found.claimed) == (0, set())
    assert [verdict.why for verdict in found.jobs] == [
        "its component 12+1 finds no place: borrowed machines do not offer 'gpu'",
        "borrowed machines do not offer 'gpu'",
    ]
    assert not any(verdict.counts for verdict in found.jobs)


def test_what_it_does_not_take_is_there_for_others() -> None:
    parts = (FIRST, SECOND, replace(FIRST, id="12+2", features="gpu"))
    found = plan(*parts, replace(ELSE, cpus=16), nodes=())
    assert found.count == 4


def test_max_nodes_holds_for_all_components_together() -> None:
    parts = [replace(FIRST, id=f"12+{n}", cpus=4) for n in range(5)]
    assert plan(*parts, nodes=()).count == 0
    assert plan(*parts).count == 4


def test_none_counts_where_one_waits_for_something_else() -> None:
    found = plan(FIRST, replace(SECOND, reason="Dependency"), nodes=())
    assert found.count == 0
    assert (
        found.jobs[0].why == "Slurm does not start its component 12+1: waits for something else (Dependency)"
    )


def test_none_is_asked_for_where_no_cm_can_spare_all() -> None:
    found = plan(FIRST, SECOND, nodes=(), supply=Supply(spare={"": 1}))
    assert (found.count, dict(found.wanted)) == (2, {})
    assert plan(FIRST, SECOND, nodes=(), supply=Supply(spare={"": 2})).wanted == {"": 2}


def test_one_that_has_to_move_is_placed_as_a_whole() -> None:
    runs = [
        replace(each, state="RUNNING", nodes=frozenset({f"old{n}"})) for n, each in enumerate((FIRST, SECOND))
    ]
    moves = [Move(job, NOW + timedelta(hours=1)) for job in runs]
    nodes = [Node(f"old{n}", "ALLOCATED", frozenset({"DRAIN"}), cpus=4, partitions=("main",)) for n in (0, 1)]
    assert plan(*runs, nodes=nodes, moves=moves).count == 2
    gpu = [moves[0], Move(replace(runs[1], features="gpu"), moves[1].deadline)]
    assert plan(*runs, nodes=nodes, moves=gpu).count == 0
