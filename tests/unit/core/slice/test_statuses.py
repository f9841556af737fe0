"""When a CM is asked how its machines are, and what follows when it does not say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.config import CycleSettings
from agent.core.errors import BusyError, CloudlabError, UnreachableError
from agent.core.model import Sliver, SliverStatus
from agent.core.slice.statuses import Statuses

CM, OTHER = "urn:cm", "urn:other"
STATUS = SliverStatus(CM, "started", "ready", "", ())


class FakeClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def steady(self) -> datetime:
        return self.time


class FakeServer:
    def __init__(self) -> None:
        self.answer: SliverStatus | Exception | None = STATUS
        self.adding: Exception | None = None
        self.calls: list[tuple[str, str]] = []

    def sliver_status(self, cm: str) -> SliverStatus | None:
        self.calls.append(("status", cm))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def add_nodes(self, cm: str, nodes: dict[str, object]) -> None:
        assert nodes == {}, "it must change nothing"
        self.calls.append(("add", cm))
        if self.adding:
            raise self.adding


class FakeSlivers:
    def __init__(self) -> None:
        self.sliver: Sliver | None = Sliver(CM, "sliver", None, (), "<rspec/>")
        self.starting = self.foreign = False
        self.settled: list[tuple[str, SliverStatus | None]] = []
        self.unreserved: list[tuple[str, Exception]] = []

    def read(self, _cm: str) -> Sliver | None:
        return self.sliver

    def has_starting(self, _cm: str) -> bool:
        return self.starting

    def has_foreign(self, _cm: str) -> bool:
        return self.foreign

    def settle(self, cm: str, status: SliverStatus | None) -> None:
        self.settled.append((cm, status))

    def note_unreserved(self, cm: str, error: Exception) -> None:
        self.unreserved.append((cm, error))


class Bench:
    def __init__(self) -> None:
        self.server, self.slivers, self.clock = FakeServer(), FakeSlivers(), FakeClock()
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


def test_a_fault_without_a_name_has_the_cm_name_the_machine_that_is_not_ours(bench: Bench) -> None:
    bench.server.adding = CloudlabError("pc1 is not available", code=2)
    assert bench.fail(CloudlabError("Error", code=2)) == ["status", "add"]
    assert bench.slivers.unreserved == [(CM, bench.server.adding)]
    bench.server.adding = None
    assert bench.fail(CloudlabError("Error", code=2)) == ["status", "add"]
    assert len(bench.slivers.unreserved) == 1


def test_another_fault_asks_for_no_name(bench: Bench) -> None:
    assert bench.fail(CloudlabError("Error", code=1)) == ["status"]
    assert bench.fail(CloudlabError("Error", code=3)) == ["status"]
    assert bench.slivers.unreserved == []
