"""Joins ready machines in the background: asks ``plan_joins`` what to do, and runs it over SSH."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.core.errors import ConfigError
from agent.core.model import Event, SliverNode
from agent.core.ports import Clock, EventSink, HostResult
from agent.slurm.join import JoinRecord, JoinSettings, JoinStep, join_commands, plan_joins
from agent.slurm.model import Snapshot


class Joiner:
    """Remembers what was tried on each machine, and tries on.

    Args:
        run: runs commands on one machine within a number of seconds.
        settings: asked at every step, so that a reload takes effect.
        clock: time.
        events: where acts are told.
        done: told when the commands on a machine have ended.
    """

    def __init__(
        self,
        run: Callable[[SliverNode, Sequence[str], float], HostResult],
        *,
        settings: Callable[[], JoinSettings],
        clock: Clock,
        events: EventSink,
        done: Callable[[], None],
    ) -> None:
        self._run = run
        self._settings = settings
        self._clock = clock
        self._events = events
        self._done = done
        self._lock = threading.Lock()
        self._records: dict[str, JoinRecord] = {}

    def step(self, ready: Sequence[SliverNode], snapshot: Snapshot) -> list[tuple[SliverNode, str]]:
        """Start what is due.

        Returns:
            The machines to be given up, each with the reason.
        """
        settings = self._settings()
        with self._lock:
            now = self._clock.now()
            plan = plan_joins(ready, snapshot, self._records, settings, now)
            for step in plan.watch:
                self._records[step.node.sliver_id] = JoinRecord(now, now, attempts=0, running=False)
            finished = [
                (step, record)
                for step in plan.joined
                if (record := self._records.pop(step.node.sliver_id, None)) is not None
            ]
        for step, record in finished:
            if record.attempts:
                self._tell("join", step, f"joined: {step.reason}")
        given_up = [(step.node, step.reason) for step in plan.failed]
        for step in plan.start:
            try:
                commands = join_commands(step.node, settings)
            except ConfigError as error:
                given_up.append((step.node, str(error)))
                continue
            self._begin(step, commands, settings)
        return given_up

    def forget(self, machine: SliverNode) -> None:
        """Drop what was tried on a machine that is not ours any more."""
        with self._lock:
            self._records.pop(machine.sliver_id, None)

    def _begin(self, step: JoinStep, commands: Sequence[str], settings: JoinSettings) -> None:
        now = self._clock.now()
        with self._lock:
            earlier = self._records.get(step.node.sliver_id)
            self._records[step.node.sliver_id] = JoinRecord(
                first=earlier.first if earlier else now,
                last=now,
                attempts=earlier.attempts + 1 if earlier else 1,
                running=True,
            )
        self._tell("joining", step, step.reason)
        threading.Thread(
            target=self._join, args=(step, commands, settings.timeout), name=f"join-{step.name}", daemon=True
        ).start()

    def _join(self, step: JoinStep, commands: Sequence[str], timeout: float) -> None:
        result = self._run(step.node, commands, timeout)
        with self._lock:
            record = self._records.get(step.node.sliver_id)
            if record is not None:
                self._records[step.node.sliver_id] = replace(
                    record, running=False, last=self._clock.now(), error=result.error
                )
        if not result.ok:
            self._tell("join-error", step, result.error)
        self._done()

    def _tell(self, kind: str, step: JoinStep, message: str) -> None:
        self._events.record(Event(self._clock.now(), kind, step.name, message))
