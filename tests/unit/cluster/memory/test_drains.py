"""What was said of single machines outlasts a restart, until a machine is gone."""

from datetime import UTC, datetime

import pytest

from agent.cluster.memory.drains import Drains, left_by_an_earlier_run
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import LedgerError
from agent.core.model import AdminDrain, SliverNode
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WISH = AdminDrain("pc1", "disk", "ada", NOW)


class Store:
    """A ledger that may be full."""

    def __init__(self) -> None:
        self.stored: dict[str, AdminDrain] = {}
        self.full = False

    def drains(self) -> tuple[AdminDrain, ...]:
        return tuple(self.stored.values())

    def put_drain(self, drain: AdminDrain) -> None:
        if self.full:
            raise LedgerError("full")
        self.stored[drain.node_id] = drain

    def remove_drain(self, node_id: str) -> None:
        self.stored.pop(node_id, None)


def remembering(store: Store, limited: frozenset[str] = frozenset()) -> Drains:
    return Drains(store, store.drains(), lambda: limited)


def test_a_wish_is_known_again_after_a_restart_until_it_is_struck() -> None:
    store = Store()
    remembering(store).put(WISH, take_over=True)
    again = remembering(store)
    assert again.get("pc1") == WISH
    assert again.said.admin == {"pc1": WISH}
    again.remove("pc1")
    assert (again.get("pc1"), remembering(store).get("pc1")) == (None, None)


def test_a_wish_that_cannot_be_written_down_is_not_taken() -> None:
    store = Store()
    store.full = True
    drains = remembering(store)
    with pytest.raises(LedgerError):
        drains.put(WISH, take_over=True)
    assert (drains.said.admin, drains.said.take_over) == ({}, frozenset())


def test_whose_drain_is_taken_over_is_forgotten_with_the_wish() -> None:
    drains = remembering(Store())
    drains.put(WISH)
    assert drains.said.take_over == frozenset()
    drains.put(WISH, take_over=True)
    assert drains.said.take_over == {"pc1"}
    drains.remove("pc1")
    assert drains.said.take_over == frozenset()


def test_a_machine_that_is_gone_leaves_nothing_behind() -> None:
    drains = remembering(Store())
    drains.put(WISH)
    drains.note_taken([{"node_id": "pc1", "client_id": "node-1"}, {"node_id": "pc2", "client_id": ""}])
    assert drains.said.taken_as == {"pc1": "node-1", "pc2": ""}
    drains.forget("pc1")
    assert (drains.said.admin, drains.said.taken_as) == ({}, {"pc2": ""})


def test_slurm_is_asked_for_limits_only_where_nodes_are_fenced() -> None:
    drains = remembering(Store(), frozenset({"main"}))
    drains.observe(DrainSettings())
    assert drains.limited == frozenset()
    drains.observe(DrainSettings(fence=True))
    assert drains.limited == {"main"}


def test_the_drains_of_an_earlier_run_are_read_back_from_draining_nodes_of_ours_alone() -> None:
    reason = Drain("pc1", DrainCause.SURPLUS).reason
    nodes = (
        Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=reason),
        Node("pc2", "IDLE", reason=reason),
        Node("pc3", "IDLE", frozenset({"DRAIN"}), reason="disk is dying"),
        Node("n1", "IDLE", frozenset({"DRAIN"}), reason=reason),
    )
    names = ("pc1", "pc2", "pc3", "pc4")
    machines = {name: SliverNode(name, name, "urn:cm", f"urn:{name}", "", "", "", "") for name in names}
    found = left_by_an_earlier_run(machines, Snapshot(NOW, {n.name: n for n in nodes}, ()))
    assert [*found] == [(machines["pc1"], Drain("pc1", DrainCause.SURPLUS))]
