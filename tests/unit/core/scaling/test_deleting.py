"""What is given back, and what is told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.core.errors import CloudlabError, LockedDownError
from agent.core.model import SliverNode
from agent.core.scaling.deleting import Giving
from agent.core.slice.at_work import AtWork

CM, OTHER = "urn:cm", "urn:other"
A, B, C = (SliverNode(name, f"pc-{name}", CM, f"s-{name}") for name in "abc")
AGAIN = SliverNode("a", "pc-a", CM, "s-new")
"""Another machine under the name of one that is gone."""


class FakeManager:
    """Three machines, none of which has to go; the inventory too."""

    def __init__(self) -> None:
        self.enable_delete = True
        self.nodes = [A, B, C]
        self.broken: list[SliverNode] = []
        self.surplus: list[str] | None = None

    def held(self, cm: str | None = None) -> list[SliverNode]:
        return [n for n in self.nodes if n.cm == cm]

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        return [n for n in self.broken if n.cm == cm]

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        return self.surplus if cm == CM else ["x"]


class FakeSlivers:
    """What a CM does when it is asked to take machines back."""

    def __init__(self, manager: FakeManager, at_work: AtWork) -> None:
        self.manager = manager
        self.at_work = at_work
        self.has_sliver = True
        self.lost: tuple[SliverNode, ...] = ()
        self.refuses = False
        self.bare = False
        self.fault: CloudlabError | None = None
        self.calls: list[set[str]] = []
        self.gate = self.returns = self

    def holds(self, cm: str) -> bool:
        return self.has_sliver and cm == CM

    def has_lost(self, cm: str) -> bool:
        return cm == CM and bool(self.lost)

    def delete(self, _cm: str, names: Collection[str]) -> tuple[SliverNode, ...]:
        self.calls.append(set(names))
        return () if self.refuses else tuple(n for n in self.manager.nodes if n.client_id in names)

    def delete_bare(self, cm: str) -> bool:
        if self.fault:
            raise self.fault
        return cm == CM and self.bare

    def why_it_stays(self, _cm: str) -> str:
        return ""


class FakeLease:
    def __init__(self) -> None:
        self.blocked: dict[str, str] = {}
        self.life = self
        self.kept = ""

    def why_kept(self, cm: str) -> str:
        assert cm == CM
        return self.kept

    def gave_back(self, cm, nodes):
        return self.blocked.get(cm) in {node.node_id for node in nodes}


class FakeRefused:
    def __init__(self) -> None:
        self.told: list[CloudlabError] = []

    @contextmanager
    def giving_back(self, _cm: str) -> Iterator[None]:
        try:
            yield
        except CloudlabError as error:
            self.told.append(error)
            raise

    def gave_back(self, cm: str) -> None:
        """What hindered that is over."""


class Bench:
    def __init__(self, office: Any, *, decides: bool = False) -> None:
        self.office, self.manager = office, FakeManager()
        self.slivers = FakeSlivers(self.manager, AtWork(office.desk, grace=30, limit=2400))
        self.lease = FakeLease()
        inventory: Any = self.manager
        self.refused = FakeRefused()
        self.giving = Giving(
            office.desk,
            self.manager,
            inventory,
            self.slivers,  # type: ignore[arg-type]
            self.lease,  # type: ignore[arg-type]
            self.refused,  # type: ignore[arg-type]
            decides=decides,
        )

    def delete(self, *, wanted: bool = False, cm: str = CM) -> list[set[str]]:
        """Return the names that this gave back, a set for each call of the CM."""
        self.slivers.calls.clear()
        self.giving.delete(cm, lambda at: wanted and at == cm)
        return list(self.slivers.calls)


@pytest.fixture
def bench(office: Any) -> Bench:
    return Bench(office)


def test_nothing_is_asked_of_a_cm_while_nothing_has_to_go(bench: Bench) -> None:
    assert bench.delete() == []
    assert (bench.office.told, bench.office.woken) == ([], [])


def test_machines_that_failed_go_and_it_is_told(bench: Bench) -> None:
    bench.manager.broken = [A, B]
    assert bench.delete() == [{"a", "b"}]
    assert bench.office.told == [("delete", CM, "gave back pc-a (a), pc-b (b)")]
    assert bench.office.woken == []


def test_surplus_goes_only_where_that_is_enabled(bench: Bench) -> None:
    bench.manager.surplus = ["c"]
    bench.manager.broken = [A]
    assert bench.delete() == [{"a", "c"}]
    bench.manager.enable_delete = False
    assert bench.delete() == [{"a"}]


@pytest.mark.parametrize(
    ("decides", "enabled", "times"), [(True, False, 1), (True, True, 0), (False, False, 0)]
)
def test_a_decision_that_is_not_asked_for_is_told_once(
    office: Any, decides: bool, enabled: bool, times: int
) -> None:
    bench = Bench(office, decides=decides)
    bench.manager.enable_delete = enabled
    bench.delete()
    bench.delete()
    assert office.notes == ["should_delete_nodes is not asked, since enable_delete is False"] * times


def test_a_machine_that_was_dropped_goes_at_the_next_turn_and_once(bench: Bench) -> None:
    bench.giving.drop(B)
    assert bench.office.woken == ["delete_nodes"]
    bench.slivers.refuses = True
    assert bench.delete() == [{"b"}]
    assert bench.delete() == [{"b"}], "it is still there"
    bench.slivers.refuses = False
    assert bench.delete() == [{"b"}]
    assert bench.delete() == []


def test_another_machine_of_that_name_stays(bench: Bench) -> None:
    bench.giving.drop(A)
    bench.manager.nodes = [AGAIN, B]
    assert bench.delete() == []


def test_machines_that_are_not_ours_any_more_are_deleted_even_if_nothing_else_goes(bench: Bench) -> None:
    bench.slivers.lost = (C,)
    assert bench.delete() == [set()]


def test_nothing_is_done_where_there_is_no_sliver(bench: Bench) -> None:
    bench.manager.broken = [A]
    bench.slivers.bare = True
    bench.slivers.has_sliver = False
    assert bench.delete() == []
    assert bench.office.told == []


def test_the_lease_is_renewed_when_what_hindered_it_is_gone(bench: Bench) -> None:
    bench.manager.broken = [A]
    bench.lease.blocked = {CM: "pc-b", OTHER: "pc-a"}
    bench.delete()
    assert bench.office.woken == []
    bench.lease.blocked = {CM: "pc-a"}
    bench.delete()
    assert bench.office.woken == ["renew"]


def test_a_sliver_without_a_machine_goes_unless_one_is_to_come(bench: Bench) -> None:
    assert bench.delete() == []
    assert bench.office.told == []
    bench.slivers.bare = True
    bench.delete(wanted=True)
    assert bench.office.told == []
    bench.delete()
    assert bench.office.told == [("delete", CM, "gave the sliver back, which had no machine left")]
    bench.manager.broken = [A]
    bench.delete()
    assert bench.office.told[1:] == [("delete", CM, "gave back pc-a (a)")]


def test_what_keeps_a_sliver_without_a_machine_is_told_as_of_any_other(bench: Bench) -> None:
    bench.slivers.fault = LockedDownError("Slice is locked down", code=7)
    with pytest.raises(LockedDownError):
        bench.delete()
    assert bench.refused.told == [bench.slivers.fault]
