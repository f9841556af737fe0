"""What Slurm's power saving is told of the nodes that it asked for."""

import pytest

from agent.cluster.desk import Desk
from agent.cluster.power.power import PowerPlan
from agent.cluster.power.power_saver import PowerSaver
from agent.core.errors import SlurmDownError
from agent.slurm.model import Node
from tests.unit.cluster.conftest import Slurm, a_moment, settings_with

ASLEEP = frozenset({"CLOUD", "POWERED_DOWN"})


@pytest.fixture
def act(clock, ledger):
    """Obey a plan about the nodes that Slurm has; return what the events say."""

    def act(slurm, plan):
        saver = PowerSaver(Desk(settings_with(), clock, ledger), slurm)
        saver.act(a_moment(*slurm.nodes.values()), plan)
        return [(event.kind, event.subject, event.message) for event in ledger.events()]

    return act


def test_a_node_that_gets_no_machine_is_set_down_and_that_is_told(act):
    slurm = Slurm(Node("a", "MIXED"))
    told = act(slurm, PowerPlan(fail={"a": "max_nodes is reached"}))
    assert slurm.acts == [("set_down", "a")]
    assert slurm.nodes["a"].reason == "esagent: no machine for it: max_nodes is reached"
    assert told == [("power", "a", "Slurm was told that no machine comes: max_nodes is reached")]


def test_a_node_that_is_down_and_awake_is_powered_down_without_a_word(act):
    slurm = Slurm(Node("a", "DOWN"))
    assert act(slurm, PowerPlan(sleep=("a",))) == []
    assert slurm.acts == [("power_down", "a")]


def test_a_node_may_be_woken_again_by_the_act_that_its_state_needs(act):
    slurm = Slurm(Node("a", "DOWN", ASLEEP), Node("b", "IDLE", ASLEEP | {"DRAIN"}))
    told = act(slurm, PowerPlan(restore=("a", "b")))
    assert slurm.acts == [("resume", "a"), ("undrain", "b")]
    assert told == [("power", name, "Slurm may ask for it again") for name in "ab"]


def test_what_slurm_refuses_of_one_node_is_told_and_keeps_no_other_from_its_turn(act):
    slurm = Slurm(*(Node(name, "DOWN", ASLEEP) for name in "abcdef"))
    slurm.refuses = {"a", "c", "e"}
    told = act(slurm, PowerPlan(fail={"a": "paused", "b": "paused"}, sleep=("c", "d"), restore=("e", "f")))
    assert slurm.acts == [("set_down", "b"), ("power_down", "d"), ("resume", "f")]
    refused = [subject for _, subject, words in told if words.startswith("Slurm refused: ")]
    assert refused == ["a", "c", "e"]
    assert [subject for _, subject, _ in told] == ["a", "b", "c", "e", "f"]


def test_while_slurm_is_down_the_rest_is_left_for_the_next_look(act):
    slurm = Slurm(Node("a", "DOWN"))
    slurm.fault = SlurmDownError("no answer")
    with pytest.raises(SlurmDownError):
        act(slurm, PowerPlan(fail={"a": "paused"}, sleep=("a",)))
    assert slurm.acts == []
