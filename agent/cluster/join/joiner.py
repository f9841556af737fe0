"""Joins ready machines in the background: asks ``plan_joins`` what to do, and runs it over SSH."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.cluster.join.commands import join_commands, probe_commands
from agent.cluster.join.plan import JoinPlan, JoinRecord, JoinStep, plan_joins
from agent.cluster.reasons import JOINING, is_ours
from agent.cluster.settings.join import FileCopy, JoinSettings
from agent.core.errors import ConfigError, SlurmError, SlurmRefusedError
from agent.core.events import Event, EventData, EventKind, Joined, JoinLog
from agent.core.model import SliverNode
from agent.core.ports import Clock, EventSink, HostResult, Series, Upload
from agent.slurm.model import Node, SlurmBackend, Snapshot

_LOG = 4000
"""Characters of a failed machine's output that its event keeps."""


@dataclass(frozen=True)
class JoinOutcome:
    """What a step found."""

    joined: tuple[SliverNode, ...]
    """Slurm has them at work, and the probe has passed."""
    given_up: tuple[tuple[SliverNode, str], ...]
    """Machines to be given up, each with the reason."""


class Joiner:
    """Remembers what was tried on each machine, and tries on.

    Args:
        run: runs commands on one machine within a number of seconds.
        backend: the way in to Slurm.
        settings: asked at every step, so that a reload takes effect.
        clock: time.
        events: where acts are told.
        done: told when the commands on a machine have ended.
        lease: what is done first on a machine, to tell it until when it is lent.
    """

    def __init__(
        self,
        run: Callable[[SliverNode, Series, float], HostResult],
        *,
        backend: SlurmBackend,
        settings: Callable[[], JoinSettings],
        clock: Clock,
        events: EventSink,
        done: Callable[[], None],
        lease: Callable[[SliverNode], Series] = lambda _: (),
    ) -> None:
        self._run = run
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._events = events
        self._done = done
        self._lease = lease
        self._lock = threading.Lock()
        self._records: dict[str, JoinRecord] = {}
        self._proven: set[str] = set()
        self._logs: dict[str, str] = {}
        self._failed: dict[str, datetime] = {}

    def step(self, ready: Sequence[SliverNode], snapshot: Snapshot) -> JoinOutcome:
        """Start what is due."""
        settings = self._settings()
        with self._lock:
            now = self._clock.now()
            plan = plan_joins(ready, snapshot, self._records, settings, now, proven=self._proven)
            for step in plan.watch:
                self._records[step.node.sliver_id] = JoinRecord(now, now, attempts=0, running=False)
            finished = [
                (step, record)
                for step in plan.joined
                if (record := self._records.pop(step.node.sliver_id, None)) is not None
            ]
            self._proven.update(step.node.sliver_id for step in plan.joined)
            for step in plan.joined:
                self._logs.pop(step.node.sliver_id, None)
            logs = {step.node.sliver_id: self._logs.pop(step.node.sliver_id, "") for step in plan.failed}
        for step, record in finished:
            if record.attempts or record.probes:
                self._tell(
                    EventKind.JOIN,
                    step,
                    f"joined: {step.reason}",
                    Joined((now - record.first).total_seconds()),
                )
        for step in plan.failed:
            self._tell(
                EventKind.JOIN_FAILED, step, f"given up: {step.reason}", JoinLog(logs[step.node.sliver_id])
            )
        given_up = [(step.node, step.reason) for step in plan.failed]
        for step in plan.start:
            try:
                commands = join_commands(step.node, settings)
            except ConfigError as error:
                given_up.append((step.node, str(error)))
                continue
            self._record(step, attempts=1)
            self._tell(EventKind.JOINING, step, step.reason)
            self._in_background(step, self._join, step, commands, settings, snapshot.nodes.get(step.name))
        for step in plan.probe:
            # Its placeholders are those of the join commands, and were fit for them.
            self._record(step, probes=1)
            self._in_background(step, self._probe, step, probe_commands(step.node, settings), settings)
        return JoinOutcome(tuple(step.node for step in plan.joined), tuple(given_up))

    def preview(self, ready: Sequence[SliverNode], snapshot: Snapshot) -> JoinPlan:
        """Tell what ``step`` would start now."""
        with self._lock:
            now = self._clock.now()
            return plan_joins(ready, snapshot, self._records, self._settings(), now, proven=self._proven)

    def keeps(self, machine: SliverNode) -> bool:
        """Tell whether a failed machine is still kept for a person to look at; asked at each look at it."""
        with self._lock:
            since = self._failed.setdefault(machine.sliver_id, self._clock.now())
        return self._clock.now() - since < timedelta(seconds=self._settings().keep_failed)

    def forget(self, machine: SliverNode) -> None:
        """Drop what was tried on a machine that is not ours any more."""
        with self._lock:
            self._proven.discard(machine.sliver_id)
            self._records.pop(machine.sliver_id, None)
            self._logs.pop(machine.sliver_id, None)
            self._failed.pop(machine.sliver_id, None)

    def _record(self, step: JoinStep, *, attempts: int = 0, probes: int = 0) -> None:
        """Take note that something begins on a machine."""
        now = self._clock.now()
        with self._lock:
            earlier = self._records.get(step.node.sliver_id) or JoinRecord(now, now, 0, running=False)
            self._records[step.node.sliver_id] = replace(
                earlier,
                last=now,
                attempts=earlier.attempts + attempts,
                probes=earlier.probes + probes,
                running=True,
            )

    def _in_background(self, step: JoinStep, act: Callable[..., str], *arguments: object) -> None:
        def work() -> None:
            error = act(*arguments)
            with self._lock:
                record = self._records.get(step.node.sliver_id)
                if record is not None:
                    self._records[step.node.sliver_id] = replace(
                        record, running=False, last=self._clock.now(), error=error
                    )
            if error:
                self._tell(EventKind.JOIN_ERROR, step, error)
            self._done()

        threading.Thread(target=work, name=f"join-{step.name}", daemon=True).start()

    def _join(
        self, step: JoinStep, commands: Sequence[str], settings: JoinSettings, seen: Node | None
    ) -> str:
        """Perform the steps of a join; return what went wrong, "" for nothing."""
        try:
            files = [_read(file) for file in settings.files]
        except OSError as error:
            return f"[[join.files]] {error}"
        try:
            down = seen is not None and is_ours(seen.reason) and seen.state == "DOWN"
            if settings.mode == "cloud":
                down = self._announce(step, seen) or down
            if files and (fault := self._perform(step, files, settings)):
                return fault
            if files:
                self._tell(EventKind.JOIN_STEP, step, f"{', '.join(f.path for f in files)} copied")
            lease = self._lease(step.node)
            if lease and (fault := self._perform(step, lease, settings)):
                self._tell(EventKind.JOIN_STEP, step, f"it was not told of its lease: {fault}")
            if fault := self._perform(step, commands, settings):
                return fault
            self._tell(EventKind.JOIN_STEP, step, "the join commands have run")
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
        place = machine.address or machine.hostname
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
            with self._lock:
                self._proven.add(step.node.sliver_id)
            self._tell(EventKind.JOIN_STEP, step, "the probe has passed")
        return error

    def _perform(self, step: JoinStep, series: Series, settings: JoinSettings) -> str:
        """Run one part over SSH; keep what it printed."""
        result = self._run(step.node, series, settings.timeout)
        with self._lock:
            log = self._logs.get(step.node.sliver_id, "") + result.output
            self._logs[step.node.sliver_id] = log[-_LOG:]
        return result.error

    def _tell(self, kind: EventKind, step: JoinStep, message: str, data: EventData | None = None) -> None:
        self._events.record(Event(self._clock.now(), kind, step.name, message, data))


def _read(file: FileCopy) -> Upload:
    return Upload(file.target, file.source.read_bytes(), int(file.mode, 8), file.owner)
