"""The steps of a join, against a Slurm in memory and a shell that does nothing."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cluster.join.joiner import Joiner, JoinOutcome
from agent.cluster.join.plan import plan_joins
from agent.cluster.memory.joins import Joins
from agent.cluster.moment import Moment
from agent.cluster.reach import Reach
from agent.cluster.reasons import JOINING
from agent.cluster.settings.join import FileCopy, JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.steer.announcer import Announcer
from agent.core.errors import SlurmRefusedError
from agent.core.events import Joined, JoinLog
from agent.core.model import LanPort, SliverNode
from agent.core.ports import HostResult, Upload
from agent.slurm.model import Node
from testbed.waiting import wait_for
from tests.unit.cluster.conftest import (
    Clock,
    Events,
    Shell,
    Slurm,
    a_desk,
    a_machine,
    a_moment,
    settings_with,
)

MACHINE = replace(a_machine(100), hostname="pc100.site.net")
SETTINGS = JoinSettings(
    commands=("start it",), probe=("probe it",), timeout=300, retry_interval=30, attempts=2
)


class Telling(Shell):
    """One on whose machines commands print, and fail where a test says so."""

    def __init__(self):
        super().__init__()
        self.faults = {}

    @property
    def commands(self):
        return [command for _, commands in self.ran for command in commands]

    def run(self, hosts, *, timeout):
        super().run(hosts, timeout=timeout)
        return {host: self._result(host, commands) for host, commands in hosts.items()}

    def _result(self, host, commands):
        fault = next((self.faults[c] for c in commands if isinstance(c, str) and c in self.faults), "")
        return HostResult(host, f"said by {commands[-1]}\n", fault)


class Predeclared(Slurm):
    """A Slurm without power saving, that does not list each node that it knows."""

    def set_address(self, node, address, hostname=""):
        self.acts.append(("set_address", node, address, hostname))

    def power_up(self, nodes):
        super().power_up(nodes)
        raise SlurmRefusedError("Invalid node state specified")

    def set_down(self, nodes, reason):
        self.acts.append(("set_down", *nodes, reason))
        self.nodes.update({name: Node(name, "DOWN", reason=reason) for name in nodes})


class World:
    """A joiner with its surroundings, and one machine that has booted."""

    def __init__(
        self, join: JoinSettings = SETTINGS, *nodes: Node, machine: SliverNode = MACHINE, **sections
    ) -> None:
        self.machine = machine
        self.clock = Clock()
        self.slurm = Predeclared(*nodes, clock=self.clock)
        self.settings = settings_with(join=join, **sections)
        self.shell = Telling()
        self.events = Events()
        self.over = threading.Event()
        desk = a_desk(self.settings, self.clock, self.events, wake=lambda *_: self.over.set())
        self.joins = Joins(desk.lock)
        reach = Reach(desk, self.shell, lambda _: True)
        self.joiner = Joiner(desk, self.joins, reach, self.slurm, Announcer(desk, reach))

    def moment(self) -> Moment:
        """Return what is known now."""
        return a_moment(
            machines=[self.machine],
            settings=self.settings,
            now=self.clock.now(),
            snapshot=self.slurm.snapshot(),
            joins=self.joins.records,
            proven=self.joins.proven,
            facts={"ready": frozenset({self.machine.key})},
        )

    def step(self, *, waits: bool = True) -> JoinOutcome:
        """Step once; let what it started come to its end."""
        self.over.clear()
        moment = self.moment()
        outcome = self.joiner.step(moment, plan_joins(moment))
        if waits:
            assert self.over.wait(10)
        return outcome


def at_work(world: World) -> None:
    world.slurm.nodes["pc100"] = Node("pc100", "IDLE")


def test_a_machine_is_joined_probed_and_told_step_by_step() -> None:
    world = World()
    assert world.step().joined == ()
    at_work(world)
    world.clock.advance(9)
    assert world.step().joined == ()
    world.clock.advance(3)
    assert world.step(waits=False).joined == (MACHINE,)
    assert world.shell.commands == ["start it", "probe it"]
    assert world.events.kinds == ["joining", "join-step", "join-step", "join"]
    assert world.events[-1].data == Joined(12.0)


def test_a_machine_whose_probe_fails_is_given_up_with_its_log() -> None:
    world = World()
    world.shell.faults = {"probe it": "status 1"}
    world.step()
    at_work(world)
    world.step()
    world.clock.advance(30)
    world.step()
    world.clock.advance(30)
    ((machine, why),) = world.step(waits=False).given_up
    assert machine == MACHINE
    assert "the probe does not pass; last error: status 1" in why
    (failed,) = [event for event in world.events if event.kind == "join-failed"]
    assert isinstance(failed.data, JoinLog)
    assert "said by probe it" in failed.data.log


def test_files_are_copied_first_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    key = tmp_path / "munge.key"
    key.write_bytes(b"secret")
    copy = FileCopy(source=key, target="/etc/munge/munge.key", mode="0400", owner="munge:munge")
    world = World(SETTINGS.model_copy(update={"files": (copy,)}))
    world.step()
    assert world.shell.commands == [
        Upload("/etc/munge/munge.key", b"secret", 0o400, "munge:munge"),
        "start it",
    ]
    assert "secret" not in str(world.events)
    assert "secret" not in repr(world.shell.commands)
    key.unlink()
    world.clock.advance(30)
    world.step()
    assert str(key) in world.events[-1].message


def test_a_node_that_was_only_away_for_a_moment_is_not_told_to_have_joined() -> None:
    world = World(JoinSettings(), Node("pc100", "IDLE", frozenset({"NOT_RESPONDING"})))
    world.step(waits=False)
    at_work(world)
    assert world.step(waits=False).joined == (MACHINE,)
    assert (world.events, world.joins.records) == ([], {})


ASLEEP = Node("pc100", "IDLE", frozenset({"CLOUD", "POWERED_DOWN"}))


@pytest.mark.parametrize("seen", [(), (ASLEEP,)], ids=["not listed, such as FUTURE", "asleep"])
def test_in_cloud_mode_slurm_is_told_where_the_machine_is_before_slurmd_starts(
    seen: tuple[Node, ...],
) -> None:
    world = World(JoinSettings(mode="cloud"), *seen)
    world.step()
    assert world.slurm.acts == [
        ("set_address", "pc100", "10.0.0.100", "pc100.site.net"),
        ("power_up", "pc100"),
        ("set_down", "pc100", JOINING),
        ("resume", "pc100"),
    ]
    assert world.shell.commands[-1] == "slurmd -b -N pc100"


def test_a_node_that_we_had_set_down_is_up_again_once_its_machine_is_there() -> None:
    world = World(SETTINGS, Node("pc100", "DOWN", reason="esagent: no machine behind it"))
    world.step()
    assert world.slurm.acts == [("resume", "pc100")]


def test_a_machine_is_told_of_its_lease_before_it_joins_and_joins_although_that_fails() -> None:
    world = World(SETTINGS, plugin=PluginSettings(lease="/run/esagent/lease"))
    place = "umask 022; mkdir -p /run/esagent"
    world.shell.faults = {place: "read-only"}
    world.step()
    told, _, started = world.shell.commands
    assert (told, started) == (place, "start it")
    assert "it was not told of its lease: read-only" in world.events.words


def test_a_machine_whose_values_a_shell_could_act_on_is_given_up_untouched() -> None:
    world = World(
        JoinSettings(commands=("echo {hardware_type}",)), machine=a_machine(hardware_type="$(reboot)")
    )
    ((machine, why),) = world.step(waits=False).given_up
    assert machine == world.machine
    assert "hardware_type" in why
    assert (world.shell.ran, world.joins.records) == ([], {})


ON_A_LAN = replace(MACHINE, lans=(LanPort("lan-0", "10.10.1.5", "255.255.255.0"),))


def test_in_cloud_mode_slurm_is_told_the_address_in_the_lan_that_is_set() -> None:
    world = World(JoinSettings(mode="cloud", address="lan-0"), machine=ON_A_LAN)
    world.step()
    assert world.slurm.acts[0] == ("set_address", "pc100", "10.10.1.5", "pc100.site.net")


def test_a_machine_without_an_address_in_the_lan_that_is_set_is_given_up_untouched() -> None:
    world = World(JoinSettings(address="lan-1", commands=("start it",)), machine=ON_A_LAN)
    ((_, why),) = world.step(waits=False).given_up
    assert why == "machine 'node-100' has no address in LAN 'lan-1'; its LANs with one are: lan-0"
    assert (world.shell.ran, world.slurm.acts) == ([], [])


def test_slurm_is_told_where_a_node_is_that_registered_from_another_network() -> None:
    world = World(
        JoinSettings(address="lan-0"), Node("pc100", "IDLE", address="10.0.0.100"), machine=ON_A_LAN
    )
    moment = world.moment()
    world.joiner.readdress(plan_joins(moment))
    assert world.slurm.acts == [("set_address", "pc100", "10.10.1.5", "")]
    assert world.events.words == ["Slurm was told where it is: 10.10.1.5"]
    assert world.over.is_set(), "Slurm is read again"


def test_nothing_is_told_where_slurm_knows_the_address() -> None:
    world = World(JoinSettings(address="lan-0"), Node("pc100", "IDLE", address="10.10.1.5"), machine=ON_A_LAN)
    world.joiner.readdress(plan_joins(world.moment()))
    assert (world.slurm.acts, world.events, world.over.is_set()) == ([], [], False)


@pytest.mark.parametrize("fault", ["thread", "work"])
def test_a_join_that_meets_an_unexpected_fault_is_tried_again(monkeypatch, fault):
    """One that counts as running for ever is neither tried again nor given up."""
    world = World()
    world.clock.set_ahead(7200)

    def fail(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as faulty:
        if fault == "thread":
            faulty.setattr("agent.core.threads.errand", fail)
        else:
            faulty.setattr(world.joiner, "_join", fail)
        world.step(waits=False)
        wait_for("the try is over", lambda: [r for r in world.joins.records.values() if not r.running])
    assert all(record.error for record in world.joins.records.values())
    assert all(record.last <= world.clock.steady() for record in world.joins.records.values())
    world.clock.advance(3600)
    assert plan_joins(world.moment()).start or plan_joins(world.moment()).failed
