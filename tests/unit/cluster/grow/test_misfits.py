"""Jobs that no node fits any more count where a borrowed machine would, and are let go when one has come."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.grow.misfits import Fits, Misfits
from agent.cluster.moment import Moment
from agent.cluster.planner import Planner
from agent.cluster.settings.demand import DemandSettings
from agent.core.errors import SlurmDownError
from agent.core.said import Revocation
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, Slurm, a_machine, a_moment, settings_with

MISFIT = Job("12", "PENDING", reason="BadConstraints", partitions=("main",), features="ssd", cpus=2)
PLAIN = Node("head", "IDLE", cpus=8, partitions=("main",))
FITS = Node("pc1", "ALLOCATED", cpus=4, allocated_cpus=4, partitions=("main",), features=frozenset({"ssd"}))


def moment(*nodes: Node, job: Job = MISFIT, **fields: object) -> Moment:
    settings = settings_with(DemandSettings(node_cpus=4, features=("ssd",), grow_after=0))
    machines = [a_machine(1)] if any(node.name == "pc1" for node in nodes) else []
    return a_moment(*nodes, machines=machines, jobs=[job], settings=settings, **fields)


def verdict(now: Moment) -> tuple[int, str]:
    (told,) = Planner().plan(now).growth.jobs
    return told.machines, told.why


def test_a_job_whose_last_fitting_node_is_gone_wants_a_machine() -> None:
    machines, why = verdict(moment(PLAIN))
    assert machines == 1
    assert why.startswith("waits (BadConstraints) and needs 1 machine more")


def test_nodes_are_looked_at_once_for_all_jobs_and_each_is_told_by_what_it_asks_for() -> None:
    fits = Fits(iter([PLAIN, FITS]))
    asked = [MISFIT, replace(MISFIT, id="13"), replace(MISFIT, features=""), replace(MISFIT, node_count=2)]
    assert [fits.of(job) for job in asked] == [{"pc1"}, {"pc1"}, {"head", "pc1"}, frozenset()]


def test_what_no_borrowed_machine_would_fit_either_wants_none() -> None:
    machines, why = verdict(moment(PLAIN, job=replace(MISFIT, features="gpu")))
    assert (machines, why) == (0, "borrowed machines do not offer 'gpu'")


def test_no_further_machine_is_wanted_where_slurm_refuses_one_that_fits_by_our_reckoning() -> None:
    assert verdict(moment(PLAIN, FITS)) == (0, "Slurm refuses the nodes that are there (BadConstraints)")


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "job_requeued_in_held_state"])
def test_what_a_person_holds_wants_none_and_is_never_let_go(reason: str) -> None:
    now = moment(PLAIN, job=replace(MISFIT, reason=reason))
    assert verdict(now)[0] == 0
    slurm = Slurm()
    Misfits(slurm).act(moment(PLAIN, FITS, job=replace(MISFIT, reason=reason)))  # type: ignore[arg-type]
    assert slurm.acts == []


def test_it_is_let_go_when_a_node_that_fits_has_come_and_once_for_each() -> None:
    slurm = Slurm()
    misfits = Misfits(slurm)  # type: ignore[arg-type]
    misfits.act(moment(PLAIN))
    assert slurm.acts == []
    misfits.act(moment(PLAIN, FITS))
    misfits.act(moment(PLAIN, FITS))
    assert slurm.acts == [("let_start", "12")]
    misfits.act(moment(PLAIN, FITS, replace(FITS, name="pc2")))
    assert slurm.acts == [("let_start", "12")] * 2


def test_a_node_that_leaves_is_none_that_has_come() -> None:
    slurm = Slurm()
    due = Revocation("pc1", "node-1", NOW + timedelta(minutes=9), NOW, NOW)
    now = moment(PLAIN, FITS, facts={"revocations": {"pc1": due}})
    Misfits(slurm).act(now)  # type: ignore[arg-type]
    assert slurm.acts == []


def test_a_job_of_two_nodes_is_let_go_when_both_have_come() -> None:
    slurm = Slurm()
    misfits = Misfits(slurm)  # type: ignore[arg-type]
    wide = replace(MISFIT, node_count=2, cpus=8)
    misfits.act(moment(FITS, job=wide))
    assert slurm.acts == []
    misfits.act(moment(FITS, replace(FITS, name="pc2"), job=wide))
    assert slurm.acts == [("let_start", "12")]


def test_slurm_that_does_not_answer_costs_the_step_nothing() -> None:
    slurm = Slurm()
    slurm.fault = SlurmDownError("no answer")
    Misfits(slurm).act(moment(PLAIN, FITS))  # type: ignore[arg-type]
