"""What follows when a new machine is ready, of use, or failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.core.config import CycleSettings
from agent.core.model import Sliver, SliverNode
from agent.core.scaling.placement import Placement
from agent.core.scaling.trial import Trial
from agent.core.slice.machines import Machine, MachineBook

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
NODE = SliverNode("node-1", "pc1", CM, "s1", "m510")


class FakeBrake:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def failed(self, subject: str, reason: str, cm: str) -> None:
        self.told.append(("failed", subject, reason, cm))

    def worked(self, subject: str) -> None:
        self.told.append(("worked", subject))


class FakeSlivers:
    def __init__(self) -> None:
        self.book = MachineBook()
        sliver = Sliver(CM, "sliver", None, (NODE,), "<rspec/>")
        self.book.observe(
            CM, sliver, now=NOW, ours=lambda _: True, asked={}, announced=lambda _: False, sightings=2
        )


class Bench:
    def __init__(self, office: Any) -> None:
        self.brake, self.placement = FakeBrake(), Placement(CycleSettings(), None)
        self.booted: list[SliverNode] = []
        slivers: Any = FakeSlivers()
        brake: Any = self.brake
        self.trial = Trial(office.desk, slivers, self.placement, brake, self.booted.append)


@pytest.fixture
def bench(office: Any) -> Bench:
    return Bench(office)


def machine(fate: str, *, proven: bool = False, hardware_type: str = "m510") -> Machine:
    node = SliverNode("node-1", "pc1", CM, "s1", hardware_type)
    return Machine(node, NOW, fate=fate, reason="its disk died", proven=proven)


def test_a_ready_machine_stays_and_its_type_may_be_asked_for_again(bench: Bench) -> None:
    bench.placement.pause(CM, "m510", NOW, "why")
    bench.placement.pause(CM, "other", NOW, "why")
    assert bench.trial.settled(machine("ready")) is False
    assert bench.booted == [NODE]
    assert bench.placement.avoided(CM, NOW) == {"other"}
    assert bench.brake.told == []


def test_a_failed_machine_goes_back_and_its_type_is_left_alone(bench: Bench) -> None:
    assert bench.trial.settled(machine("failed")) is True
    assert bench.booted == []
    assert bench.brake.told == [("failed", "pc1", "its disk died", CM)]
    pause = bench.placement.pause(CM, "m510", NOW + timedelta(seconds=1), "a later one")
    assert (pause.reason, pause.until - NOW) == ("its disk died", timedelta(minutes=10))


def test_a_machine_that_was_of_use_and_fails_later_brakes_nothing(bench: Bench) -> None:
    assert bench.trial.settled(machine("failed", proven=True)) is True
    assert bench.brake.told == []
    assert bench.placement.avoided(CM, NOW) == {"m510"}


def test_where_the_type_is_not_known_none_is_left_alone(bench: Bench) -> None:
    assert bench.trial.settled(machine("failed", hardware_type="")) is True
    assert bench.placement.paused(CM, NOW) is None


def test_growth_goes_on_once_a_machine_is_of_use(bench: Bench) -> None:
    bench.trial.prove(NODE)
    assert bench.brake.told == [("worked", "pc1")]
    bench.trial.prove(NODE)
    assert bench.brake.told == [("worked", "pc1")], "it proves itself once"
