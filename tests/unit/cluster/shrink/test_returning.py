"""What begins to go back, and what returns to service, with what Slurm's reservations say."""

from datetime import timedelta

import pytest

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.shrink.returning import named_again, wanted_again
from agent.core.errors import SlurmDownError
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_machine, a_moment

HOUR = timedelta(hours=1)
TRAINING = Reservation("training", frozenset({"pc1"}), NOW - HOUR, NOW + HOUR)
BOTH = frozenset({"pc1", "pc2"})


class Asked(Slurm):
    """Counts how often its reservations are read, or does not tell them."""

    asked = 0
    silent = False

    def reservations(self):
        self.asked += 1
        if self.silent:
            raise SlurmDownError("no answer")
        return super().reservations()


class Site:
    """Two machines of ours, idle since an hour ago, that Slurm was read with and nothing was done about."""

    def __init__(self, make_manager, ledger, *reservations, jobs=()):
        nodes = [Node(n, "IDLE", booted=NOW - HOUR, last_busy=NOW - HOUR) for n in sorted(BOTH)]
        self.slurm = Asked(*nodes, jobs=jobs, reservations=reservations)
        self.manager = make_manager(Cloudlab(a_machine(1), a_machine(2)), self.slurm)
        self.chosen = self.manager.memory.chosen
        self._ledger = ledger
        self.manager._reader.read()

    def preview(self):
        return [verdict.name for verdict in self.manager.plan().verdicts if verdict.goes]

    def act(self):
        self.manager.get_system_state()
        return sorted(self.manager.memory.now().chosen)

    def told(self, kind):
        return [(event.subject, event.message) for event in self._ledger.events() if event.kind == kind]


@pytest.fixture
def make_site(make_manager, ledger):
    return lambda *reservations, **options: Site(make_manager, ledger, *reservations, **options)


def test_what_is_foreseen_is_what_is_done_also_where_a_reservation_keeps_a_node(make_site):
    site = make_site(TRAINING)
    assert site.preview() == ["pc2"] == site.act()
    assert [subject for subject, _ in site.told("surplus")] == ["pc2"]


def test_reservations_are_read_only_while_a_job_waits_or_when_a_node_is_about_to_go(make_site):
    site = make_site(jobs=(Job("1", "RUNNING", nodes=BOTH),))
    assert site.preview() == site.act() == []
    assert site.slurm.asked == 0
    site.slurm.jobs.append(Job("2", "PENDING"))
    site.act()
    assert site.slurm.asked == 1
    assert site.manager.memory.now().reservations == ()


def test_reservations_that_cannot_be_read_hold_up_no_reading(make_site):
    site = make_site(jobs=(Job("1", "RUNNING", nodes=BOTH), Job("2", "PENDING")))
    site.slurm.silent = True
    assert site.act() == []
    assert site.manager.memory.now().reservations is None


def test_nothing_goes_and_nothing_is_foreseen_while_reservations_are_unknown(make_site):
    site = make_site()
    site.slurm.silent = True
    with pytest.raises(SlurmDownError):
        site.preview()
    with pytest.raises(SlurmDownError):
        site.act()
    assert site.chosen.chosen == frozenset()


def test_a_draining_node_that_a_reservation_names_is_foreseen_to_return_and_does(make_site):
    site = make_site(TRAINING)
    site.chosen.choose(a_machine(1))
    site.chosen.choose(a_machine(2))
    assert site.manager.plan().kept == {"pc1": "reservation training names it"}
    assert site.manager.memory.now().chosen == {"pc1", "pc2"}
    assert site.act() == ["pc2"]
    assert site.told("keep") == [("pc1", "reservation training names it")]


def plan(*jobs, returned=(), reservations=(), **fields):
    """Tell what returns to service while both are emptied to be given back."""
    known = {"chosen": BOTH, "reservations": reservations, **fields}
    machines = (a_machine(1), a_machine(2))
    moment = a_moment(machines=machines, jobs=jobs, **known)
    return named_again(moment) | wanted_again(moment, GrowthPlan(0, returned=frozenset(returned)))


def test_what_the_queue_or_a_waiting_job_wants_returns_and_nothing_else():
    assert plan() == {}
    assert plan(returned=["pc2", "pc3"]) == {"pc2": "the queue wants it again"}
    named = Job("1", "PENDING", requested_nodes=frozenset({"pc1", "pc3"}))
    assert plan(named, returned=["pc2"]) == {
        "pc1": "job 1 asks for it by name",
        "pc2": "the queue wants it again",
    }


def test_a_job_that_still_runs_there_keeps_no_node():
    assert plan(Job("1", "RUNNING", nodes=BOTH, requested_nodes=BOTH)) == {}


@pytest.mark.parametrize("gone", [{"emptied": {"pc1"}}, {"blocking": {"pc1": None}}])
def test_what_is_emptied_already_or_goes_for_the_lease_does_not_return(gone):
    kept = plan(returned=BOTH, reservations=(TRAINING,), **gone)
    assert kept == {"pc2": "the queue wants it again"}


def test_before_slurm_was_read_nothing_returns():
    assert plan(returned=BOTH, snapshot=None) == {}


def test_reservations_that_were_not_read_are_not_seen():
    assert plan(returned=["pc2"], reservations=None) == {"pc2": "the queue wants it again"}
