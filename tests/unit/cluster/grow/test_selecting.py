"""How Slurm chooses nodes is read seldom, and at once where a partition is new."""

from agent.cluster.grow.selecting import EVERY, SOONEST, Selecting
from agent.core.errors import SlurmDownError
from agent.slurm.model import Node, Snapshot
from agent.slurm.scheduling import PartitionRules, Scheduling, Unit
from tests.unit.cluster.conftest import NOW, Slurm


def scheduling(*partitions, unit=Unit.CORE):
    return Scheduling(unit, partitions={name: PartitionRules(name) for name in partitions})


def snapshot(*partitions):
    return Snapshot(NOW, {"pc1": Node("pc1", "IDLE", partitions=partitions)}, ())


class Site:
    def __init__(self, clock, told):
        self.slurm = Slurm(clock=clock)
        self.slurm.scheduled = told
        self.selecting = Selecting(self.slurm, clock)

    def read(self, *partitions):
        return self.selecting.read(snapshot(*partitions))


def test_it_is_read_with_the_first_reading_and_then_seldom(clock):
    first, second = scheduling("main"), scheduling("main", unit=Unit.CPU)
    site = Site(clock, first)
    assert site.read("main") == first
    site.slurm.scheduled = second
    clock.advance(EVERY - 1)
    assert site.read("main") == first
    clock.advance(1)
    assert site.read("main") == second


def test_a_partition_that_is_new_has_it_read_at_once(clock):
    first, second = scheduling("main"), scheduling("main", "new")
    site = Site(clock, first)
    assert site.read("main") == first
    site.slurm.scheduled = second
    clock.advance(SOONEST)
    assert site.read("main", "new") == second


def test_a_partition_that_slurm_never_tells_has_it_not_read_each_time(clock):
    first, second = scheduling("main"), scheduling("main", unit=Unit.CPU)
    site = Site(clock, first)
    assert site.read("main", "secret") == first
    site.slurm.scheduled = second
    clock.advance(SOONEST - 1)
    assert site.read("main", "secret") == first


def test_what_was_read_stays_where_slurm_is_down(clock):
    first = scheduling("main")
    site = Site(clock, first)
    assert site.read("main") == first
    site.slurm.fault = SlurmDownError("no answer")
    clock.advance(EVERY)
    assert site.read("main") == first


def test_what_could_not_be_read_is_tried_again_soon(clock):
    site = Site(clock, None)
    assert site.read("main") is None
    site.slurm.scheduled = scheduling("main")
    assert site.read("main") is None
    clock.advance(SOONEST)
    assert site.read("main") == scheduling("main")
