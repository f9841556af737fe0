"""Keeps the store of revocations in step with memory, away from the calls that Cloudlab makes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

import structlog

from agent.core import threads
from agent.core.desk import Lock
from agent.core.errors import LedgerError
from agent.core.model import Place
from agent.core.ports import RevocationStore
from agent.core.said import Revocation

log = structlog.get_logger()

PATIENCE = 5.0
"""Seconds that a step waits for the store before it begins all the same."""


class RevocationMemory:
    """What the store holds, and how it follows. Thread-safe.

    Args:
        store: read once, here.
        now: the time, by the steady clock: none that an earlier run noticed counts as of the future, though
            the clock may have been set back since.

    Attributes:
        stored: place -> revocation, as in the store.

    Raises:
        LedgerError: the store cannot be read.
    """

    def __init__(self, store: RevocationStore, now: datetime) -> None:
        self._store = store
        self._following = threading.Lock()
        """Held by the thread that writes; nobody waits for it."""
        known = (replace(r, noticed=min(r.noticed, now)) for r in store.revocations())
        self.stored = {r.place: r for r in known}

    def keep(self, revocations: Mapping[Place, Revocation], lock: Lock) -> None:
        """Write down what changed; what cannot be written is told, and written the next time.

        A disk that hangs keeps nobody for longer than ``PATIENCE``.

        Args:
            revocations: place -> revocation, those in force.
            lock: guards them.
        """
        if not self._following.acquire(blocking=False):
            return
        with lock:
            now = dict(revocations)
        if now == self.stored:
            self._following.release()
            return
        try:
            following = threads.errand("revocations", partial(self._follow, now))
        except RuntimeError:
            self._following.release()
            raise
        following.join(PATIENCE)

    def _follow(self, now: Mapping[Place, Revocation]) -> None:
        try:
            self._write(now)
        except LedgerError as error:
            # Cloudlab repeats its countdown: what is lost is only when the first notice came.
            log.warning("revocations cannot be stored; tried again at the next step", error=str(error))
        finally:
            self._following.release()

    def _write(self, now: Mapping[Place, Revocation]) -> None:
        for place, revocation in now.items():
            if self.stored.get(place) != revocation:
                self._store.put_revocation(revocation)
                self.stored[place] = revocation
        for place in self.stored.keys() - now.keys():
            self._store.remove_revocation(place)
            del self.stored[place]
