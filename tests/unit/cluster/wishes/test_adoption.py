"""What an earlier run of the agent wrote into Slurm, met by a new one that remembers nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.config import ManagerConfig
from agent.core.errors import AgentError, UnreachableError
from agent.core.model import Sliver, SliverNode
from agent.ledger import Ledger
from agent.slurm.model import Job, Node, Snapshot

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DUE = NOW + timedelta(hours=1)
SOON = NOW + timedelta(minutes=5)
REVOKED = "esagent: revoked by Cloudlab, due 2026-11-22T13:00:00Z"


class Clock:
    def now(self):
        return NOW

    def monotonic(self):
        return NOW.timestamp()


class Cloudlab:
    """A slice with a machine at each of two CMs, of which one may not answer."""

    slice_urn = "urn:publicid:IDN+example.net+slice+demo"
    cms = (UTAH, WISC)
    email = ""

    def __init__(self):
        self.silent = set()
        self.empty = set()

    def find_slice(self):
        return NOW + timedelta(hours=20)

    def find_sliver(self, cm):
        if cm in self.silent:
            raise UnreachableError("no route")
        if cm in self.empty:
            return Sliver(cm, "urn:sliver", NOW + timedelta(hours=20), (), "")
        node_id = {UTAH: "pc101", WISC: "pc201"}[cm]
        machine = SliverNode("node-1", node_id, cm, f"urn:{node_id}", "m510", "10.0.0.1")
        return Sliver(cm, "urn:sliver", NOW + timedelta(hours=20), (machine,), "")


class Slurm:
    """Both nodes are drained with our reason, and run a job."""

    def __init__(self):
        self.nodes = {
            name: Node(name, "ALLOCATED", frozenset({"DRAIN"}), cpus=2, reason=REVOKED)
            for name in ("pc101", "pc201")
        }

    def snapshot(self):
        jobs = tuple(
            Job(f"{n}", "RUNNING", "ada", nodes=frozenset({name}), ends=SOON, requeueable=True)
            for n, name in enumerate(self.nodes)
        )
        return Snapshot(NOW, dict(self.nodes), jobs)

    def reservations(self):
        return ()

    def undrain(self, nodes):
        for name in nodes:
            self.nodes[name] = replace(self.nodes[name], flags=frozenset(), reason="")

    def drain(self, nodes, reason):
        for name in nodes:
            self.nodes[name] = replace(self.nodes[name], flags=frozenset({"DRAIN"}), reason=reason)


@pytest.fixture
def slurm():
    return Slurm()


@pytest.fixture
def cloudlab():
    return Cloudlab()


@pytest.fixture
def manager(slurm, cloudlab):
    ledger = Ledger(":memory:")
    yield SlurmElasticSliceManager(
        cloudlab,
        ManagerConfig(clock=Clock(), events=ledger),
        backend=slurm,
        shell=None,
        settings=ClusterSettings(DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings()),
        wishes=ledger,
    )
    ledger.close()


def read(manager, *steps):
    for step in ("ensure_slice", "ensure_sliver", *steps):
        try:
            getattr(manager, step)()
        except AgentError:
            assert manager.server.silent


def test_a_look_at_the_drains_before_slurm_was_read_lifts_nothing(manager, slurm):
    read(manager)
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {REVOKED}
    manager.get_system_state()
    assert {r.deadline for r in manager.revocations.values()} == {DUE}


def test_a_cm_that_is_silent_at_first_costs_its_machines_no_deadline(manager, slurm, cloudlab):
    cloudlab.silent = {WISC}
    read(manager, "get_system_state")
    manager.drainer.tick()
    cloudlab.silent = set()
    read(manager, "get_system_state")
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {REVOKED}
    assert set(manager.revocations) == {"pc101", "pc201"}


def test_a_drain_that_nobody_wants_any_more_is_lifted_when_all_is_known(manager, slurm):
    read(manager, "get_system_state")
    manager.revocations.clear()
    manager.drainer.tick()
    assert {n.reason for n in slurm.nodes.values()} == {""}


def test_a_machine_that_came_later_is_not_taken_for_drained_by_an_earlier_run(manager, slurm, cloudlab):
    cloudlab.empty = {WISC}
    read(manager, "get_system_state")
    cloudlab.empty = set()  # it comes, and Slurm still has the record of its last stay
    read(manager, "get_system_state")
    assert set(manager.revocations) == {"pc101"}
