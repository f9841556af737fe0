"""Weights are set in Slurm, also where it refuses some of the nodes, and taken note of."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.memory.known import Known
from agent.cluster.steer.weigher import Weigher, push_weights
from agent.cluster.steer.weights import SetWeight, plan_weights
from agent.core.errors import SlurmRefusedError
from agent.core.said import ResourceValue
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, Events, Slurm, a_desk, a_machine, a_moment


def nodes_of(names):
    return [Node(name, "IDLE", weight=1) for name in names]


def weights(slurm):
    return {name: node.weight for name, node in slurm.nodes.items()}


def test_one_level_is_one_request() -> None:
    slurm = Slurm(*nodes_of(("pc1", "pc2")))
    done, errors = push_weights(slurm, SetWeight(("pc1", "pc2"), 7, "why"))
    assert (done, errors, slurm.requests) == (("pc1", "pc2"), [], 1)


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)))
def test_a_refused_node_costs_no_other(nodes: set[int], refused: set[int]) -> None:
    names = tuple(f"pc{n}" for n in sorted(nodes))
    slurm = Slurm(*nodes_of(names))
    slurm.refuses = {f"pc{n}" for n in refused}
    done, errors = push_weights(slurm, SetWeight(names, 7, "why"))
    assert set(done) == {name for name, weight in weights(slurm).items() if weight == 7}
    assert set(done) == set(names) - slurm.refuses
    assert len(errors) == len(nodes & refused)


class World:
    """A weigher, and what the agent knows of a Slurm that it has read once."""

    def __init__(self, *nodes: Node) -> None:
        self.slurm = Slurm(*nodes)
        self.events = Events()
        self.known = Known(threading.RLock())
        self.read()
        self.weigher = Weigher(a_desk(events=self.events), self.known, self.slurm)

    def read(self) -> None:
        self.known.take(self.known.begin(), self.slurm.snapshot())

    def plan(self, **values: float) -> tuple[SetWeight, ...]:
        received = {node_id: ResourceValue(node_id, value, NOW) for node_id, value in values.items()}
        machines = [a_machine(n) for n in (1, 2)]
        return plan_weights(
            a_moment(machines=machines, snapshot=self.known.snapshot, facts={"values": received})
        )


def test_what_slurm_took_is_not_set_or_told_again_before_the_next_reading() -> None:
    world = World(*nodes_of(("pc1", "pc2", "head")))
    world.weigher.push(world.plan(pc1=0.9, pc2=0.1))
    assert world.plan(pc1=0.9, pc2=0.1) == ()
    assert [event.subject for event in world.events] == ["pc2", "pc1"]
    assert world.known.snapshot.nodes["head"].weight == 1
    world.slurm.set_weight(["pc1"], 1)
    world.read()
    assert [change.nodes for change in world.plan(pc1=0.9, pc2=0.1)] == [("pc1",)]


def test_the_first_refusal_is_raised_when_all_that_slurm_takes_is_set() -> None:
    world = World(*nodes_of(("pc1", "pc2", "pc3", "pc4")))
    world.slurm.refuses = {"pc1", "pc4"}
    changes = [SetWeight(("pc1", "pc2"), 7, "low"), SetWeight(("pc3", "pc4"), 9, "high")]
    with pytest.raises(SlurmRefusedError, match="pc1"):
        world.weigher.push(changes)
    assert weights(world.slurm) == {"pc1": 1, "pc2": 7, "pc3": 9, "pc4": 1}
    assert {name: node.weight for name, node in world.known.snapshot.nodes.items()} == weights(world.slurm)
    assert [(event.kind, event.subject, event.message) for event in world.events] == [
        ("weight", "pc2", "weight 7: low"),
        ("weight", "pc3", "weight 9: high"),
    ]
