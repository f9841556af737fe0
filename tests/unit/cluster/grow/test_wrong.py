"""Jobs that should start on nodes that nobody uses, and that Slurm has wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.grow.demand import GrowthPlan, JobVerdict
from agent.cluster.grow.wrong import Watch, contradicted, look
from agent.cluster.moment import History
from agent.cluster.planner import Planner
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.core.estimates import ForJobs, WrongEstimate
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

DEMAND = DemandSettings(node_cpus=4, max_nodes=5, grow_after=0, settle=300)
FAST, LARGE = (
    MachineType(hardware_type="fast", cpus=4),
    MachineType(hardware_type="large", cpus=8),
)
IDLE = Node("pc1", "IDLE", cpus=4, partitions=("main",))
OTHER = replace(IDLE, name="pc2")
OURS = a_machine(1)


def waiting(number: int = 8, **changes: object) -> Job:
    submitted = NOW - timedelta(hours=2) + timedelta(seconds=number)
    job = Job(str(number), "PENDING", "ada", "Resources", ("main",), cpus=4, submitted=submitted)
    return replace(job, **changes)  # type: ignore[arg-type]


class Story:
    """Readings of Slurm one after the other, with what is remembered of each at the next."""

    def __init__(self, demand: DemandSettings = DEMAND) -> None:
        self.demand = demand
        self.seen = Watch()
        self.marks: tuple[WrongEstimate, ...] = ()
        self.asked_for: dict[tuple[str, str], ForJobs] = {}
        self.machines: Sequence[SliverNode] = (OURS,)
        self.minutes = 0

    def read(self, *things: Node | Job, minutes: float = 1) -> GrowthPlan:
        """Read Slurm so much later; return what follows from it, and take in what it teaches."""
        self.minutes += minutes
        there = {each.name for each in things if isinstance(each, Node)}
        now = NOW + timedelta(minutes=self.minutes)
        moment = a_moment(
            *(each for each in things if isinstance(each, Node)),
            jobs=[each for each in things if isinstance(each, Job)],
            machines=[machine for machine in self.machines if machine.node_id in there],
            now=now,
            settings=settings_with(self.demand),
            history=History(waiting_since={str(n): NOW - timedelta(hours=1) for n in range(20)}),
            wrong=self.marks,
            asked_for=self.asked_for,
        )
        growth = Planner().plan(moment).growth
        kept = contradicted(moment, self.seen)
        self.seen, found = look(moment, growth, self.seen)
        self.marks = (*kept, *found)
        return growth

    def wait(self, *things: Node | Job, minutes: int = 6) -> GrowthPlan:
        """Read Slurm every minute, and find it unchanged."""
        for _ in range(minutes):
            self.read(*things)
        return self.read(*things, minutes=0)


def verdict(growth: GrowthPlan, job: str = "8") -> JobVerdict:
    return next(each for each in growth.jobs if each.job == job)


def test_a_job_that_is_not_started_on_an_unused_machine_claims_none_and_none_is_borrowed_for_it() -> None:
    story = Story()
    assert story.read(IDLE, waiting()).claimed == {"pc1"}
    growth = story.wait(IDLE, waiting())
    assert verdict(growth).why == "Slurm does not start it on a borrowed machine: says Resources"
    assert (verdict(growth).counts, growth.claimed, growth.count) == (False, frozenset(), 0)
    assert story.read(waiting()).count == 0


def test_an_array_of_more_tasks_than_there_may_be_machines_is_held_against_slurm_too() -> None:
    tasks = waiting(id="8_[1-9]", task_count=9)
    story = Story(DEMAND.model_copy(update={"max_nodes": 1}))
    assert story.read(IDLE, tasks).claimed == {"pc1"}
    growth = story.wait(IDLE, tasks)
    assert (growth.claimed, growth.count) == (frozenset(), 0)
    assert "Slurm does not start it" in verdict(growth, "8_[1-9]").why


def test_tasks_that_should_start_are_waited_for_while_machines_come_for_others() -> None:
    tasks = waiting(id="8_[1-9]", task_count=9)
    story = Story()
    assert story.read(IDLE, tasks).count == 4
    growth = story.wait(IDLE, tasks)
    assert (growth.claimed, growth.count) == (frozenset(), 0)


def test_a_component_waits_for_the_machines_of_the_others_and_nothing_is_wrong() -> None:
    story = Story()
    parts = (waiting(id="8+0"), waiting(id="8+1"))
    assert story.wait(IDLE, *parts).claimed == {"pc1"}
    assert not story.marks
    growth = story.wait(IDLE, OTHER, *parts)
    assert (growth.claimed, growth.count) == (frozenset(), 0)


def test_before_it_has_waited_for_as_long_as_settle_nothing_is_concluded() -> None:
    story = Story()
    assert story.wait(IDLE, waiting(), minutes=5).claimed == {"pc1"}


@pytest.mark.parametrize(
    "interruption",
    [
        [replace(IDLE, state="DOWN"), waiting()],
        [replace(IDLE, flags=frozenset({"COMPLETING"})), waiting()],
        [
            replace(IDLE, state="MIXED", allocated_cpus=1),
            waiting(),
            Job("3", "RUNNING", nodes=frozenset({"pc1"})),
        ],
        [IDLE, waiting(reason="None")],
        [IDLE, waiting(reason="Priority")],
        [IDLE, waiting(reason="ReqNodeNotAvail")],
        [IDLE, waiting(reason="JobHeldUser")],
        [IDLE],
    ],
)
def test_the_time_counts_in_which_the_machine_was_unused_and_slurm_said_that_it_has_no_room(
    interruption: list[Node | Job],
) -> None:
    story = Story()
    story.wait(IDLE, waiting(), minutes=4)
    story.read(*interruption)
    assert story.wait(IDLE, waiting(), minutes=4).claimed == {"pc1"}
    assert not story.marks


def test_a_job_behind_one_that_should_start_there_too_waits_for_its_turn() -> None:
    story = Story()
    growth = story.wait(IDLE, waiting(1, cpus=2), waiting(2, cpus=1, reason="Priority"))
    assert verdict(growth, "1").counts is False
    assert (verdict(growth, "2").counts, growth.claimed) == (True, {"pc1"})


def test_a_job_that_waits_behind_one_that_is_never_started_is_no_reason_to_keep_a_machine() -> None:
    story = Story()
    queue = (waiting(1, cpus=2), waiting(2, cpus=1, reason="Priority"))
    growth = story.wait(IDLE, *queue, minutes=12)
    assert verdict(growth, "2").why == "Slurm does not start it on a borrowed machine: says Priority"
    assert growth.claimed == frozenset()
    # The one in front is cancelled.
    growth = story.read(IDLE, queue[1])
    assert (verdict(growth, "2").counts, growth.claimed) == (True, {"pc1"})


def test_a_job_behind_one_that_waits_for_good_reason_is_left_waiting() -> None:
    story = Story(DEMAND.model_copy(update={"max_nodes": 1}))
    growth = story.wait(IDLE, waiting(1, node_count=2, cpus=8), waiting(2, reason="Priority"), minutes=12)
    assert (verdict(growth, "2").counts, story.marks) == (True, ())


def test_jobs_that_ask_alike_are_meant_too_and_others_are_not() -> None:
    story = Story()
    story.wait(IDLE, waiting())
    growth = story.read(waiting(8), waiting(9), waiting(10, cpus=3))
    assert [each.counts for each in growth.jobs] == [False, False, True]
    assert (growth.count, growth.wanted_for) == (1, {"": ("10",)})


def test_a_job_that_is_changed_is_tried_again() -> None:
    story = Story()
    story.wait(IDLE, waiting())
    assert story.read(waiting(cpus=3)).count == 1


def test_a_machine_that_gives_something_else_is_tried_again() -> None:
    story = Story()
    story.wait(IDLE, waiting())
    story.demand = DEMAND.model_copy(update={"node_cpus": 6})
    assert story.read(waiting()).count == 1
    assert story.marks == ()


def test_after_a_day_it_is_tried_again() -> None:
    story = Story()
    story.wait(IDLE, waiting())
    assert story.read(waiting(), minutes=23 * 60).count == 0
    assert story.read(waiting(), minutes=60).count == 1


def test_another_type_is_tried_and_judged_by_itself() -> None:
    story = Story(DemandSettings(types=(FAST, LARGE), max_nodes=5, grow_after=0))
    story.machines = (a_machine(1, hardware_type="fast"),)
    growth = story.wait(IDLE, waiting())
    assert growth.wanted_for == {"large": ("8",)}
    story.machines = (*story.machines, a_machine(2, hardware_type="large"))
    growth = story.wait(IDLE, replace(OTHER, cpus=8), waiting())
    assert verdict(growth).why == "Slurm does not start it on fast, large: says Resources"
    assert (growth.count, growth.claimed) == (0, frozenset())


def test_of_a_job_on_machines_of_two_types_the_preferred_one_is_kept_at_first() -> None:
    story = Story(DemandSettings(types=(FAST, LARGE), max_nodes=5, grow_after=0))
    story.machines = (a_machine(1, hardware_type="fast"), a_machine(2, hardware_type="large"))
    growth = story.wait(IDLE, OTHER, waiting(node_count=2, cpus=8))
    assert [mark.where for mark in story.marks] == ["large"]
    assert growth.wanted_for == {"fast": ("8",)}


def test_where_a_node_of_the_site_should_take_it_a_machine_is_borrowed_instead() -> None:
    story = Story()
    story.machines = ()
    assert story.read(IDLE, waiting()).count == 0
    assert story.wait(IDLE, waiting()).count == 1


def test_where_jobs_leave_no_room_after_all_a_machine_is_borrowed_until_one_of_them_ends() -> None:
    story = Story()
    half = replace(IDLE, state="MIXED", allocated_cpus=2)
    beside, job = Job("3", "RUNNING", cpus=2, nodes=frozenset({"pc1"})), waiting(cpus=2)
    assert story.read(half, beside, job).count == 0
    assert story.wait(half, beside, job).count == 1
    assert story.read(IDLE, job).count == 0


def test_a_machine_that_came_for_a_job_and_is_of_no_use_to_it_is_the_last_one() -> None:
    """It lacks what settings promise: a plan would borrow one after the other."""
    demand = DemandSettings(node_cpus=4, features=("ssd",), max_nodes=5, grow_after=0)
    story, job = Story(demand), waiting(features="ssd")
    story.asked_for = {(UTAH, "node-1"): ForJobs(("8",))}
    assert story.read(IDLE, job).count == 1
    assert story.wait(IDLE, job).count == 0
    assert story.read(job).count == 0


def test_a_machine_that_came_for_a_job_which_waits_for_a_second_one_is_not_judged() -> None:
    story, job = Story(), waiting(node_count=2, cpus=8)
    story.asked_for = {(UTAH, "node-1"): ForJobs(("8",))}
    assert story.wait(IDLE, job).count == 1
    assert story.marks == ()


def test_a_job_that_starts_there_after_all_shows_that_its_like_may() -> None:
    story = Story()
    story.wait(IDLE, waiting(8), waiting(9))
    busy = replace(IDLE, state="ALLOCATED", allocated_cpus=4)
    started = waiting(8, state="RUNNING", reason="None", nodes=frozenset({"pc1"}))
    story.read(busy, started, waiting(9))
    assert story.marks == ()
    assert story.read(busy, started, waiting(9)).count == 1


def test_where_another_job_that_asks_alike_starts_there_the_one_that_waited_is_meant_alone() -> None:
    story = Story()
    story.wait(IDLE, waiting(8), waiting(9), waiting(10))
    busy = replace(IDLE, state="ALLOCATED", allocated_cpus=4)
    started = waiting(9, state="RUNNING", reason="None", nodes=frozenset({"pc1"}))
    story.read(busy, started, waiting(8), waiting(10))
    growth = story.read(busy, started, waiting(8), waiting(10))
    assert [each.counts for each in growth.jobs] == [False, True]
    assert growth.count == 1


def test_tasks_of_an_array_that_are_not_started_on_an_unused_machine_are_one_job() -> None:
    story, tasks = Story(), waiting(id="8_[1-3]", cpus=1, task_count=3)
    growth = story.wait(IDLE, tasks)
    assert verdict(growth, "8_[1-3]").counts is False
    assert [mark.job for mark in story.marks] == ["8"]


def test_a_job_that_slurm_says_fits_no_machine_that_came_for_it_gets_no_other_one() -> None:
    story, job = Story(), waiting(reason="BadConstraints")
    assert story.read(job).count == 1
    growth = story.wait(IDLE, job)
    assert (growth.count, growth.claimed) == (0, frozenset())
    assert [(mark.where, mark.reason) for mark in story.marks] == [("", "BadConstraints")]
    growth = story.read(job)
    assert growth.count == 0
    assert verdict(growth).why == "Slurm does not start it on a borrowed machine: says BadConstraints"


def test_that_it_fits_no_machine_is_told_once() -> None:
    story, job = Story(), waiting(reason="BadConstraints")
    story.wait(IDLE, job)
    (mark,) = story.marks
    story.wait(IDLE, job)
    assert story.marks == (mark,)


def test_a_job_that_fits_no_machine_holds_up_none_behind_it() -> None:
    story, job = Story(), waiting(1, reason="BadConstraints", cpus=3)
    story.wait(IDLE, job)
    assert story.marks
    assert story.wait(IDLE, job, waiting(reason="Priority"), minutes=10).claimed == {"pc1"}


def test_with_settle_0_an_estimate_never_counts_as_wrong() -> None:
    story = Story(DEMAND.model_copy(update={"settle": 0}))
    assert story.wait(IDLE, waiting(), minutes=30).claimed == {"pc1"}
