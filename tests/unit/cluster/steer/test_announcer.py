"""When the tables of the plugin are written, and what a fault costs."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

from agent.cluster.reach import Reach
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.steer.announcer import Announcer, Told, is_due
from agent.core.ports import HostResult, Upload
from agent.slurm.model import Node
from tests.unit.cluster.conftest import (
    NOW,
    UTAH,
    Clock,
    Events,
    Shell,
    a_desk,
    a_machine,
    a_moment,
    settings_with,
)

END = NOW + timedelta(hours=5)


class Faulty(Shell):
    """One on whose machines everything fails with this."""

    fault = ""

    def run(self, hosts, *, timeout):
        super().run(hosts, timeout=timeout)
        return {host: HostResult(host, "", self.fault) for host in hosts}


class World:
    """An announcer with its surroundings, and one machine."""

    def __init__(self, settings: PluginSettings) -> None:
        self.machines = [a_machine()]
        self.clock = Clock()
        self.shell = Faulty()
        self.events = Events()
        self.settings = settings_with(plugin=settings)
        desk = a_desk(self.settings, self.clock, self.events)
        self.announcer = Announcer(desk, Reach(desk, self.shell, lambda _: True))

    def look(self, node: Node | None = None, end: datetime = END) -> list[str]:
        """Look once; return the texts that the machine was sent."""
        self.shell.ran.clear()
        self.announcer.look(
            a_moment(
                node or Node("pc1", "IDLE"),
                machines=self.machines,
                settings=self.settings,
                now=self.clock.now(),
                facts={"leases": {UTAH: end}, "lease_seconds": 3600.0},
            )
        )
        for thread in threading.enumerate():
            if thread.name == "lease-pc1":
                thread.join(10)
        sent = (each for _, commands in self.shell.ran for each in commands)
        return [each.content.decode() for each in sent if isinstance(each, Upload)]


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
    assert World(LEASE).look(Node("pc1", "DOWN")) == []


def test_users_may_read_the_file() -> None:
    place, upload = World(LEASE).announcer.files(END)
    assert place == "umask 022; mkdir -p /run/esagent"
    assert isinstance(upload, Upload)
    assert (upload.path, upload.mode) == ("/run/esagent/lease", 0o644)


def test_a_machine_that_does_not_take_the_file_is_asked_again_later() -> None:
    world = World(LEASE)
    world.shell.fault = "no route"
    assert world.look()
    assert world.events.words == ["its lease file was not written: no route"]
    assert world.look() == []
    world.clock.advance(120)
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


def test_while_nothing_is_held_the_table_tells_until_when_a_machine_would_be(tmp_path: Path) -> None:
    table = tmp_path / "borrowed"
    world = World(PluginSettings(table=table))
    world.machines.clear()
    world.look()
    assert f"lease_end {(NOW + timedelta(hours=1)).timestamp():.0f}\n" in table.read_text()


def test_a_machine_that_was_away_is_told_anew() -> None:
    world = World(LEASE)
    assert world.look()
    machines, world.machines = world.machines, []
    assert world.look() == []
    world.machines = machines
    assert world.look()


def test_a_table_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world = World(PluginSettings(table=tmp_path / "file" / "borrowed"))
    world.look()
    world.look()
    assert len(world.events) == 1
    assert "[plugin] table" in world.events.words[0]


def test_a_machine_that_hangs_keeps_no_other_from_being_told() -> None:
    settings = PluginSettings(lease="/run/esagent/lease", orphan_after=900)
    world, gate, reached = World(settings), threading.Event(), threading.Event()
    machines = [a_machine(1), a_machine(2)]
    real, told = world.shell.run, threading.Event()

    def run(hosts, *, timeout):
        (host,) = hosts
        if host.name == "pc1":
            reached.set()
            gate.wait(60)
        else:
            told.set()
        return real(hosts, timeout=timeout)

    world.shell.run = run

    def look():
        moment = a_moment(
            *(Node(machine.node_id, "IDLE") for machine in machines),
            machines=machines,
            settings=world.settings,
            now=world.clock.now(),
            facts={"leases": {UTAH: END}, "lease_seconds": 3600.0},
        )
        world.announcer.look(moment)
        for thread in threading.enumerate():
            if thread.name == "lease-pc2":
                thread.join(10)

    look()
    assert reached.wait(20)
    assert told.wait(20)
    told.clear()
    reached.clear()
    world.clock.advance(900)
    look()
    assert told.wait(20), "another sign of life"
    assert not reached.is_set(), "the one that hangs is not asked twice at the same time"
    gate.set()
