"""Estimates that were wrong: found in readings of Slurm, told once, and kept over restarts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.misjudged import Misjudged
from agent.cluster.settings.demand import DemandSettings
from agent.core.errors import LedgerError
from agent.core.estimates import ForJobs
from agent.core.events import EventKind
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_desk, a_machine, free_machine

DEMAND = DemandSettings(node_cpus=4, grow_after=0, settle=300)
IDLE = Node("pc1", "IDLE", cpus=4, partitions=("main",))
WAITING = Job("8", "PENDING", "ada", "Resources", ("main",), cpus=4, submitted=NOW - timedelta(hours=1))


@pytest.fixture
def manager(make_manager, clock) -> SlurmElasticSliceManager:
    """One whose machine waits unused while a job that should start there does not."""
    slurm = Slurm(IDLE, jobs=[WAITING], clock=clock)
    return make_manager(Cloudlab(a_machine(1), free=[free_machine(90)]), slurm, demand=DEMAND)


def settle(manager: SlurmElasticSliceManager, clock) -> None:
    for _ in range(7):
        manager.get_system_state()
        clock.advance(60)


def told(ledger) -> list[tuple[str, str]]:
    return [(event.subject, event.message) for event in ledger.told([EventKind.MISJUDGED])]


def test_it_is_told_once_with_the_machine_and_the_machine_goes_as_any_other(manager, ledger, clock) -> None:
    settle(manager, clock)
    settle(manager, clock)
    message = "job 8 should start on a borrowed machine, and does not: Slurm says Resources; none is kept or"
    assert told(ledger) == [("pc1", f"{message} borrowed for such jobs")]
    clock.advance(1000)
    manager.get_system_state()
    assert [event.subject for event in ledger.told([EventKind.SURPLUS])] == ["pc1"]
    assert manager.memory.now().wrong == ledger.wrong()


def test_a_restart_knows_it(manager, ledger, clock, make_manager) -> None:
    settle(manager, clock)
    later = make_manager(Cloudlab(a_machine(1)), Slurm(IDLE, jobs=[WAITING], clock=clock), demand=DEMAND)
    later.get_system_state()
    assert later.last_plan is not None
    assert [verdict.counts for verdict in later.last_plan.jobs] == [False]


def test_when_the_daemon_is_reloaded_it_is_forgotten(manager, ledger, clock) -> None:
    settle(manager, clock)
    manager.memory.misjudged.forget()
    assert (manager.memory.now().wrong, ledger.wrong()) == ((), ())
    plan = manager.plan()
    assert plan is not None
    assert plan.growth.claimed == {"pc1"}


def test_what_cannot_be_stored_is_known_and_stored_later(manager, ledger, clock, monkeypatch) -> None:
    def refuse(_marks: object) -> None:
        raise LedgerError("full")

    with monkeypatch.context() as full:
        full.setattr(ledger, "keep_wrong", refuse)
        settle(manager, clock)
    assert len(manager.memory.now().wrong) == 1
    assert ledger.wrong() == ()
    manager.get_system_state()
    assert ledger.wrong() == manager.memory.now().wrong


def test_what_a_ledger_without_any_has_is_nothing(ledger) -> None:
    assert Misjudged(a_desk(), ledger).marks == ()


def test_for_which_jobs_a_machine_is_asked_for_is_remembered_while_it_may_be_there(
    make_manager, ledger, clock
) -> None:
    site = Cloudlab(a_machine(1), free=[free_machine(n) for n in range(90, 98)])
    busy = Node("pc1", "ALLOCATED", cpus=4, allocated_cpus=4, partitions=("main",))
    running = Job("3", "RUNNING", cpus=4, nodes=frozenset({"pc1"}))
    manager = make_manager(site, Slurm(busy, jobs=[running, WAITING], clock=clock), demand=DEMAND)
    manager.get_system_state()
    plan = manager.plan()
    assert plan is not None
    assert [step.why for step in plan.steps if step.kind == "add"] == [
        "1 more: the queue wants them, for job 8"
    ]
    manager.add_nodes()
    (asked,) = ledger.told([EventKind.ADD])
    assert asked.data == {"jobs": "8", "more": 0}
    ((place, jobs),) = manager.memory.now().asked_for.items()
    assert jobs == ForJobs(("8",))
    (view,) = [node for node in manager.view().nodes if node.client_id == place[1]]
    assert view.jobs == ("8",)
