"""When a CM is asked how its machines are, and what follows when it does not say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

import pytest

from agent.core.config import CycleSettings
from agent.core.desk import Desk
from agent.core.errors import BusyError, CloudlabError, UnreachableError
from agent.core.model import AdvertisedNode, Sliver, SliverStatus
from agent.core.slice.at_work import AtWork
from agent.core.slice.statuses import Statuses

CM, OTHER = "urn:cm", "urn:other"
STATUS = SliverStatus(CM, "started", "ready", "", ())


class FakeClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def steady(self) -> datetime:
        return self.time

    now = steady

    def monotonic(self) -> float:
        return self.time.timestamp()


class FakeServer:
    def __init__(self) -> None:
        self.answer: SliverStatus | Exception | None = STATUS
        self.listing: tuple[AdvertisedNode, ...] | Exception = ()
        self.calls: list[tuple[str, str]] = []

    def sliver_status(self, cm: str) -> SliverStatus | None:
        self.calls.append(("status", cm))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def survey(self, cm: str) -> tuple[AdvertisedNode, ...]:
        self.calls.append(("list", cm))
        if isinstance(self.listing, Exception):
            raise self.listing
        return self.listing


class FakeSlivers:
    def __init__(self) -> None:
        self.sliver: Sliver | None = Sliver(CM, "sliver", None, (), "<rspec/>")
        self.starting = False
        self.settled: list[tuple[str, SliverStatus | None]] = []
        self.listed: list[tuple[str, tuple[AdvertisedNode, ...]]] = []
        self.unreserved = self
        self.at_work: Any = None

    def read(self, _cm: str) -> Sliver | None:
        return self.sliver

    def has_starting(self, _cm: str) -> bool:
        return self.starting

    def settle(self, cm: str, status: SliverStatus | None) -> None:
        self.settled.append((cm, status))

    def note_listed(self, cm: str, listed: tuple[AdvertisedNode, ...]) -> None:
        self.listed.append((cm, listed))


class Bench:
    def __init__(self) -> None:
        self.server, self.slivers, self.clock = FakeServer(), FakeSlivers(), FakeClock()
        self.woken: list[str] = []
        desk = Desk(self.clock, RLock(), lambda *_: None, lambda _: None, lambda *s: self.woken.extend(s))
        self.slivers.at_work = AtWork(desk, grace=30, limit=2400)
        limits = CycleSettings(settled_status="10m", gone_sightings=2)
        self.statuses = Statuses(self.server, self.slivers, self.clock, limits, [CM, OTHER])  # type: ignore[arg-type]

    def asked(self, *, force: bool = False) -> bool:
        """Update, and return whether the status was read."""
        before = len(self.server.calls)
        self.statuses.update(CM, force=force)
        return len(self.server.calls) > before

    def fail(self, error: Exception) -> list[str]:
        """Read a status that is not to be had; return the calls that it took."""
        self.server.answer = error
        self.server.calls.clear()
        with pytest.raises(type(error)) as raised:
            self.statuses.read(CM)
        assert raised.value is error
        return [name for name, _ in self.server.calls]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_status_is_read_at_first_and_again_when_it_is_old(bench: Bench) -> None:
    assert bench.asked()
    assert bench.slivers.settled == [(CM, STATUS)]
    bench.clock.time += timedelta(seconds=599)
    assert not bench.asked()
    bench.clock.time += timedelta(seconds=1)
    assert bench.asked()


def test_a_status_is_read_while_a_machine_starts_or_when_it_has_to_be(bench: Bench) -> None:
    assert bench.asked()
    assert bench.asked(force=True)
    assert not bench.asked()
    bench.slivers.starting = True
    assert bench.asked()


def test_there_is_none_to_read_without_a_sliver(bench: Bench) -> None:
    bench.slivers.sliver = None
    assert not bench.asked(force=True)


def test_a_cm_that_has_none_settles_nothing(bench: Bench) -> None:
    bench.server.answer = None
    assert bench.asked()
    assert bench.slivers.settled == []
    assert not bench.asked(), "it was read"


@pytest.mark.parametrize("kind", [BusyError, UnreachableError])
def test_a_cm_that_is_busy_or_out_of_reach_says_nothing_of_machines(
    bench: Bench, kind: type[CloudlabError]
) -> None:
    for _ in range(5):
        assert bench.fail(kind("no", code=2)) == ["status"]
    assert bench.slivers.settled == []


def test_deadlines_are_kept_without_a_status_once_several_in_a_row_failed(bench: Bench) -> None:
    bench.fail(CloudlabError("Error", code=5))
    assert bench.slivers.settled == []
    bench.fail(CloudlabError("Error", code=5))
    bench.fail(CloudlabError("Error", code=5))
    assert bench.slivers.settled == [(CM, None), (CM, None)]


def test_a_status_in_between_begins_that_row_anew(bench: Bench) -> None:
    bench.fail(CloudlabError("Error", code=5))
    bench.server.answer = STATUS
    bench.statuses.read(CM)
    bench.fail(CloudlabError("Error", code=5))
    assert bench.slivers.settled == [(CM, STATUS)]
    bench.fail(CloudlabError("Error", code=5))
    assert bench.slivers.settled == [(CM, STATUS), (CM, None)]


def test_one_cm_is_not_counted_for_another(bench: Bench) -> None:
    bench.fail(CloudlabError("Error", code=5))
    bench.server.answer = CloudlabError("Error", code=5)
    with pytest.raises(CloudlabError):
        bench.statuses.read(OTHER)
    assert bench.slivers.settled == []


def test_a_fault_without_a_name_has_the_list_of_free_machines_tell_which_is_not_ours(bench: Bench) -> None:
    bench.server.listing = (AdvertisedNode("pc1", CM, ("m510",), True),)
    assert bench.fail(CloudlabError("Error", code=2)) == ["status", "list"]
    assert bench.slivers.listed == [(CM, bench.server.listing)]


def test_where_that_list_is_not_to_be_had_the_fault_is_told_all_the_same(bench: Bench) -> None:
    bench.server.listing = UnreachableError("no route")
    assert bench.fail(CloudlabError("Error", code=2)) == ["status", "list"]
    assert bench.slivers.listed == []


def test_another_fault_asks_for_no_list(bench: Bench) -> None:
    assert bench.fail(CloudlabError("Error", code=1)) == ["status"]
    assert bench.fail(CloudlabError("Error", code=3)) == ["status"]
    assert bench.slivers.listed == []
