"""Reads how the machines are, where and when that is worth the slice's lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from agent.core.config import CycleSettings
from agent.core.errors import BusyError, CloudlabError, EarlierSliceError, UnreachableError
from agent.core.ports import Clock, SliceServer
from agent.core.slice.slivers import Slivers
from agent.core.slice.whole import ERROR

log = structlog.get_logger()


class Statuses:
    """``SliverStatus`` at each CM. The caller holds the CM.

    Args:
        server: the CMs.
        slivers: what they hold.
        clock: time.
        limits: how often a settled CM is asked, and how many failures in a row count.
        cms: URNs of the CMs in use.
    """

    def __init__(
        self, server: SliceServer, slivers: Slivers, clock: Clock, limits: CycleSettings, cms: Sequence[str]
    ) -> None:
        self._server = server
        self._slivers = slivers
        self._clock = clock
        self._limits = limits
        self._read_at: dict[str, datetime] = {}
        slivers.at_work.look = self.read
        self._untold = dict.fromkeys(cms, 0)
        """CM -> statuses in a row that it could not tell."""

    def update(self, cm: str, *, force: bool) -> None:
        """Read which machines there are, and how they are where something is under way or the last is old.

        Args:
            cm: the CM.
            force: read the status in any case.
        """
        sliver = self._slivers.read(cm)
        if sliver is not None and (force or self._is_under_way(cm) or self._is_old(cm)):
            self.read(cm)

    def _is_under_way(self, cm: str) -> bool:
        return self._slivers.has_starting(cm) or self._slivers.at_work.is_busy(cm)

    def _is_old(self, cm: str) -> bool:
        last = self._read_at.get(cm)
        return last is None or (self._clock.steady() - last).total_seconds() >= self._limits.settled_status

    def read(self, cm: str) -> None:
        """Read the state of each machine, and settle what became of those that were starting.

        A CM tells no status while one machine of the sliver is not reserved to us any more. Such a machine
        is looked for and, after several sightings, counts as gone; and boot deadlines are kept without a
        status once several in a row failed. A CM that is busy or out of reach says nothing of machines.

        Raises:
            CloudlabError: no status was to be had.
        """
        try:
            status = self._server.sliver_status(cm)
        except (BusyError, UnreachableError):
            raise
        except EarlierSliceError as error:
            # Nobody will be told it ever: what is ready is, and boot deadlines are kept.
            log.info("no status is told of what an earlier slice has there", cm=cm, error=str(error))
            self._slivers.settle(cm, None)
            return
        except CloudlabError as error:
            self._untold[cm] += 1
            if self._untold[cm] >= self._limits.gone_sightings:
                self._slivers.settle(cm, None)
            if error.code == ERROR:
                # It looked at each machine, as it does only while it is not at work.
                self._slivers.at_work.over(cm)
                self._look_for_unreserved(cm)
            raise
        self._untold[cm] = 0
        self._read_at[cm] = self._clock.steady()
        if status is not None:
            self._slivers.settle(cm, status)
            self._slivers.at_work.heard(status)

    def _look_for_unreserved(self, cm: str) -> None:
        """Find out which machine spoils the status: the list of free machines names it, and changes none."""
        try:
            listed = self._server.survey(cm)
        except CloudlabError as error:
            log.info("not known which machine spoils the status", cm=cm, error=str(error))
            return
        self._slivers.unreserved.note_listed(cm, listed)
