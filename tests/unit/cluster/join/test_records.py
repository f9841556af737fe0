"""The Slurm records of machines that are gone."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.cluster.join.records import Records
from agent.cluster.reasons import KEPT, TAKEN
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import SlurmRefusedError
from agent.slurm.model import Job, Node, Reservation, Snapshot

CLOUD = JoinSettings(mode="cloud", predeclared="pc[1-6]")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeSlurm:
    """Nodes and jobs that change as Slurm would change them."""

    def __init__(self, *nodes: str) -> None:
        self.nodes = {name: Node(name, "IDLE") for name in nodes}
        self.jobs: tuple[Job, ...] = ()
        self.reserved: tuple[Reservation, ...] = ()
        self.refuses: set[str] = set()
        self.downs: list[list[str]] = []

    def snapshot(self) -> Snapshot:
        return Snapshot(NOW, dict(self.nodes), self.jobs)

    def reservations(self) -> tuple[Reservation, ...]:
        return self.reserved

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        self.downs.append(sorted(nodes))
        for name in self.nodes.keys() & set(nodes):
            self.nodes[name] = replace(self.nodes[name], state="DOWN", reason=reason)

    def tell(self, *words: str) -> None:
        assert all(words)

    def delete_nodes(self, nodes: list[str]) -> None:
        if self.refuses & set(nodes):
            raise SlurmRefusedError("busy")
        for name in nodes:
            del self.nodes[name]


def records(slurm: FakeSlurm, join: JoinSettings | None = None) -> Records:
    made = Records(slurm, lambda *_: None, lambda _: None, join=lambda: join or JoinSettings())  # type: ignore[arg-type]
    for name in slurm.nodes:
        made.lose(name, name)
    return made


def test_the_record_of_a_machine_that_is_gone_is_dropped() -> None:
    slurm = FakeSlurm("pc1", "pc2")
    gone = records(slurm)
    assert gone.left() == 2
    gone.step(ours=())
    assert slurm.nodes == {}
    assert gone.left() == 0


def test_a_machine_that_came_back_keeps_its_record() -> None:
    slurm = FakeSlurm("pc1")
    records(slurm).step(ours=("pc1",))
    assert slurm.nodes["pc1"].state == "IDLE"


def test_jobs_that_still_run_there_are_told_at_once() -> None:
    slurm = FakeSlurm("pc1")
    slurm.jobs = (Job("1", "RUNNING", nodes=frozenset({"pc1"})),)
    gone = records(slurm)
    gone.step(ours=())
    assert slurm.nodes["pc1"].reason == TAKEN
    slurm.jobs = ()
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_stays_down_while_a_pending_job_names_it() -> None:
    slurm = FakeSlurm("pc1")
    slurm.jobs = (Job("1", "PENDING", requested_nodes=frozenset({"pc1"})),)
    gone = records(slurm)
    gone.step(ours=())
    assert (slurm.nodes["pc1"].state, slurm.nodes["pc1"].reason) == ("DOWN", KEPT)
    slurm.jobs = ()
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_stays_down_while_a_reservation_names_it_also_one_that_fences_it() -> None:
    slurm = FakeSlurm("pc1")
    slurm.reserved = (
        Reservation("r", frozenset({"pc1"}), NOW, NOW + timedelta(hours=1), frozenset({"MAINT"})),
    )
    records(slurm).step(ours=())
    assert slurm.nodes["pc1"].reason == KEPT


def test_a_refusal_costs_the_other_nodes_nothing_and_is_tried_again() -> None:
    slurm = FakeSlurm("pc1", "pc2")
    slurm.refuses = {"pc1"}
    gone = records(slurm)
    gone.step(ours=())
    assert set(slurm.nodes) == {"pc1"}
    slurm.refuses = set()
    gone.step(ours=())
    assert slurm.nodes == {}


def test_what_an_earlier_run_left_down_is_dropped_and_nothing_else() -> None:
    slurm = FakeSlurm("pc1", "pc2", "pc3", "n1")
    slurm.set_down(["pc1", "pc2"], KEPT)
    slurm.set_down(["pc3"], "broken fan")
    gone = Records(slurm, slurm.tell, slurm.tell, join=JoinSettings)  # type: ignore[arg-type]
    gone.adopt(slurm.snapshot(), ours=("pc2",))
    gone.step(ours=("pc2",))
    assert set(slurm.nodes) == {"pc2", "pc3", "n1"}


def test_a_predeclared_node_stays_down_for_the_next_machine() -> None:
    slurm = FakeSlurm("pc1")
    gone = records(slurm, JoinSettings(mode="cloud"))
    gone.step(ours=())
    assert slurm.nodes["pc1"].state == "DOWN"


def test_predeclared_nodes_without_a_machine_are_set_down_once_and_others_are_left_alone() -> None:
    slurm = FakeSlurm("pc1", "pc2", "pc3", "pc4", "n1")
    slurm.set_down(["pc3"], "broken fan")
    slurm.nodes["pc4"] = replace(slurm.nodes["pc4"], flags=frozenset({"DRAIN"}), reason="mine")
    slurm.jobs = (Job("1", "RUNNING", nodes=frozenset({"pc2"})),)
    kept = Records(slurm, slurm.tell, slurm.tell, join=lambda: CLOUD)  # type: ignore[arg-type]
    for _ in range(3):
        kept.adopt(slurm.snapshot(), ours=("pc6",))
    assert slurm.downs == [["pc3"], ["pc1", "pc5"]], "pc5 is FUTURE: Slurm does not list it"
    assert (slurm.nodes["pc3"].reason, slurm.nodes["pc4"].reason) == ("broken fan", "mine")
    slurm.jobs = ()
    kept.adopt(slurm.snapshot(), ours=("pc6",))
    assert slurm.downs[2:] == [["pc2"]]
