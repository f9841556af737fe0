"""Which CMs take no change now, since they are at work for the slice: nothing is spent on trying there.

A server of 2021 refuses every change, with code 14, from the begin of a start phase until each machine of it
is up or given up (``GeniAggregate.pm Busy``): 5 to 27 minutes after an AddNodes, a moment after a
DeleteNodes. One of 2016 does so only while it holds the slice's lock. Its statuses tell which of them a CM
is: the newer one has keys that the older one has not, and reads "changing" though some machines do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.desk import Desk
from agent.core.errors import BusyError, CloudlabError, EndingError
from agent.core.events import EventKind, OfCm
from agent.core.jumps import on_the_wall
from agent.core.model import SliverStatus

CHANGING = "changing"
"""The word of ``SliverStatus`` for an aggregate that is at work, and for a machine that boots."""
LONGEST_WORK = 2400.0
"""Seconds; a CM gives a machine up after 1000, or 1600 where an image is loaded (``WaitForNodes``)."""
_SURE = 2
"""Refusals with a status in between after which a CM counts as one that waits for its machines."""


@dataclass(frozen=True)
class Work:
    """What a CM is at."""

    since: datetime
    """By the steady clock."""
    settles: datetime
    """A status before this does not end it: the start phase may not have begun yet."""


class AtWork:
    """Remembers which CMs are at work. Thread-safe.

    Args:
        desk: the manager's.
        grace: seconds after a change of ours until its start phase has begun.
        limit: seconds after which a change is tried again, whatever the statuses say.

    Attributes:
        look: reads the status at a CM, where somebody gave that.
        is_due: tells whether machines are to be given back at a CM.
    """

    def __init__(self, desk: Desk, *, grace: float, limit: float) -> None:
        self._desk = desk
        self._grace = timedelta(seconds=grace)
        self._limit = timedelta(seconds=limit)
        self.look: Callable[[str], object] = lambda _cm: None
        self.is_due: Callable[[str], bool] = lambda _cm: False
        self._works: dict[str, Work] = {}
        self._holds_back: set[str] = set()
        """CMs that are known to take no change while machines boot."""
        self._refusals: dict[str, int] = {}
        """CM -> changes that it refused since a status showed it at rest, or it took one."""
        self._heard: dict[str, datetime] = {}
        self._had_turn: set[str] = set()
        """CMs where it was tried to give machines back since the last work there, or the last machines."""
        self._deferred: set[str] = set()
        """CMs where machines would have been asked for if others were not to be given back first."""
        self._ending: dict[str, datetime] = {}
        """CM -> when it first said that the sliver there is being deleted, by the steady clock."""

    # --- what is told

    def refused(self, cm: str, error: CloudlabError) -> None:
        """Take note that a CM refused a change: while it is at work, or since the sliver is being deleted."""
        if isinstance(error, EndingError):
            self.ends(cm, str(error))
        if not isinstance(error, BusyError):
            return
        with self._desk.lock:
            self._refusals[cm] = self._refusals.get(cm, 0) + 1
            self._begin(cm)

    def changed(self, cm: str) -> None:
        """Take note that a change of ours was carried out, or may have been: its start phase follows."""
        with self._desk.lock:
            self._refusals.pop(cm, None)
            if cm in self._holds_back:
                self._begin(cm, self._grace)

    def heard(self, status: SliverStatus) -> None:
        """Take in a status that was read now."""
        cm, now = status.cm, self._desk.clock.steady()
        is_changing = status.status == CHANGING
        with self._desk.lock:
            self._heard[cm] = now
            if status.waits_for_boots or (is_changing and any(n.status != CHANGING for n in status.nodes)):
                self._holds_back.add(cm)
            work = self._works.get(cm)
            if is_changing and cm in self._holds_back:
                if work is None:
                    self._begin(cm)
                return
            if work is None or now < work.settles:
                return
            if is_changing and self._refusals.get(cm, 0) >= _SURE:
                return
            if not is_changing:
                self._refusals.pop(cm, None)
        self.over(cm)

    def over(self, cm: str) -> None:
        """Take note that a CM is not at work: what waited for that is done now, deletes first."""
        with self._desk.lock:
            was_at_work = self._works.pop(cm, None) is not None
        if was_at_work:
            self._desk.wake("delete_nodes", "add_nodes")

    def gone(self, cm: str) -> None:
        """Take note that a CM holds nothing for us: nothing of what was known of its sliver holds."""
        with self._desk.lock:
            self._works.pop(cm, None)
            self._refusals.pop(cm, None)
            self._ending.pop(cm, None)

    def ends(self, cm: str, error: str) -> None:
        """Take note that a CM said, with these words, that the sliver there is being deleted."""
        with self._desk.lock:
            is_news = cm not in self._ending
            self._ending.setdefault(cm, self._desk.clock.steady())
        if is_news:
            text = f"the sliver there is being deleted; nothing is asked of its CM before it is gone: {error}"
            self._desk.tell(EventKind.TERMINATING, cm, text, OfCm(cm))

    # --- what follows

    def why(self, cm: str) -> str:
        """Say while what a CM takes no change; "" where it may take one."""
        now = self._desk.clock.steady()
        with self._desk.lock:
            if cm in self._ending:
                return "while the sliver there is being deleted"
            work = self._works.get(cm)
        if work is None or now - work.since >= self._limit:
            return ""
        since = on_the_wall(self._desk.clock, work.since)
        return f"while it is at work for the slice, since {since:%H:%M:%SZ}"

    def is_busy(self, cm: str) -> bool:
        """Tell whether a status is waited for."""
        with self._desk.lock:
            return cm in self._works

    def is_ending(self, cm: str) -> bool:
        """Tell whether a CM said that the sliver there is being deleted."""
        with self._desk.lock:
            return cm in self._ending

    def deletions(self) -> dict[str, datetime]:
        """Return CM -> when it first said that the sliver there is being deleted, by the steady clock."""
        with self._desk.lock:
            return dict(self._ending)

    def why_now(self, cm: str) -> str:
        """Say while what a CM takes no change, as ``why``; it is asked where the last status is old.

        Somebody else may have had machines started there since.
        """
        with self._desk.lock:
            last, now = self._heard.get(cm), self._desk.clock.steady()
            is_old = cm in self._holds_back and (last is None or now - last >= self._grace)
        if not is_old or self.why(cm):
            return self.why(cm)
        try:
            self.look(cm)
        except BusyError as error:
            self.refused(cm, error)
        except CloudlabError as error:
            # What it is asked for next tells as much.
            self._desk.note(f"it is not known whether {cm} is at work: {error}")
        return self.why(cm)

    def goes_after_deletes(self, cm: str) -> bool:
        """Tell whether machines are to be given back first, since that would wait for new ones to boot."""
        with self._desk.lock:
            comes_first = cm in self._holds_back and cm not in self._had_turn
        if not comes_first or not self.is_due(cm):
            return False
        with self._desk.lock:
            self._deferred.add(cm)
        self._desk.wake("delete_nodes")
        return True

    @contextmanager
    def turn(self, cm: str) -> Iterator[None]:
        """Watch a try to give machines back: whatever becomes of it, machines may be asked for after it."""
        try:
            yield
        finally:
            if not self.why(cm):
                with self._desk.lock:
                    self._had_turn.add(cm)
                    was_deferred = cm in self._deferred
                    self._deferred.discard(cm)
                if was_deferred:
                    self._desk.wake("add_nodes")

    def asked(self, cm: str) -> None:
        """Take note that machines are asked for: what is to be given back has its turn before more are."""
        with self._desk.lock:
            self._had_turn.discard(cm)

    def _begin(self, cm: str, grace: timedelta = timedelta()) -> None:
        now = self._desk.clock.steady()
        self._works[cm] = Work(now, now + grace)
        self._had_turn.discard(cm)
