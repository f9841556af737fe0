"""A simulated Cloudlab in very fast time, and agents in processes of their own against it."""

from __future__ import annotations

import gc
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from testbed.bedfile import write_bed_file
from testbed.cloudlab.journal import Call, Callback, Entry, Held
from testbed.cloudlab.simulator import SimulatedCloudlab
from testbed.cloudlab.sites import DEFAULT_BOOT, DEFAULT_SITES, Timing
from testbed.cloudlab.steering.control import SteeringError
from testbed.waiting import wait_for

PROGRAM = Path(__file__).with_name("agent_process.py")
SPEED = 600.0
"""A notice of a countdown each 0.1 s."""
TIMING = Timing(
    boot=tuple((event, seconds / 5) for event, seconds in DEFAULT_BOOT),
    start=5,
    resync=3,
    teardown=6,
    reload=12,
    taken=60,
)
OF_2016 = tuple(replace(site, generation=2016, timing=TIMING) for site in DEFAULT_SITES)
OF_2021 = tuple(
    # One has the interface of the reference; the other calls nobody, as all public ones.
    replace(site, generation=2021, callbacks=number == 0, timing=TIMING)
    for number, site in enumerate(DEFAULT_SITES)
)
LIMIT = 240.0
"""Seconds for anything that is waited for: it is about whether, never about how fast."""
ANY = "*"
"""Any call to or from Cloudlab."""
_SLICES = itertools.count(1)
_A_FEW = 8
"""Whoever asks for so few tests by name gets all of them."""


GENERATIONS = {"2016": OF_2016, "2021": OF_2021}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each test meet one generation of servers, in turn; all of them with ``ESAGENT_LONG_TESTS``."""
    if "ESAGENT_LONG_TESTS" in os.environ or len(items) < _A_FEW:
        return
    turns = {
        generation: itertools.cycle([generation == "2016", generation != "2016"])
        for generation in GENERATIONS
    }
    left_out = [
        item
        for item in items
        for generation in GENERATIONS
        if f"[{generation}" in item.name and not next(turns[generation])
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


class AgentProcess:
    """The program that runs agents, one after the other, each in a process that can be killed."""

    def __init__(self) -> None:
        self._starter = subprocess.Popen(
            [sys.executable, PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            # What select waits for must not lie in a buffer: a pid and its end may come at once.
            bufsize=0,
        )
        self.pid: int | None = None
        self.exit_status: int | None = None

    def start(self, order: dict[str, Any]) -> None:
        assert self.pid is None
        assert self._starter.stdin is not None
        self._starter.stdin.write(json.dumps(order).encode() + b"\n")
        self.pid = int(self._line(LIMIT))

    def alive(self) -> bool:
        if self.pid is not None and (line := self._line(0)):
            self.pid, self.exit_status = None, int(line)
        return self.pid is not None

    def kill(self) -> None:
        """Send SIGKILL; may be called from any thread, and does not wait."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self) -> None:
        while self.pid is not None:
            if line := self._line(LIMIT):
                self.pid, self.exit_status = None, int(line)
            else:
                raise TimeoutError("the agent's process does not end")

    def close(self) -> None:
        self.kill()
        self.wait()
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.close()
        self._starter.stdout.close()
        self._starter.wait(LIMIT)

    def _line(self, timeout: float) -> bytes:
        assert self._starter.stdout is not None
        readable, _, _ = select.select([self._starter.stdout], [], [], timeout)
        return self._starter.stdout.readline() if readable else b""


@dataclass(frozen=True)
class Kill:
    """SIGKILL for the agent, at the n-th such call of a run.

    Before or after a call of its own (a method of its server or its ledger), or (``reply``) when the work of
    a call to Cloudlab, or of one from Cloudlab, is done and the agent has not read or sent on the reply; or
    (``instant``) so many seconds after its start.
    """

    call: str
    when: str
    nth: int = 1
    seconds: float = 0


