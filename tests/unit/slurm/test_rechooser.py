"""Another way in to Slurm is taken when ``auto`` would choose another one by now."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import SlurmDownError
from agent.slurm.choice import Choice
from agent.slurm.rechooser import LOOK_EVERY, Rechooser

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class World:
    """A clock, Slurm's commands, and the way in that is the best now."""

    def __init__(self):
        self.seconds = 0.0
        self.read = NOW
        self.best = "pyslurm"
        self.serving = True
        self.closed = 0

    def now(self):
        return NOW + timedelta(seconds=self.seconds)

    steady = now

    def monotonic(self):
        return self.seconds

    def serves(self):
        if not self.serving:
            raise SlurmDownError("no answer")

    def choose(self):
        return Choice(self.best, None, passed_over=("not pyslurm: it is gone",), close=self.close)

    def close(self):
        self.closed += 1


@pytest.fixture
def world():
    return World()


@pytest.fixture
def rechooser(world):
    chosen = Choice("pyslurm", None, may_change=True)
    return Rechooser(chosen, world.choose, world.serves, lambda: world.read, 90, world)


def test_while_slurm_is_read_nothing_is_chosen_until_a_look_is_due(world, rechooser):
    world.best = "cli"
    rechooser.look()
    assert world.closed == 0
    world.seconds = LOOK_EVERY
    world.read = world.now()
    rechooser.look()
    assert rechooser.found == ""
    rechooser.look()
    assert rechooser.found == "cli in place of pyslurm (not pyslurm: it is gone)"
    assert world.closed == 2


def test_a_way_in_that_cannot_be_read_is_looked_at_at_once(world, rechooser):
    world.best = "cli"
    world.seconds = 91
    rechooser.look()
    rechooser.look()
    assert rechooser.found


def test_a_slurm_that_answers_nobody_changes_nothing(world, rechooser):
    world.best = "cli"
    world.seconds = 91
    rechooser.look()
    world.serving = False
    rechooser.look()
    world.serving = True
    rechooser.look()
    assert rechooser.found == ""
    assert world.closed == 2


def test_a_way_in_that_is_still_the_best_stays(world, rechooser):
    world.seconds = 91
    for world.best in ("cli", "pyslurm", "cli", "rest", "pyslurm"):
        rechooser.look()
        assert rechooser.found == ""
