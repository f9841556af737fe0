"""Where a node that joins waits until its fence stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.wanted import fences_of
from agent.cluster.moment import Moment

log = structlog.get_logger()

PATIENCE = 15.0
"""Seconds that a node is kept waiting: Slurm may take no reservation, and a job waits."""
POLL = 0.5
"""Seconds between two looks; for a node that Slurm does not list yet each has Slurm read."""


class Gate:
    """Keeps a node back until no job can start there that would run beyond its fence.

    Args:
        desk: has the settings; wakes those who read Slurm and make fences.
        now: makes the moment.
        fencer: tells which fences stand.
    """

    def __init__(self, desk: Desk, now: Callable[[], Moment], fencer: Fencer) -> None:
        self._desk = desk
        self._now = now
        self._fencer = fencer

    def wait(self, name: str) -> None:
        """Wait until Slurm has a node and its fence stands, if it gets one; for ``PATIENCE`` at most."""
        until = time.monotonic() + PATIENCE
        while self._desk.settings.drain.fence and not self._is_open(name):
            if time.monotonic() >= until:
                log.warning("a node is not kept waiting for its fence any longer", node=name)
                return
            self._desk.look_at_drains()
            threading.Event().wait(POLL)

    def _is_open(self, name: str) -> bool:
        moment = self._now()
        if name not in moment.nodes:
            self._desk.wake("get_system_state")
            return False
        return name in self._fencer.let_in([name], fences_of(moment)[1])
