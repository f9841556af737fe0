"""Jobs on draining nodes are followed to their end."""

from dataclasses import replace

from agent.cluster.drain.ended import How
from agent.cluster.drain.following import Following
from agent.cluster.drain.jobs import Fate, Outlook
from agent.cluster.reasons import Drain, DrainCause
from agent.core.events import EventKind
from agent.slurm.model import Job, JobEnd, Node, Snapshot
from tests.unit.cluster.drain.conftest import NOW, at, revoked, running

SURPLUS = Drain("pc2", DrainCause.SURPLUS)
ONE = replace(running("7", "pc1"), restarts=0)
TWO = replace(running("8", "pc2"), restarts=0)


class Looks:
    """Looks at jobs on a revoked node and on a surplus one."""

    def __init__(self, *jobs: Job) -> None:
        self.following = Following()
        self.drains = {"pc1": revoked("pc1", 900), "pc2": SURPLUS}
        self.ours = {"pc1", "pc2", "pc3"}
        self.nodes = {name: Node(name, "MIXED") for name in ("pc1", "pc2", "pc3")}
        self.busy: set[str] = set()
        assert self.look(*jobs) == []

    def look(self, *jobs: Job, **ends: JobEnd) -> list[tuple[str, How]]:
        """Look at these jobs, and ask how those ended that are gone; return whose end that tells."""
        emptied = {n for n, drain in self.drains.items() if drain.cause is not DrainCause.TAKEN}
        here = [
            job
            for job in jobs
            if job.holds_nodes and job.state != "COMPLETING" and job.nodes & emptied & self.ours
        ]
        outlooks = [
            Outlook(j, j.nodes & emptied, at(900) if "pc1" in j.nodes else None, Fate.ENDS, None)
            for j in here
        ]
        told = self.following.look(
            Snapshot(NOW, self.nodes, jobs), outlooks, self.drains, self.ours, self.busy.__contains__
        )
        asked = self.following.awaited
        told += self.following.settle(asked, {name.removeprefix("job"): end for name, end in ends.items()})
        return [(ended.followed.job.id, ended.how) for ended in told]


def test_a_job_that_ends_by_itself_is_told_once_with_the_cause_of_its_drain() -> None:
    looks = Looks(ONE, TWO)
    assert looks.following.cause(TWO) == "surplus"
    assert looks.look(TWO, job7=JobEnd("COMPLETED")) == [("7", How.COMPLETED)]
    assert looks.look(job8=JobEnd("FAILED", 1)) == [("8", How.FAILED)]
    assert looks.look() == []
    assert looks.following.is_idle


def test_how_a_job_ended_is_asked_when_it_has_cleaned_up() -> None:
    looks = Looks(ONE)
    looks.following.signalled(ONE, "USR1")
    assert looks.look(replace(ONE, state="COMPLETING"), job7=JobEnd("COMPLETING", 0, 10)) == []
    assert looks.look(job7=JobEnd("FAILED", 0, 10)) == [("7", How.KILLED)]


def test_a_signal_of_an_earlier_run_of_a_job_does_not_count() -> None:
    looks = Looks(ONE)
    looks.following.signalled(ONE, "USR1")
    again = replace(ONE, restarts=1)
    assert looks.look(again) == []
    assert looks.look(job7=JobEnd("FAILED", 0, 10)) == [("7", How.FAILED)]


def test_a_job_that_we_ended_is_told_by_the_act_alone() -> None:
    looks = Looks(ONE, TWO)
    looks.following.ended(ONE)
    looks.following.ended(TWO)
    assert looks.look(replace(TWO, state="PENDING", nodes=frozenset(), restarts=1)) == []
    assert looks.look(job7=JobEnd("COMPLETED")) == []


def test_a_job_that_comes_back_after_we_ended_it_may_end_by_itself() -> None:
    looks = Looks(ONE)
    looks.following.ended(ONE)
    assert looks.look() == []
    assert looks.look(ONE) == []
    assert looks.look(job7=JobEnd("COMPLETED")) == [("7", How.COMPLETED)]


