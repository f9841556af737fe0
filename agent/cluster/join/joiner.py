"""Joins ready machines in the background: does over SSH and in Slurm what ``plan_joins`` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.cluster.desk import Desk
from agent.cluster.drain.gate import Gate
from agent.cluster.drain.held import held, holds
from agent.cluster.join.commands import join_commands, probe_commands
from agent.cluster.join.plan import JoinPlan, JoinStep
from agent.cluster.memory.joins import Joins
from agent.cluster.moment import Moment
from agent.cluster.reach import Reach
from agent.cluster.reasons import JOINING, is_ours
from agent.cluster.settings.join import FileCopy, JoinSettings, address_of
from agent.cluster.steer.announcer import Announcer
from agent.core import threads
from agent.core.errors import ConfigError, SlurmError, SlurmRefusedError
from agent.core.events import EventData, EventKind, Joined, JoinLog
from agent.core.model import SliverNode
from agent.core.ports import Series, Upload
from agent.slurm.model import Node, SlurmBackend


@dataclass(frozen=True)
class JoinOutcome:
    """What a step found."""

    joined: tuple[SliverNode, ...]
    """Slurm has them at work, and the probe has passed."""
    given_up: tuple[tuple[SliverNode, str], ...]
    """Machines to be given up, each with the reason."""


class Joiner:
    """Does what ``plan_joins`` says, and remembers what was tried.

    Args:
        desk: told of each step; the cycle looks again when the commands on a machine have ended.
        joins: remembers.
        reach: runs commands on machines.
        backend: the way in to Slurm.
        announcer: tells a machine until when it is lent.
        gate: keeps a node back until its fence stands; None for none.
    """

    def __init__(
        self,
        desk: Desk,
        joins: Joins,
        reach: Reach,
        backend: SlurmBackend,
        announcer: Announcer,
        gate: Gate | None = None,
    ) -> None:
        self._desk = desk
        self._joins = joins
        self._reach = reach
        self._backend = backend
        self._announcer = announcer
        self._gate = gate

    def step(self, moment: Moment, plan: JoinPlan) -> JoinOutcome:
        """Start what is due."""
        now = moment.steady
        for step in plan.watch:
            self._joins.watch(step.node, now)
        for step in plan.joined:
            record = self._joins.join(step.node)
            if record is not None and (record.attempts or record.probes):
                seconds = (now - record.first).total_seconds()
                self._tell(EventKind.JOIN, step, f"joined: {step.reason}", Joined(seconds))
        for step in plan.failed:
            log = self._joins.take_log(step.node)
            self._tell(EventKind.JOIN_FAILED, step, f"given up: {step.reason}", JoinLog(log))
        given_up = [(step.node, step.reason) for step in plan.failed]
        for step in plan.start:
            try:
                commands = join_commands(step.node, step.name, moment.join_of(step.node))
            except ConfigError as error:
                given_up.append((step.node, str(error)))
                continue
            self._joins.begin(step.node, now, attempts=1, anew=step.anew)
            self._tell(EventKind.JOINING, step, step.reason)
            self._in_background(step, self._join, step, commands, moment)
        for step in plan.probe:
            settings = moment.join_of(step.node)
            # Its placeholders are those of the join commands, and were fit for them.
            self._joins.begin(step.node, now, probes=1)
            self._in_background(
                step, self._probe, step, probe_commands(step.node, step.name, settings), settings
            )
        return JoinOutcome(tuple(step.node for step in plan.joined), tuple(given_up))

    def readdress(self, plan: JoinPlan) -> None:
        """Tell Slurm the addresses under which it shall reach machines that are at work.

        Raises:
            SlurmError: it did not take one.
        """
        for step, place in plan.readdress:
            self._backend.set_address(step.name, place)
            self._tell(EventKind.JOIN_STEP, step, f"Slurm was told where it is: {place}")
        if plan.readdress:
            # So that the next plan goes by what Slurm has made of it.
            self._desk.wake("get_system_state")

    def _in_background(self, step: JoinStep, act: Callable[..., str], *arguments: object) -> None:
        def work() -> None:
            error = "an unexpected fault of the agent"
            try:
                error = act(*arguments)
            finally:
                # One that is left as running is never tried again.
                self._joins.end(step.node, self._desk.clock.steady(), error)
            if error:
                self._tell(EventKind.JOIN_ERROR, step, error)
            self._desk.wake("get_system_state", "join_nodes", "set_system_state")

        try:
            threads.errand(f"join-{step.name}", work)
        except RuntimeError as error:
            self._joins.end(step.node, self._desk.clock.steady(), f"no thread can be started: {error}")

    def _join(self, step: JoinStep, commands: Sequence[str], moment: Moment) -> str:
        """Perform the steps of a join; return what went wrong, "" for nothing."""
        settings, seen = moment.join_of(step.node), moment.nodes.get(step.name)
        try:
            files = [_read(file) for file in settings.files]
        except OSError as error:
            return f"[[join.files]] {error}"
        try:
            down = step.anew or (seen is not None and is_ours(seen.reason) and seen.state == "DOWN")
            if step.anew:
                # Before anything else: Slurm would start jobs where nothing runs.
                self._backend.set_down([step.name], JOINING)
                self._backend.set_address(step.name, address_of(step.node, settings.address))
            if settings.mode == "cloud":
                down = self._announce(step, seen) or down
            if files and (fault := self._perform(step, files, settings)):
                return fault
            if files:
                self._tell(EventKind.JOIN_STEP, step, f"{', '.join(f.path for f in files)} copied")
            lease = self._announcer.files(moment.slice.leases.get(step.node.cm))
            if lease and (fault := self._perform(step, lease, settings)):
                self._tell(EventKind.JOIN_STEP, step, f"it was not told of its lease: {fault}")
            if is_held := self._gate is not None and holds(moment, step.name):
                commands = held(commands)
            if fault := self._perform(step, commands, settings):
                return fault
            self._tell(EventKind.JOIN_STEP, step, "the join commands have run")
            if self._gate is not None and (down or is_held):
                self._gate.wait(step.name)
            if down:
                self._backend.resume([step.name])
                self._tell(EventKind.JOIN_STEP, step, "its node, which we had set down, is up again")
        except SlurmError as error:
            # Slurm may have done all of it, half or nothing: the next attempt goes by a new reading.
            return str(error)
        return ""

    def _announce(self, step: JoinStep, seen: Node | None) -> bool:
        """Tell Slurm where the machine behind a predeclared node is, and wake the node.

        Returns:
            The node is down with our reason: a FUTURE node becomes a node of Slurm by that (slurm.conf(5)),
            and a CLOUD node that Slurm does not list may have been set down before.
        """
        machine, down = step.node, False
        place = address_of(machine, self._desk.settings.join.address) or machine.hostname
        self._backend.set_address(step.name, place, machine.hostname or step.name)
        if seen is None or "POWERED_DOWN" in seen.flags:
            try:
                self._backend.power_up([step.name])
            except SlurmRefusedError:
                # Without power saving in slurm.conf, and for a FUTURE node, there is nothing to wake.
                self._backend.set_down([step.name], JOINING)
                down = True
        self._tell(EventKind.JOIN_STEP, step, f"Slurm was told where it is: {place}")
        return down

    def _probe(self, step: JoinStep, commands: Sequence[str], settings: JoinSettings) -> str:
        error = self._perform(step, commands, settings)
        if not error:
            self._joins.prove(step.node)
            self._tell(EventKind.JOIN_STEP, step, "the probe has passed")
        return error

    def _perform(self, step: JoinStep, series: Series, settings: JoinSettings) -> str:
        """Run one part over SSH; keep what it printed."""
        result = self._reach.run(step.node, series, settings.timeout)
        self._joins.add_log(step.node, result.output)
        return result.error

    def _tell(self, kind: EventKind, step: JoinStep, message: str, data: EventData | None = None) -> None:
        self._desk.record(kind, step.name, message, data)


def _read(file: FileCopy) -> Upload:
    return Upload(file.target, file.source.read_bytes(), int(file.mode, 8), file.owner)
