"""Gathers what the page shows out of the manager's memory and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agent.cluster.drain.figures import Forecast, foresee
from agent.cluster.drain.wanted import wishes_of
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.hold import hold_words
from agent.cluster.memory.teardowns import teardown_words
from agent.cluster.shrink.idle_limit import what_breaks_it
from agent.core.errors import LedgerError
from agent.core.events import PastEvent
from agent.page.history import StateHistory
from agent.page.model import Countdown, HeldBy, PageView
from agent.page.render import MAX_EVENTS


class EventHistory(Protocol):
    """Where events can be read again."""

    def events(self, subject: str = "", *, newest: int = 100) -> Sequence[PastEvent]:
        """Return the newest events about a subject ("" for all), oldest first. Raises ``LedgerError``."""


class Gatherer:
    """Looks at the manager from time to time, and tells the page what there is to show."""

    def __init__(
        self, manager: SlurmElasticSliceManager, events: EventHistory, certificate_expires: datetime
    ) -> None:
        self._manager = manager
        self._events = events
        self._certificate_expires = certificate_expires
        self._history = StateHistory()

    def look(self) -> None:
        """Remember how many machines are in each state."""
        self._history.observe(self._manager.view().nodes, self._manager.clock.now())

    def view(self) -> PageView:
        """Return what the page shows now: from memory, but for the events, which are in the ledger."""
        manager = self._manager
        now = manager.clock.now()
        agent = manager.view()
        self._history.observe(agent.nodes, now)
        plan, moment = manager.last_plan, manager.memory.now()
        events: Sequence[PastEvent] = ()
        unread = ""
        try:
            events = self._events.events(newest=MAX_EVENTS)
        except LedgerError as error:
            unread = str(error)
        forecasts = foresee(wishes_of(moment).drains, manager.drainer.outlooks, now)
        return PageView(
            now=now,
            slice_urn=manager.server.slice_urn,
            objections=what_breaks_it(moment.settings),
            agent=agent,
            hold=hold_words(moment.hold),
            teardowns=tuple(map(teardown_words, moment.teardowns.values())),
            reasons=plan.growth.reasons if plan else (),
            countdowns=tuple(_countdown(forecast) for forecast in forecasts),
            events=tuple(reversed(events)),
            certificate_expires=self._certificate_expires,
            history=self._history.samples(),
            unread=unread,
        )


def _countdown(forecast: Forecast) -> Countdown:
    drain = forecast.drain
    jobs = tuple(HeldBy(o.job.id, o.job.user, o.fate.value, o.at) for o in forecast.outlooks)
    return Countdown(
        drain.node, drain.cause.value, drain.who, drain.why, drain.deadline, forecast.empty, jobs
    )