def test_what_somebody_else_requeued_is_told_so_also_where_it_runs_again_already() -> None:
    for back in ({"state": "PENDING", "nodes": frozenset()}, {"nodes": frozenset({"pc3"})}):
        looks = Looks(ONE)
        assert looks.look(replace(ONE, restarts=1, **back)) == [("7", How.REQUEUED)]
        assert looks.look() == []


def test_nothing_is_decided_while_an_act_on_the_job_is_under_way() -> None:
    looks = Looks(ONE)
    waiting = replace(ONE, state="PENDING", nodes=frozenset(), restarts=1)
    looks.busy = {"7"}
    assert looks.look(waiting) == []
    looks.following.tried(ONE, EventKind.REQUEUE, "requeued: x")
    looks.busy = set()
    (ended,) = looks.following.look(Snapshot(NOW, looks.nodes, (waiting,)), [], looks.drains, looks.ours)
    assert ended.followed.tried == (EventKind.REQUEUE, "requeued: x")


def test_a_drain_that_is_lifted_ends_the_following() -> None:
    looks = Looks(ONE)
    looks.drains.clear()
    assert looks.look(ONE) == []
    assert looks.look(job7=JobEnd("COMPLETED")) == []


def test_a_job_that_ended_as_its_drain_was_lifted_is_told() -> None:
    looks = Looks(ONE)
    looks.drains.clear()
    assert looks.look(job7=JobEnd("COMPLETED")) == [("7", How.COMPLETED)]


def test_a_job_whose_machine_went_is_lost_when_slurm_gives_it_up_however_late() -> None:
    for gone in ("ours", "taken", "down", "record"):
        looks = Looks(ONE)
        if gone == "ours":
            looks.ours = {"pc2"}
            looks.drains.pop("pc1")
        elif gone == "taken":
            looks.drains["pc1"] = Drain("pc1", DrainCause.TAKEN)
        elif gone == "down":
            looks.nodes["pc1"] = Node("pc1", "DOWN")
        else:
            looks.nodes.pop("pc1")
        assert looks.look(ONE) == [], gone
        assert not looks.following.is_idle or gone in {"down", "record"}
        waiting = replace(ONE, state="PENDING", nodes=frozenset(), restarts=1)
        assert looks.look(waiting) == [("7", How.LOST)], gone
        assert looks.look(waiting) == [], gone


def test_a_job_that_slurm_ended_or_forgot_with_its_machine_is_lost() -> None:
    for ends in ({"job7": JobEnd("NODE_FAIL")}, {}):
        looks = Looks(ONE)
        looks.ours = set()
        looks.drains.clear()
        assert looks.look(**ends) == [("7", How.LOST)]


def test_a_heterogeneous_job_ends_as_its_worst_component_does() -> None:
    parts = [replace(running("9+0", "pc1"), restarts=0), replace(running("9+1", "pc2"), restarts=0)]
    looks = Looks(*parts[:1])
    ends = {"9+0": JobEnd("COMPLETED"), "9+1": JobEnd("FAILED", 1), "10": JobEnd("PENDING")}
    assert looks.look(**ends) == [("9+0", How.FAILED)]
    looks = Looks(*parts[:1])
    assert looks.look(**{"9+0": JobEnd("PENDING", restarts=1), "9+1": JobEnd("FAILED", 0, 15)}) == [
        ("9+0", How.REQUEUED)
    ]


def test_of_several_nodes_the_one_with_the_earliest_deadline_says_the_cause() -> None:
    looks = Looks(running("7", "pc1", "pc2"))
    assert looks.following.cause(running("7", "pc1", "pc2")) == "revoked"


def test_of_several_nodes_with_one_deadline_the_first_by_name_says_the_cause() -> None:
    looks = Looks()
    looks.drains["pc2"] = Drain("pc2", DrainCause.ADMIN, at(900))
    looks.look(running("7", "pc1", "pc2"))
    assert looks.following.cause(running("7", "pc1", "pc2")) == "revoked"
