"""Looks whether ``auto`` would take another way in: Slurm was upgraded, slurmrestd is gone, or came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from agent.core import threads
from agent.core.errors import SlurmError
from agent.core.ports import Clock
from agent.slurm.choice import Choice

log = structlog.get_logger()

LOOK_EVERY = 600.0
"""Seconds between two looks while all is well: a pyslurm may misread an upgraded Slurm and not notice."""
_INTERVAL = 10.0
_TIMES = 2
"""Looks in a row that have to find the same: Slurm may have stopped to answer during one."""


class Rechooser:
    """Chooses again and again, in a thread of its own, and compares.

    Args:
        chosen: the way in that is in use.
        choose: chooses anew.
        serves: asks Slurm's commands; while they do not work either, nothing is to be learnt.
        read_at: tells when Slurm was last read, by the steady clock; None for never.
        stale_after: age of the last reading, in seconds, at which a look is due at once.
        clock: time.

    Attributes:
        found: another way in that is better by now, and why, in words; "" while there is none.
    """

    def __init__(
        self,
        chosen: Choice,
        choose: Callable[[], Choice],
        serves: Callable[[], object],
        read_at: Callable[[], datetime | None],
        stale_after: float,
        clock: Clock,
    ) -> None:
        self._chosen = chosen.name
        self._choose = choose
        self._serves = serves
        self._read_at = read_at
        self._stale_after = timedelta(seconds=stale_after)
        self._clock = clock
        self._looked = clock.monotonic()
        self._began = clock.steady()
        self._others: list[str] = []
        self._stop = threading.Event()
        self.found = ""

    def start(self) -> None:
        """Begin."""
        threads.keep("rechooser", self._run, self._stop.is_set)

    def stop(self) -> None:
        """Look no more; a look under way is left to end by itself."""
        self._stop.set()

    def look(self) -> None:
        """Look, where a look is due."""
        if not self._is_due():
            return
        self._looked = self._clock.monotonic()
        try:
            self._serves()
            fresh = self._choose()
        except SlurmError as error:
            log.debug("which way in to take cannot be told now", error=str(error))
            self._others = []
            return
        fresh.close()
        self._others = [] if fresh.name == self._chosen else [*self._others, fresh.name][-_TIMES:]
        if self._others == [fresh.name] * _TIMES:
            why = f" ({'; '.join(fresh.passed_over)})" if fresh.passed_over else ""
            self.found = f"{fresh.name} in place of {self._chosen}{why}"

    def _is_due(self) -> bool:
        age = self._clock.steady() - (self._read_at() or self._began)
        waited = self._clock.monotonic() - self._looked >= LOOK_EVERY
        return bool(self._others) or age > self._stale_after or waited

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.look()
