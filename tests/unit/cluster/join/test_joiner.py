"""The steps of a join, against a Slurm in memory and a shell that does nothing."""

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cluster.join.joiner import Joiner, JoinOutcome
from agent.cluster.reasons import JOINING
from agent.cluster.settings.join import FileCopy, JoinSettings
from agent.core.errors import SlurmRefusedError
from agent.core.events import Event, Joined, JoinLog
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult, Series, Upload
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MACHINE = SliverNode("node-1", "pc100", "urn:cm", "urn:1", "d430", "10.0.0.1", "pc100.site.net", "me")
SETTINGS = JoinSettings(
    commands=("start it",), probe=("probe it",), timeout=300, retry_interval=30, attempts=2
)


class World:
    """Clock, Slurm, shell and event sink of a joiner."""

    def __init__(self, settings: JoinSettings = SETTINGS, *nodes: Node) -> None:
        self.time = NOW
        self.nodes = {n.name: n for n in nodes}
        self.settings = settings
        self.ran: list[str | Upload] = []
        self.calls: list[tuple[object, ...]] = []
        self.faults: dict[str, str] = {}
        self.events: list[Event] = []
        self.over = threading.Event()
        self.joiner = Joiner(
            self.run,
            backend=self,  # type: ignore[arg-type]
            settings=lambda: self.settings,
            clock=self,
            events=self,
            done=self.over.set,
        )

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def record(self, event: Event) -> None:
        self.events.append(event)

    def run(self, machine: SliverNode, series: Series, timeout: float) -> HostResult:
        self.ran += series
        fault = next((self.faults[c] for c in series if isinstance(c, str) and c in self.faults), "")
        return HostResult(Host(machine.node_id, "", ""), f"said by {series[-1]}\n", fault)

    def set_address(self, node: str, address: str, hostname: str) -> None:
        self.calls.append(("address", node, address, hostname))

    def power_up(self, nodes: Iterable[str]) -> None:
        self.calls.append(("power up", *nodes))
        raise SlurmRefusedError("Invalid node state specified")

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        self.calls.append(("down", *nodes, reason))

    def resume(self, nodes: Iterable[str]) -> None:
        self.calls.append(("resume", *nodes))

    def step(self, *, waits: bool = True) -> JoinOutcome:
        """Step once; let what it started come to its end."""
        self.over.clear()
        outcome = self.joiner.step([MACHINE], Snapshot(self.time, dict(self.nodes), ()))
        if waits:
            assert self.over.wait(10)
        return outcome

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def told(self) -> list[str]:
        return [event.kind for event in self.events]


def at_work(world: World) -> None:
    world.nodes["pc100"] = Node("pc100", "IDLE")


def test_a_machine_is_joined_probed_and_told_step_by_step() -> None:
    world = World()
    assert world.step().joined == ()
    at_work(world)
    world.later(9)
    assert world.step().joined == ()
    world.later(3)
    assert world.step(waits=False).joined == (MACHINE,)
    assert world.ran == ["start it", "probe it"]
    assert world.told() == ["joining", "join-step", "join-step", "join"]
    assert world.events[-1].data == Joined(12.0)


def test_a_machine_whose_probe_fails_is_given_up_with_its_log() -> None:
    world = World()
    world.faults = {"probe it": "status 1"}
    world.step()
    at_work(world)
    world.step()
    world.later(30)
    world.step()
    world.later(30)
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
    assert world.ran == [Upload("/etc/munge/munge.key", b"secret", 0o400, "munge:munge"), "start it"]
    assert "secret" not in str(world.events)
    assert "secret" not in repr(world.ran)
    key.unlink()
    world.later(30)
    world.step()
    assert str(key) in world.events[-1].message


ASLEEP = Node("pc100", "IDLE", frozenset({"CLOUD", "POWERED_DOWN"}))


@pytest.mark.parametrize("seen", [(), (ASLEEP,)], ids=["not listed, such as FUTURE", "asleep"])
def test_in_cloud_mode_slurm_is_told_where_the_machine_is_before_slurmd_starts(
    seen: tuple[Node, ...],
) -> None:
    world = World(JoinSettings(mode="cloud"), *seen)
    world.step()
    assert world.calls == [
        ("address", "pc100", "10.0.0.1", "pc100.site.net"),
        ("power up", "pc100"),
        ("down", "pc100", JOINING),
        ("resume", "pc100"),
    ]
    assert world.ran[-1] == "slurmd -b -N pc100"


def test_a_node_that_we_had_set_down_is_up_again_once_its_machine_is_there() -> None:
    world = World(SETTINGS, Node("pc100", "DOWN", reason="esagent: no machine behind it"))
    world.step()
    assert world.calls == [("resume", "pc100")]


def test_a_failed_machine_is_kept_for_as_long_as_wanted() -> None:
    world = World(SETTINGS.model_copy(update={"keep_failed": 3600}))
    assert world.joiner.keeps(MACHINE)
    world.later(3599)
    assert world.joiner.keeps(MACHINE)
    world.later(1)
    assert not world.joiner.keeps(MACHINE)
    world.joiner.forget(MACHINE)
    assert world.joiner.keeps(MACHINE)
