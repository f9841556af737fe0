"""Runs the delete commands on many machines side by side, the earliest deadline first."""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.settings.drain import DrainSettings
from agent.core import threads
from agent.core.jumps import ahead
from agent.core.ports import HostResult

log = structlog.get_logger()

LEAST_TIME = 1.0
"""Seconds that a machine gets even where its deadline is past: what can be cleaned up still is."""
RELEASE_SHARE = 0.25
"""Of the time before a deadline, what is kept free of commands: a release that is said too late is none."""
_NEVER = datetime.max.replace(tzinfo=UTC)


def time_limit(
    deadline: datetime | None, now: datetime, waiting: int, settings: DrainSettings, workers: int
) -> float:
    """Return the seconds that one machine's commands may take.

    Where more machines wait than are worked on at once, each gets so much less that even if all of them hang
    the last is through, and released, before this deadline.
    """
    if deadline is None:
        return settings.cleanup_limit
    left = (deadline - now).total_seconds() * (1 - RELEASE_SHARE)
    turns = 1 + math.ceil(waiting / workers)
    return max(LEAST_TIME, min(settings.cleanup_limit, left / turns))


class Cleaner:
    """A queue of machines to be left, and threads that work it off; there are none while it is empty.

    Args:
        desk: has the time and the settings.
        run: runs the delete commands on the machine of one node within so many seconds, and does not raise.
        done: told once a node when its commands have run or failed.
    """

    def __init__(
        self,
        desk: Desk,
        run: Callable[[LeaveNode, float], HostResult],
        done: Callable[[LeaveNode, HostResult], None],
    ) -> None:
        self._desk = desk
        self._run = run
        self._done = done
        self._lock = threading.Lock()
        self._queue: list[tuple[datetime, str, LeaveNode]] = []
        """Deadline by the steady clock, node name, and what is done there."""
        self._at_work: set[str] = set()
        self._through: dict[str, tuple[datetime | None, frozenset[str]]] = {}
        """Node name -> when the drain began after which it was cleaned up, and whose it was."""
        self._threads = 0

    def put(self, action: LeaveNode) -> None:
        """Have a node cleaned up, unless it was or is to be already."""
        with self._lock:
            done = self._through.get(action.node) == (action.begun, action.slivers)
            if done:
                return
            if action.node not in self._at_work:
                self._at_work.add(action.node)
                due = _NEVER if action.deadline is None else action.deadline - ahead(self._desk.clock)
                heapq.heappush(self._queue, (due, action.node, action))
            if not self._queue or self._threads >= self._desk.settings.drain.cleanup_fan_out:
                return
            self._threads += 1
        try:
            threads.errand(f"leave-{action.node}", self._work)
        except RuntimeError as error:
            log.warning("no thread can be started; tried again at the next look", error=str(error))
            with self._lock:
                self._threads -= 1

    def forget_all_but(self, nodes: set[str]) -> None:
        """Forget who was cleaned up, except for these: another one begins anew."""
        with self._lock:
            self._through = {node: drain for node, drain in self._through.items() if node in nodes}

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                due, node, action = heapq.heappop(self._queue)
                settings = self._desk.settings.drain
                limit = time_limit(
                    None if due is _NEVER else due,
                    self._desk.clock.steady(),
                    len(self._queue),
                    settings,
                    settings.cleanup_fan_out,
                )
            self._clean(node, action, limit)

    def _clean(self, node: str, action: LeaveNode, limit: float) -> None:
        try:
            self._done(action, self._run(action, limit))
        except Exception:  # a fault over one machine must cost neither this thread nor the others
            log.exception("a node could not be left; it is tried again", node=node)
            with self._lock:
                self._at_work.discard(node)
            return
        with self._lock:
            self._through[node] = (action.begun, action.slivers)
            self._at_work.discard(node)
