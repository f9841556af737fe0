"""Deadlines that came as countdowns: they move with the wall clock where somebody sets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from agent.core.jumps import Jumps
from agent.core.model import Place
from agent.core.ports import Clock
from agent.core.said import Revocation

log = structlog.get_logger()


class Countdowns:
    """Moves them: Cloudlab tells seconds, so that a clock that is set brings no machine's end nearer.

    Args:
        revocations: place -> those in force. Guarded by the caller.
        clock: returns the clock.
    """

    def __init__(self, revocations: dict[Place, Revocation], clock: Callable[[], Clock]) -> None:
        self._revocations = revocations
        self._jumps = Jumps(clock)

    def follow(self) -> None:
        """Look at the clock; to be done before a deadline is compared with it, or made."""
        moved = self._jumps.since_last()
        if not moved:
            return
        if self._revocations:
            seconds = round(moved.total_seconds())
            log.warning("the clock was set: the deadlines of revocations move with it", seconds=seconds)
        for place, old in self._revocations.items():
            deadline, last_notice = old.deadline + moved, old.last_notice + moved
            self._revocations[place] = replace(old, deadline=deadline, last_notice=last_notice)