class World:
    """One slice of its own at a shared Cloudlab, kept by an agent that is started again when it dies."""

    def __init__(self, cloudlab: SimulatedCloudlab, process: AgentProcess, home: Path) -> None:
        self.cloudlab = cloudlab
        self.process = process
        self.home = home
        self.slice_name = f"k{next(_SLICES)}"
        self.keep_ledger = True
        self.kills: list[Kill] = []
        """What is still to come, one a run."""
        self._entries = 0
        self._started = 0.0
        self.threads = False
        self.runs = 0
        self.deaths = 0
        self.most = 0
        """The most machines that were wanted so far."""
        self.began = time.time()
        self.each_of: Sequence[str] = ()
        """Calls of its own around which the agent dies, once for each stage and what they are about."""
        self._plan: dict[str, Any] = {"wanted": 0, "lease": 600, "stage": ""}

    # --- the agent

    def start(self) -> None:
        self.runs += 1
        self._entries = 0
        self._started = time.monotonic()
        kill = self.kills[0] if self.kills and self.kills[0].when in {"before", "after"} else None
        (self.home / "plan.json").write_text(json.dumps(self._plan))
        self.process.start(
            {
                "run": self.runs,
                "bed": str(self.cloudlab.directory),
                "home": str(self.home),
                "slice": self.slice_name,
                "kill": asdict(kill) if kill else None,
                "each_of": self.each_of,
                "threads": self.threads,
            }
        )

    def kill_at(self, call: str, when: str, nth: int = 1) -> None:
        """Have a run killed there (see ``Kill``): the first, the next, and so on."""
        self.kills.append(Kill(call, when, nth))

    def kill_at_entry(self, nth: int) -> None:
        """Have a run killed at the n-th call to or from Cloudlab, whichever that is."""
        self.kills.append(Kill(ANY, "reply", nth))

    def kill_after(self, seconds: float) -> None:
        """Have a run killed at whatever it does so long after its start."""
        self.kills.append(Kill(ANY, "instant", seconds=seconds))

    def kill_now(self) -> None:
        """Kill the run at whatever it does."""
        self.kills.insert(0, Kill(ANY, "instant"))
        self.process.kill()

    def saw(self, entry: Entry) -> None:
        """Kill the agent if this entry of the journal is what its next death waits for."""
        kill = self.kills[0] if self.kills else None
        if kill is None or kill.when != "reply" or not isinstance(entry, Call | Callback):
            return
        if kill.call in {entry.method, ANY} and (kill.call == ANY or entry.code == 0):
            self._entries += 1
            # Or later: what the run before had begun may have counted, when this one was not there yet.
            if self._entries >= kill.nth:
                self.process.kill()

    def kill_if_time(self) -> None:
        """Kill the agent if it has lived as long as it was to live."""
        kill = self.kills[0] if self.kills else None
        if kill and kill.when == "instant" and time.monotonic() >= self._started + kill.seconds:
            self.process.kill()

    def restart_if_dead(self) -> None:
        if self.process.alive():
            return
        assert self.process.exit_status == -signal.SIGKILL, (self.home / "agent.log").read_text()[-3000:]
        self.deaths += 1
        if not self.each_of:
            self.kills.pop(0)
        if not self.keep_ledger:
            for part in self.home.glob("ledger.db*"):
                part.unlink()
        self.start()

    def steps_died_at(self) -> list[str]:
        """List the steps that ``each_of`` led to, oldest first: ``stage: before|after call about``."""
        return (self.home / "died_at").read_text().splitlines()

    def plan(self, **changes: float | str) -> None:
        self._plan.update(changes)
        self.most = max(self.most, self._plan["wanted"])
        fresh = self.home / "plan.new"
        fresh.write_text(json.dumps(self._plan))
        fresh.replace(self.home / "plan.json")

    def status(self) -> dict[str, Any]:
        """Return what the present run told last; an empty dict before it told anything."""
        try:
            told: dict[str, Any] = json.loads((self.home / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return told if told["run"] == self.runs else {}

    def until(self, what: str, condition: Callable[[dict[str, Any]], object]) -> None:
        """Wait for something that the agent tells of itself; one that died is started again."""

        def check() -> object:
            self.kill_if_time()
            self.restart_if_dead()
            status = self.status()
            assert not status.get("fatal"), status
            return status and condition(status)

        try:
            wait_for(what, check, timeout=LIMIT, interval=0.01)
        except Exception as error:
            log = (self.home / "agent.log").read_text()[-4000:]
            raise AssertionError(
                f"{error}\nplan {self._plan}, {self.status()}\nheld {self.held()}\n{log}"
            ) from error

    def reach(self, wanted: int) -> None:
        """Want so many machines, and wait until all is quiet with so many."""
        self.plan(wanted=wanted)
        self.until(f"{wanted} machines and quiet", lambda s: s["wanted"] == wanted and self._quiet(s))
        self.check_counts()

    def _quiet(self, status: dict[str, Any]) -> bool:
        held = self.held()
        return (
            status["held"] == status["ready"] == held
            and len(held) == status["wanted"]
            and not status["in_flight"]
            and status["cms_read"] == len(self.cloudlab.cms)
        )

    # --- Cloudlab

    def held(self, cm: str | None = None) -> list[str]:
        """List the machines that Cloudlab says our slice holds, at one CM or at all."""
        machines = self.cloudlab.machines()
        return sorted(m.node_id for m in machines if self._ours(m.slice_urn) and cm in {None, m.cm})

    def revoke_now(self, node_id: str, seconds: float) -> None:
        """Revoke a machine, unless it was given back in the meantime."""
        with suppress(SteeringError):
            self.cloudlab.revoke(node_id, seconds)

    def _ours(self, slice_urn: str) -> bool:
        return slice_urn.rpartition("+")[2] == self.slice_name

    def spans(self) -> list[Held]:
        """Return over which times our slice held which machines."""
        return [h for h in self.cloudlab.journal.held() if self._ours(h.slice_urn)]

    def given_up(self, node_id: str) -> list[str]:
        """Tell why our slice does not hold a machine any more, for each time that it held it."""
        return [h.cause for h in self.spans() if h.node_id == node_id and h.cause]

    def calls(self, method: str) -> list[Call]:
        return [
            c
            for c in self.cloudlab.journal.calls(method, code=0)
            if self._ours(str(c.args.get("slice_urn", "")))
        ]

    def check_counts(self) -> None:
        """Machines asked = held + given back + taken."""
        self.check_never_too_many()
        if any(strike.time >= self.began for strike in self.cloudlab.journal.faults()):
            return  # a call that was refused may have been carried out
        spans = self.spans()
        asked = sum(len(c.args["nodes"]) for c in self.calls("AddNodes"))  # type: ignore[arg-type]
        asked += len(self.calls("CreateSliver"))
        assert len(spans) == asked, "each machine that was asked for was held once"

    def check_never_too_many(self) -> None:
        """There never were more machines than were wanted at most, and no name was there twice."""
        spans = self.spans()
        for span in spans:
            together = [h for h in spans if h.start <= span.start and (span.start < h.end or h is span)]
            assert len(together) <= self.most, f"more machines than wanted at once: {together}"
            names = [h.client_id for h in together]
            assert len(set(names)) == len(names), f"a name was given twice: {together}"

    def give_everything_back(self) -> None:
        """Want nothing, and wait until no CM has a machine for us or a sliver, be it empty."""
        self.reach(0)
        self.until("each CM was told to forget the slice", lambda s: not self._slivers())
        assert self.held() == []

    def _slivers(self) -> list[str]:
        return [cm.urn for cm in self.cloudlab.cms if any(map(self._ours, self.cloudlab.cm(cm.urn).slices))]


@pytest.fixture(scope="module", params=GENERATIONS.values(), ids=GENERATIONS.keys())
def cloudlab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimulatedCloudlab]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with SimulatedCloudlab(
        tmp_path_factory.mktemp("cloudlab"),
        speed=SPEED,
        sites=request.param,
        callback_url=f"https://127.0.0.1:{port}/RPC2",
    ) as cloudlab:
        write_bed_file(cloudlab.bed_file())
        yield cloudlab
    gc.collect()  # what killed agents left open is told here, not in another module's test


@pytest.fixture(scope="module")
def process() -> Iterator[AgentProcess]:
    process = AgentProcess()
    yield process
    process.close()


@pytest.fixture
def world(cloudlab: SimulatedCloudlab, process: AgentProcess, tmp_path: Path) -> Iterator[World]:
    world = World(cloudlab, process, tmp_path)
    add = cloudlab.journal.add

    def watched(entry: Entry) -> None:
        add(entry)
        world.saw(entry)

    cloudlab.journal.add = watched  # type: ignore[method-assign]
    yield world
    cloudlab.journal.add = add  # type: ignore[method-assign]
    process.kill()
    process.wait()
    cloudlab.clear_faults()
    cloudlab.unlock()
    if held := world.held():
        cloudlab.revoke(held, 0)
