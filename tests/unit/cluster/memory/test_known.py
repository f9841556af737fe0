"""The newest reading of Slurm is known, however readings and changes of weights overlap."""

import threading
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.cluster.memory.known import Known
from agent.cluster.moment import History
from agent.slurm.model import Node, Snapshot
from tests.unit.cluster.conftest import NOW

NAMES = ("pc1", "pc2", "pc3")


def reading_of(*nodes: Node, at: float = 0) -> Snapshot:
    return Snapshot(NOW + timedelta(seconds=at), {node.name: node for node in nodes}, ())


def weights(known: Known) -> dict[str, int]:
    return {name: node.weight for name, node in known.snapshot.nodes.items()} if known.snapshot else {}


def knows_nothing() -> Known:
    return Known(threading.RLock())


def test_before_the_first_reading_nothing_is_known_and_a_weight_is_noted_without_harm() -> None:
    known = knows_nothing()
    known.note_weights(["pc1"], 7)
    assert (known.snapshot, known.read_at(), known.history) == (None, None, None)
    assert (known.limited, known.read_back) == (frozenset(), frozenset())


def test_when_the_newest_reading_was_taken_is_told() -> None:
    known = knows_nothing()
    assert known.take(known.begin(), reading_of(at=5))
    assert known.read_at() == NOW + timedelta(seconds=5)


def test_a_reading_that_began_earlier_does_not_take_the_place_of_a_newer_one() -> None:
    known = knows_nothing()
    slow, quick = known.begin(), known.begin()
    assert known.take(quick, reading_of(Node("pc1", "IDLE"), at=2))
    assert not known.take(slow, reading_of(Node("pc1", "DOWN"), at=1))
    assert known.snapshot == reading_of(Node("pc1", "IDLE"), at=2)


def test_a_reading_that_began_earlier_counts_until_the_newer_one_comes() -> None:
    known = knows_nothing()
    first, second = known.begin(), known.begin()
    assert known.take(first, reading_of(Node("pc1", "DOWN")))
    assert known.take(second, reading_of(Node("pc1", "IDLE")))
    assert known.snapshot == reading_of(Node("pc1", "IDLE"))


def test_a_weight_that_a_reading_under_way_may_not_show_outlasts_it_and_a_later_one_tells_what_holds() -> (
    None
):
    known, before = knows_nothing(), Node("pc1", "IDLE", weight=1)
    under_way = known.begin()
    known.note_weights(["pc1"], 7)
    known.take(under_way, reading_of(before))
    assert weights(known) == {"pc1": 7}
    known.take(known.begin(), reading_of(before))
    assert weights(known) == {"pc1": 1}, "somebody, or a restart of Slurm, set it back"


def test_a_weight_of_a_node_that_slurm_has_no_more_costs_no_other_and_makes_no_node() -> None:
    known = knows_nothing()
    known.take(known.begin(), reading_of(Node("pc1", "IDLE", weight=1)))
    known.note_weights(["pc1", "pc2"], 7)
    assert weights(known) == {"pc1": 7}


@dataclass
class Reading:
    """One that is under way, and what Slurm answered so far."""

    number: int
    answer: Snapshot | None = None


class Readings(RuleBasedStateMachine):
    """Threads that read Slurm, which may take long before it answers and after it, and one that weighs."""

    def __init__(self) -> None:
        super().__init__()
        self.known = knows_nothing()
        self.slurm = {name: Node(name, "IDLE", weight=1) for name in NAMES}
        self.under_way: list[Reading] = []
        self.newest: Reading | None = None

    @rule()
    def begin(self) -> None:
        self.under_way.append(Reading(self.known.begin()))

    @precondition(lambda self: any(reading.answer is None for reading in self.under_way))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        reading = data.draw(st.sampled_from([r for r in self.under_way if r.answer is None]))
        reading.answer = reading_of(*self.slurm.values())

    @precondition(lambda self: any(reading.answer for reading in self.under_way))
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        reading = data.draw(st.sampled_from([r for r in self.under_way if r.answer]))
        self.under_way.remove(reading)
        is_newer = self.newest is None or reading.number > self.newest.number
        assert self.known.take(reading.number, reading.answer) is is_newer
        if is_newer:
            self.newest = reading

    @precondition(lambda self: self.slurm)
    @rule(data=st.data(), weight=st.integers(1, 5))
    def set_weight(self, data: st.DataObject, weight: int) -> None:
        names = data.draw(st.sets(st.sampled_from(sorted(self.slurm)), min_size=1))
        self.slurm.update({name: replace(self.slurm[name], weight=weight) for name in names})
        self.known.note_weights(names, weight)

    @precondition(lambda self: self.slurm)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.slurm[data.draw(st.sampled_from(sorted(self.slurm)))]

    @invariant()
    def the_nodes_are_those_of_the_newest_reading(self) -> None:
        found = self.newest.answer.nodes.keys() if self.newest and self.newest.answer else set()
        assert weights(self.known).keys() == found

    @invariant()
    def a_weight_that_we_alone_set_is_known_at_every_moment(self) -> None:
        for name, weight in weights(self.known).items():
            assert name not in self.slurm or self.slurm[name].weight == weight


TestReadings = Readings.TestCase


def test_what_a_reading_adds_to_those_before_is_taken_in_unless_a_newer_one_came() -> None:
    known = knows_nothing()
    first, second = known.begin(), known.begin()
    known.take(first, reading_of())
    known.learn(first, History(found=frozenset({"pc1"})))
    assert known.history == History(found=frozenset({"pc1"}))
    known.take(second, reading_of())
    known.learn(first, History(found=frozenset({"pc2"})))
    assert known.history == History(found=frozenset({"pc1"}))
