"""Calls that must not be repeated blindly: the intent first, and the manifest after any doubt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    CloudlabError,
    LedgerError,
    LostReplyError,
    MalformedReplyError,
    UnreachableError,
)
from agent.core.model import Intent, IntentKind, Sliver
from agent.core.ports import Clock, IntentStore
from agent.core.slice.settling import Settlement, settle_intents, taken_over

log = structlog.get_logger()

_REFUSALS = (AlreadyExistsError, BadArgumentsError)
"""Nothing was carried out, and others' machines may have the names."""


class Intents:
    """The intents in flight: those of the store, mirrored so that reading them costs nothing.

    Whoever reads waits for nobody who writes: those wait for each other, so that mirror and store end alike.

    Args:
        store: read once, here.
        clock: time.
        patience: seconds that a call whose reply was lost may still take effect.

    Raises:
        LedgerError: from ``declare`` and ``strike``; the mirror then is as the store.
    """

    def __init__(self, store: IntentStore, clock: Clock, patience: float) -> None:
        self._store = store
        self._clock = clock
        self._patience = timedelta(seconds=patience)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        now = clock.steady()
        known = (replace(i, asked=taken_over(i.asked, now, patience)) for i in store.intents())
        self._mirror = {(i.kind, i.cm, i.client_id): i for i in known}

    def in_flight(self, kind: IntentKind | None = None, cm: str | None = None) -> tuple[Intent, ...]:
        """Return intents, of one kind or all, at one CM or all."""
        with self._lock:
            return tuple(
                i for i in self._mirror.values() if kind in {None, i.kind} and (cm is None or cm == i.cm)
            )

    def overdue(self) -> tuple[Intent, ...]:
        """Return those that no manifest has settled for longer than they may still take effect."""
        now = self._clock.steady()
        return tuple(i for i in self.in_flight() if now - i.asked > self._patience)

    def declare(self, kind: IntentKind, cm: str, client_ids: Iterable[str]) -> tuple[Intent, ...]:
        """Write down what is about to be asked."""
        now = self._clock.steady()
        intents = tuple(Intent(kind, cm, client_id, now) for client_id in client_ids)
        with self._writing:
            self._store.add_intents(intents)
            with self._lock:
                self._mirror.update({(i.kind, i.cm, i.client_id): i for i in intents})
        return intents

    def strike(self, intents: Sequence[Intent]) -> None:
        """Strike what is settled."""
        if not intents:
            return
        with self._writing:
            self._store.remove_intents(intents)
            with self._lock:
                for intent in intents:
                    self._mirror.pop((intent.kind, intent.cm, intent.client_id), None)

    def still_open(self, intents: Iterable[Intent]) -> tuple[Intent, ...]:
        """Return those that are not settled."""
        with self._lock:
            return tuple(i for i in intents if (i.kind, i.cm, i.client_id) in self._mirror)

    def settle(
        self, cm: str, present: Collection[str], doubted: Collection[str], now: datetime, patience: float
    ) -> Settlement:
        """Strike what a CM's manifest settles (see ``settle_intents``), and tell what that was.

        What cannot be struck stays in flight until the next manifest: nothing else waits for the disk.
        """
        settlement = settle_intents(self.in_flight(cm=cm), present, now, patience=patience, doubted=doubted)
        try:
            self.strike(settlement.done + settlement.void)
        except LedgerError as error:
            log.warning("what a manifest settles cannot be struck; tried again", cm=cm, error=str(error))
            return Settlement((), ())
        return settlement


def carry_out(
    intents: Intents,
    asked: Sequence[Intent],
    call: Callable[[], Sliver | None],
    look: Callable[[], Sliver | None],
    *,
    done: Callable[[Sliver | None], object],
    learn: Callable[[Sliver | None], object],
) -> None:
    """Make a call whose intents are written down, and find out what became of it.

    Returns normally when all of it happened, whatever the reply was. What is still open after a doubtful
    reply stays in flight: later manifests settle it.

    Args:
        intents: where ``asked`` is written.
        asked: what the call asks for.
        call: makes it; returns the new manifest.
        look: reads the manifest.
        done: takes the manifest of a reply in, and settles intents by it.
        learn: takes one in that was looked at after a doubtful reply.

    Raises:
        CloudlabError: it did not happen, or that cannot be told yet.
    """
    try:
        sliver = call()
    except CloudlabError as error:
        if is_nothing_done(error):
            intents.strike(asked)
            raise
        is_refused = isinstance(error, _REFUSALS) and not error.begun
        if is_refused:
            # Before a manifest is learnt from: what has these names there was asked for by somebody else.
            intents.strike(asked)
        else:
            log.info("a call did not end well; the manifest decides", error=str(error))
        try:
            seen = look()
        except CloudlabError as second:
            log.warning("the manifest cannot be read either; it is looked at again", error=str(second))
            raise error from second
        learn(seen)
        if not is_refused:
            left = [i for i in intents.still_open(asked) if not _seems_gone(i, seen)]
            if not left:
                return
            if not is_doubtful(error):
                intents.strike(left)
        raise
    done(sliver)


def _seems_gone(intent: Intent, seen: Sliver | None) -> bool:
    """Tell whether a manifest lacks what was to go: that it is gone the next ones tell."""
    return intent.kind is IntentKind.DELETE and (seen is None or seen.node(intent.client_id) is None)


def is_nothing_done(error: CloudlabError) -> bool:
    """Tell whether a call that ended so was not carried out: it was never made, or turned away at the door.

    Only the request that counts can say so: a CM that cannot be reached afterwards says nothing of it.
    """
    return error.begun is False or (error.begun is None and isinstance(error, UnreachableError))


def is_doubtful(error: CloudlabError) -> bool:
    """Tell whether a call that ended so may still take effect later."""
    if error.begun or isinstance(error, LostReplyError | MalformedReplyError):
        return True
    return type(error) is CloudlabError and error.code is None
