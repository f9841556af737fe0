"""The protective brake: growth stops when new machines fail one after the other, and resumes by a probe.

Only asking for machines is held up: drains, renewals and deletes that are due go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.core.config import CycleSettings
from agent.core.desk import Desk
from agent.core.events import EventKind, Failures, PastEvent
from agent.core.jumps import on_the_wall
from agent.core.model import SliverNode
from agent.core.scaling.backoff import Backoff, lengthen
from agent.core.slice.inventory import Inventory

TOLD = (
    EventKind.GROWTH_STOPPED,
    EventKind.PROBE,
    EventKind.PROBE_FAILED,
    EventKind.GROWTH_RESUMED,
)
"""The events that tell each turn of it: a restart goes on with what they say."""


@dataclass(frozen=True)
class Brake:
    """What is remembered of new machines. Pure: each method returns the brake that follows."""

    in_a_row: int = 0
    """New machines that failed since the last one that was of use."""
    stopped: Backoff | None = None
    """Why growth stopped, and until when not even a probe is asked for; None while it goes on."""
    since: datetime | None = None
    """When it stopped."""
    probing: bool = False
    """The probe of this pause was asked for."""
    due: datetime | None = None
    """When the probe that was asked for last was due; None where none was."""

    @classmethod
    def after(cls, told: Iterable[PastEvent], *, first: float, limit: float) -> Brake:
        """Return the brake as an earlier run left it: what it told of it says all but a row not yet complete.

        Args:
            told: the events of ``TOLD``, oldest first; those before any of them may be missing.
            first: seconds of the first pause.
            limit: seconds of the longest pause.
        """
        brake = cls()
        for event in told:
            if event.kind == EventKind.GROWTH_RESUMED:
                brake = cls()
            elif event.kind == EventKind.PROBE:
                brake = brake.asked(event.time)
            elif event.kind in {EventKind.GROWTH_STOPPED, EventKind.PROBE_FAILED}:
                reason, failures = event.data.get("reason"), event.data.get("failures")
                pause = lengthen(
                    brake.stopped, event.time, str(reason or event.message), first=first, limit=limit
                )
                count = failures if isinstance(failures, int) else brake.in_a_row + 1
                brake = cls(count, pause, brake.since or event.time)
        return brake

    def failed(self, now: datetime, reason: str, *, most: int, first: float, limit: float) -> Brake:
        """Count a new machine that failed to boot or to join.

        One that was asked for before growth stopped, and fails in the pause, does not lengthen the pause.

        Args:
            now: time.
            reason: why it failed.
            most: failures in a row that stop growth.
            first: seconds of the first pause before a probe; each further one is twice as long.
            limit: seconds of the longest pause.
        """
        count = self.in_a_row + 1
        if count < most and self.stopped is None:
            return replace(self, in_a_row=count)
        if self.stopped is not None and not self.probing and now < self.stopped.until:
            return replace(self, in_a_row=count)
        pause = lengthen(self.stopped, now, reason, first=first, limit=limit)
        return Brake(count, pause, self.since or now)

    def worked(self) -> Brake:
        """Count a new machine that is of use: growth goes on."""
        return Brake()

    def asked(self, now: datetime) -> Brake:
        """Note that machines were asked for: while growth is stopped, that is the probe of this pause."""
        if self.stopped is None:
            return self
        # A probe that comes to nothing, such as one that no CM had a machine for, may be repeated by then.
        pause = replace(self.stopped, until=now + timedelta(seconds=self.stopped.delay))
        return replace(self, stopped=pause, probing=True, due=self.stopped.until)

    def refused(self) -> Brake:
        """Note that a CM refused what was asked of it: if that was the probe, it is due as before."""
        if self.stopped is None or not self.probing or self.due is None:
            return self
        return replace(self, stopped=replace(self.stopped, until=self.due), probing=False, due=None)

    def allowance(self, now: datetime, *, coming: bool) -> int | None:
        """Return how many machines may be asked for; None sets no limit.

        Args:
            now: time.
            coming: a machine is asked for or starting, or has yet to prove itself.
        """
        if self.stopped is None:
            return None
        return int(now >= self.stopped.until and not coming)


class GrowthBrake:
    """Keeps the brake and says what it does. Thread-safe.

    Args:
        settings: how many failures, how long the pauses are, and how long a machine may take to boot.
        desk: the manager's.
        inventory: knows the machines that have yet to prove themselves.
        told: what an earlier run told of it, oldest first.
        cms: URNs of the CMs in use, preferred first.

    Attributes:
        may_prove: tells whether one of these machines, which are not proven, may still prove itself; set by a
            manager for which it is not enough that a machine is ready.
    """

    def __init__(
        self,
        settings: CycleSettings,
        desk: Desk,
        inventory: Inventory,
        told: Iterable[PastEvent] = (),
        cms: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._inventory = inventory
        self._lock = threading.Lock()
        now = desk.clock.steady()
        # What was told by a clock that was ahead then is no reason to wait until it is that late.
        past = [replace(event, time=min(event.time, now)) for event in told]
        self._brake = Brake.after(past, first=settings.growth_probe_after, limit=settings.growth_probe_limit)
        self.may_prove: Callable[[Sequence[SliverNode]], bool] = bool
        self._cms = tuple(cms)
        self._tried: list[str] = []
        """The CMs that were asked, or whose machines failed, since one was of use: the last one last."""

    def failed(self, subject: str, reason: str, cm: str) -> None:
        """Take note that a new machine failed.

        Args:
            subject: its node_id.
            reason: why.
            cm: where it is.
        """
        self.passed(cm)
        now = self._desk.clock.steady()
        with self._lock:
            before = self._brake
            self._brake = after = before.failed(
                now,
                f"{subject}: {reason}",
                most=self._settings.growth_stop_after,
                first=self._settings.growth_probe_after,
                limit=self._settings.growth_probe_limit,
            )
        if after.stopped is None or after.stopped == before.stopped:
            return
        reason, words = after.stopped.reason, self._words(after)
        if before.stopped is None:
            message = f"growth stops: {after.in_a_row} new machines in a row failed, the last one {words}"
            self._desk.tell(EventKind.GROWTH_STOPPED, "", message, Failures(after.in_a_row, reason))
        else:
            message = f"growth stays stopped: {words}"
            self._desk.tell(EventKind.PROBE_FAILED, subject, message, Failures(after.in_a_row, reason))

    def worked(self, subject: str) -> None:
        """Take note that a new machine is of use.

        Args:
            subject: its node_id.
        """
        self._resume(subject, f"growth goes on: {subject} booted and is of use")

    def resume(self, who: str) -> bool:
        """Let growth go on by hand; False where it was not stopped.

        Args:
            who: who wants it, for the event.
        """
        return self._resume("", f"growth goes on: {who} wants it")

    def _resume(self, subject: str, message: str) -> bool:
        with self._lock:
            before = self._brake
            self._brake = before.worked()
            self._tried.clear()
        if before.stopped is None:
            return False
        self._desk.tell(EventKind.GROWTH_RESUMED, subject, message)
        self._desk.wake("ensure_sliver", "add_nodes")
        return True

    def allowance(self) -> int | None:
        """Return how many machines may be asked for now; None sets no limit."""
        if self._brake.stopped is None:
            return None
        now = self._desk.clock.steady()
        # A CM that is silent tells of none what became of it: the other CMs are not kept waiting for it.
        since = now - timedelta(seconds=self._settings.boot_timeout)
        unproven = self._inventory.unproven(since)
        coming = self._inventory.is_asked(since) or (bool(unproven) and self.may_prove(unproven))
        with self._lock:
            return self._brake.allowance(now, coming=coming)

    def turns(self) -> tuple[str, ...]:
        """Return the CMs in the order in which machines are asked of them.

        Preferred first; while growth is stopped the CM comes first that was tried longest ago, so that one
        whose machines all fail does not get every probe.
        """
        with self._lock:
            if self._brake.stopped is None:
                return self._cms
            return tuple(
                sorted(self._cms, key=lambda cm: self._tried.index(cm) + 1 if cm in self._tried else 0)
            )

    def before(self, cm: str) -> tuple[str, ...]:
        """Return the CMs whose turn to be probed comes before that of this one; none while growth goes on."""
        turns = self.turns() if self._brake.stopped is not None else ()
        return turns[: turns.index(cm)] if cm in turns else ()

    def passed(self, cm: str) -> None:
        """Take note that a CM had its turn."""
        with self._lock:
            self._tried = [each for each in self._tried if each != cm] + [cm]

    def refused(self) -> None:
        """Take note that nothing comes of what was asked for last: another CM may be asked for the probe."""
        with self._lock:
            self._brake = self._brake.refused()

    def asked(self, count: int, cm: str) -> None:
        """Take note that so many machines are asked for: while growth is stopped, they are the probe."""
        self.passed(cm)
        with self._lock:
            self._brake = after = self._brake.asked(self._desk.clock.steady())
        if after.stopped is not None:
            self._desk.tell(EventKind.PROBE, "", f"asks for {count} as a probe, while growth is stopped")

    def words(self) -> str:
        """Tell why growth is stopped and when it is probed; "" while it goes on."""
        brake = self._brake
        if brake.since is None:
            return ""
        since = on_the_wall(self._desk.clock, brake.since)
        return f"growth is stopped since {since:%Y-%m-%dT%H:%M:%SZ}: {self._words(brake)}"

    def _words(self, brake: Brake) -> str:
        assert brake.stopped is not None
        until = on_the_wall(self._desk.clock, brake.stopped.until)
        when = "a probe is under way" if brake.probing else f"a probe after {until:%H:%M:%SZ}"
        return f"{brake.stopped.reason}; {when}"
