"""When the tables of the plugin are written, and what a fault costs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.settings.weights import WeightSettings
from agent.cluster.steer.announcer import Announcer, Told, is_due
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult, Series, Upload
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
END = NOW + timedelta(hours=5)
MACHINE = SliverNode("node-1", "pc100", "urn:cm", "urn:1", "d430", "10.0.0.1", "pc100.site.net", "me")


class World:
    """Clock, shell and event sink of an announcer."""

    def __init__(self, settings: PluginSettings) -> None:
        self.time = NOW
        self.ran: list[str | Upload] = []
        self.fault = ""
        self.events: list[str] = []
        self.settings = ClusterSettings(
            DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings(), plugin=settings
        )
        self.announcer = Announcer(
            self.run,
            settings=lambda: self.settings,
            clock=self,
            tell=lambda *words: self.events.append(words[2]),
        )

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def run(self, machine: SliverNode, series: Series, timeout: float) -> HostResult:
        self.ran += series
        return HostResult(Host(machine.node_id, "", ""), "", self.fault)

    def look(self, node: Node | None = None, end: datetime = END) -> list[str]:
        """Look once; return the texts that the machine was sent."""
        self.ran.clear()
        nodes = {"pc100": node or Node("pc100", "IDLE")}
        picture = Picture(Snapshot(self.time, nodes, ()), {"pc100": MACHINE})
        self.announcer.look(picture, {"urn:cm": end}, 3600)
        for thread in threading.enumerate():
            if thread.name == "leases":
                thread.join(10)
        return [each.content.decode() for each in self.ran if isinstance(each, Upload)]


LEASE = PluginSettings(lease="/run/esagent/lease", notice=300)


def test_nothing_is_written_where_nothing_is_asked_for() -> None:
    world = World(PluginSettings())
    assert world.look() == []
    assert world.announcer.files(END) == ()


def test_a_machine_at_work_is_told_once_and_again_when_its_lease_was_renewed() -> None:
    world = World(LEASE)
    told = {"version 1", f"written {NOW.timestamp():.0f}", f"lease_end {END.timestamp():.0f}", "notice 300"}
    assert [set(text.splitlines()) for text in world.look()] == [told]
    assert world.look() == []
    assert "lease_end" in world.look(end=END + timedelta(hours=1))[0]


def test_a_machine_that_has_not_joined_is_left_to_its_join() -> None:
    assert World(LEASE).look(Node("pc100", "DOWN")) == []


def test_users_may_read_the_file() -> None:
    place, upload = World(LEASE).announcer.files(END)
    assert place == "umask 022; mkdir -p /run/esagent"
    assert isinstance(upload, Upload)
    assert (upload.path, upload.mode) == ("/run/esagent/lease", 0o644)


def test_a_machine_that_does_not_take_the_file_is_asked_again_later() -> None:
    world = World(LEASE)
    world.fault = "no route"
    assert world.look()
    assert world.events == ["its lease file was not written: no route"]
    assert world.look() == []
    world.time += timedelta(minutes=2)
    assert world.look()


def test_signs_of_life_come_three_times_as_often_as_they_are_missed() -> None:
    settings = PluginSettings(lease="/run/esagent/lease", orphan_after=300)
    told = Told(END, NOW, done=True)
    assert not is_due(told, END, settings, NOW + timedelta(seconds=99))
    assert is_due(told, END, settings, NOW + timedelta(seconds=100))


def test_the_table_tells_the_earliest_end_of_what_is_held(tmp_path: Path) -> None:
    table = tmp_path / "borrowed"
    World(PluginSettings(table=table)).look()
    assert f"lease_end {END.timestamp():.0f}\n" in table.read_text()


def test_a_table_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world = World(PluginSettings(table=tmp_path / "file" / "borrowed"))
    world.look()
    world.look()
    assert len(world.events) == 1
    assert "[plugin] table" in world.events[0]
