"""CMs that agent.conf has no more: told, looked after until nothing is held there, and then forgotten."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from agent.core.config import ManagerConfig
from agent.core.desk import Desk
from agent.core.errors import LedgerError
from agent.core.events import EventKind, OfCm
from agent.core.jumps import ahead
from agent.core.model import Holding, Intent, RetiredCm
from agent.core.slice.slivers import Slivers
from agent.core.slice.words import retired_words

log = structlog.get_logger()


class Retired:
    """Watches over them. Thread-safe.

    They are read, renewed, emptied and given back as all others, and asked for nothing more. One is over once
    nothing of ours is left there, or its lease has run out while it is silent.

    Args:
        config: which they are, time, and for how long a lost call may still take effect.
        desk: told of each.
        slivers: what they hold.
        askable: URNs of the CMs that can be asked.
    """

    def __init__(self, config: ManagerConfig, desk: Desk, slivers: Slivers, askable: Collection[str]) -> None:
        self._urls, self._askable = dict(config.retired), frozenset(askable)
        self._renamed = dict(config.renamed)
        self._desk = desk
        self._slivers = slivers
        self._patience = timedelta(seconds=config.cycle.lost_call_patience)
        self._begun = config.clock.steady()
        self._looking = threading.Lock()
        self._told: set[str] = set()

    def __contains__(self, cm: object) -> bool:
        """Tell whether a CM is one of them, over or not."""
        return cm in self._urls

    def is_over(self, cm: str) -> bool:
        """Tell whether a CM is one of them that is not asked any more."""
        return self._slivers.holdings.is_forgotten(cm)

    def reports(self) -> tuple[RetiredCm, ...]:
        """Tell what each of them holds that is not over."""
        return tuple(self._report(cm) for cm in self._urls if not self.is_over(cm))

    def look(self) -> None:
        """Tell of each once, and of those with another URN; end what is over, lost calls too."""
        if not (self._urls or self._renamed) or not self._looking.acquire(blocking=False):
            return
        try:
            while self._renamed:
                old, new = self._renamed.popitem()
                message = f"{new} is what {old} is called in agent.conf now: what is held there is known"
                self._desk.tell(EventKind.RENAMED, new, message, OfCm(new))
            for report in self.reports():
                try:
                    self._look_at(report)
                except LedgerError as error:
                    log.warning("a CM cannot be forgotten; tried again", cm=report.urn, error=str(error))
        finally:
            self._looking.release()

    def _look_at(self, report: RetiredCm) -> None:
        cm, now, slivers = report.urn, self._desk.clock.steady(), self._slivers
        # One that can be asked is given the time to answer after a start.
        heard_by = self._begun + self._patience if report.can_be_asked else self._begun
        # The end of a lease is told by the wall clock.
        further, read_at = ahead(self._desk.clock), slivers.read_at.get(cm)
        on_wall = read_at + further if read_at else None
        if why := why_over(report, now + further, heard_by + further, on_wall):
            self._forget(report, why)
            return
        if cm not in self._told:
            self._told.add(cm)
            self._desk.tell(EventKind.RETIRED, cm, retired_words(report), OfCm(cm))
        if not report.heard and now >= heard_by:
            asked = slivers.intents.in_flight(cm=cm)
            self._end(cm, [i for i in asked if now - i.asked > self._patience])

    def _end(self, cm: str, intents: list[Intent]) -> None:
        if not intents:
            return
        self._slivers.intents.strike(intents)
        named = ", ".join(f"the {intent.kind} of {intent.client_id}" for intent in intents)
        message = f"{cm} is not in agent.conf and is silent: {named} is not waited for any more"
        self._desk.tell(EventKind.RETIRED, cm, message, OfCm(cm))

    def _forget(self, report: RetiredCm, why: str) -> None:
        cm = report.urn
        self._slivers.intents.strike(self._slivers.intents.in_flight(cm=cm))
        self._slivers.holdings.forget(cm)
        with self._desk.lock:
            self._slivers.expires.pop(cm, None)
        message = f"{cm} is not in agent.conf, and {why}: it is not asked any more"
        self._desk.tell(EventKind.RETIRED, cm, message, OfCm(cm))

    def _report(self, cm: str) -> RetiredCm:
        slivers = self._slivers
        holding, asked = slivers.holdings.of(cm), slivers.intents.in_flight(cm=cm)
        with self._desk.lock:
            heard, sliver = cm in slivers.book.slivers, slivers.book.slivers.get(cm)
            names, held = set(slivers.book.not_gone(cm)), slivers.book.held(cm)
            expires = slivers.expires.get(cm)
        report = remembered(cm, self._urls[cm], holding, asked, can_be_asked=cm in self._askable)
        if not heard:
            return report
        # One manifest that denies a sliver does not make it gone.
        has_sliver = report.has_sliver if sliver is None else slivers.gate.is_ours(cm, sliver, held)
        return replace(
            report,
            machines=tuple(sorted(names.union(report.machines))),
            has_sliver=has_sliver,
            expires=expires,
            heard=True,
        )


def with_retired(
    config: ManagerConfig, known: Sequence[str], cmlist: Sequence[str] | None
) -> tuple[tuple[str, ...], ManagerConfig]:
    """Find the CMs that are in use, with those that something is still held at or was asked of.

    Args:
        config: what is remembered, and which CMs are known to be retired.
        known: URNs of all CMs that can be asked.
        cmlist: URNs of those that are to be in use; None for all.

    Returns:
        The CMs in use, retired ones last, and the config with all that are retired.
    """
    wanted = dict.fromkeys(known if cmlist is None else cmlist)
    stored = {h.cm for h in config.holdings.holdings() if h.is_ours_to_return}
    stored |= {intent.cm for intent in config.intents.intents()}
    left = {cm: config.retired.get(cm, "") for cm in (*config.retired, *sorted(stored - wanted.keys()))}
    in_use = dict.fromkeys((*wanted, *(cm for cm in left if cm in known)))
    return tuple(in_use), replace(config, retired=left)


def remembered(
    cm: str, url: str, holding: Holding | None, asked: Iterable[Intent], *, can_be_asked: bool
) -> RetiredCm:
    """Tell of a CM that left agent.conf what the ledger has.

    Args:
        cm: its URN.
        url: where it is called; "" where that is not known.
        holding: what it held when it was last heard; None where it never was.
        asked: what was asked of it and is not settled.
        can_be_asked: whether the daemon can call it.
    """
    return RetiredCm(
        urn=cm,
        url=url,
        machines=tuple(sorted(holding.machines if holding else ())),
        has_sliver=holding is not None and holding.is_ours_to_return,
        expires=holding.expires if holding else None,
        asked=tuple(sorted({intent.client_id for intent in asked})),
        can_be_asked=can_be_asked,
    )


def why_over(report: RetiredCm, now: datetime, heard_by: datetime, read_at: datetime | None) -> str:
    """Tell why a CM that left agent.conf need not be looked after any more; "" where it has to be.

    All times are those of the wall clock.

    Args:
        report: what it holds.
        now: the time.
        heard_by: until when a silent one is waited for.
        read_at: when its manifest was last read; None for not in this run.
    """
    has_something = report.machines or report.has_sliver or report.asked
    if not has_something and (report.heard or now >= heard_by):
        return "nothing is held there for us"
    ends = report.expires
    if ends is None or now < max(ends, heard_by) or (read_at is not None and read_at >= ends):
        return ""
    return f"its lease ended at {ends:%Y-%m-%dT%H:%M:%SZ}, and it is silent"
