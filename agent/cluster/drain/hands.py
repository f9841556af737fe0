"""Does acts on Slurm beside each other, so that one that hangs costs no other.

Who asks for an act waits for it a moment only, and takes up what came of it when it is over: in its own
thread, so that nothing but the act itself runs beside it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from agent.core import threads
from agent.core.errors import SlurmError

log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds that are waited for acts before what comes after them is begun all the same."""
MOST_AT_ONCE = 8
"""Acts of one kind that run at once: however many of them hang, those of other kinds have their turn.

Each is one command, or one request, to a controller that has others to serve.
"""

Result = TypeVar("Result")


@dataclass
class _Deed:
    """One act that was asked for."""

    name: str
    about: frozenset[Hashable]
    act: Callable[[], Any]
    then: Callable[[Any], None]
    otherwise: Callable[[SlurmError], None]
    result: Any = None
    error: BaseException | None = None
    is_late: bool = False
    """It took longer than anybody waits; it is taken up when it is over."""

    @property
    def kind(self) -> str:
        """Of its kind only so many run at once."""
        return self.name.partition(" ")[0]


class Hands:
    """Begins acts and takes up what came of them. All but the acts themselves is for one thread.

    Args:
        ring: called, from a thread of the act, when one is over that took longer than anybody waited.
        patience: seconds that ``gather`` waits.
    """

    def __init__(self, ring: Callable[[], None], patience: float = PATIENCE) -> None:
        self._ring = ring
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[_Deed]] = {}
        """Kind -> its acts, oldest first."""
        self._running: dict[int, _Deed] = {}
        self._over: deque[_Deed] = deque()
        self._at: Counter[Hashable] = Counter()
        """What acts are about that are not taken up yet."""
        self._of_kind: Counter[str] = Counter()
        """Kind -> how many run."""
        self._awaited = 0
        """Acts under way that are not late."""
        self._taken_up: set[Hashable] = set()
        """What those were about that were taken up since the last ``take_up``."""

    def is_at(self, about: Hashable) -> bool:
        """Tell whether an act about this is under way, or over and not taken up yet."""
        with self._changed:
            return self._at[about] > 0

    def was_at(self, about: Hashable) -> bool:
        """Tell whether one was under way at any time since the last ``take_up``.

        What was read of Slurm since then may not show yet what that act did.
        """
        with self._changed:
            return self._at[about] > 0 or about in self._taken_up

    def begin(
        self,
        name: str,
        about: Iterable[Hashable],
        act: Callable[[], Result],
        then: Callable[[Result], None],
        otherwise: Callable[[SlurmError], None] | None = None,
    ) -> None:
        """Begin an act, as soon as fewer than ``MOST_AT_ONCE`` of its kind run.

        Args:
            name: says in a message what it is; its first word is its kind.
            about: what ``is_at`` is asked for, such as the job.
            act: what is done; runs beside all others.
            then: takes what ``act`` returned.
            otherwise: takes the error; None to say it in the log alone.
        """
        deed = _Deed(name, frozenset(about), act, then, otherwise or _nothing)
        with self._changed:
            self._waiting.setdefault(deed.kind, deque()).append(deed)
            self._at.update(deed.about)
            self._awaited += 1
        self._start_some(deed.kind)

    def gather(self) -> None:
        """Take up what is over; wait for what was begun, for some seconds in all.

        What takes longer is not waited for again.
        """
        until = time.monotonic() + self._patience
        while deed := self._next(until):
            _take_up(deed)

    def take_up(self) -> None:
        """Take up what is over, and wait for nothing: right before Slurm is read."""
        while deed := self._next(0):
            _take_up(deed)
        with self._changed:
            self._taken_up.clear()

    def _next(self, until: float) -> _Deed | None:
        """Return the next act that is over, waiting until then for one; None where there is none."""
        with self._changed:
            while not self._over and self._awaited and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._over:
                deed = self._over.popleft()
                for about in deed.about:
                    self._at[about] -= 1
                    if not self._at[about]:
                        del self._at[about]
                self._taken_up |= deed.about
                return deed
            for deed in (*self._running.values(), *(d for each in self._waiting.values() for d in each)):
                deed.is_late = True
            self._awaited = 0
            return None

    def _start_some(self, kind: str) -> None:
        while True:
            with self._changed:
                if kind not in self._waiting or self._of_kind[kind] >= MOST_AT_ONCE:
                    return
                deed = self._waiting[kind].popleft()
                if not self._waiting[kind]:
                    del self._waiting[kind]
                self._running[id(deed)] = deed
                self._of_kind[kind] += 1
            try:
                threads.errand(f"slurm-{deed.name}", partial(self._do_and_go_on, deed))
            except RuntimeError:  # no thread can be started: better late than never
                self._do(deed)

    def _do_and_go_on(self, deed: _Deed) -> None:
        self._do(deed)
        self._start_some(deed.kind)

    def _do(self, deed: _Deed) -> None:
        try:
            deed.result = deed.act()
        except Exception as error:  # noqa: BLE001 - it is raised again where the act is taken up
            deed.error = error
        with self._changed:
            del self._running[id(deed)]
            self._of_kind[deed.kind] -= 1
            self._over.append(deed)
            is_late = deed.is_late
            self._awaited -= not is_late
            self._changed.notify_all()
        if is_late:
            self._ring()


def _take_up(deed: _Deed) -> None:
    """Go on after an act; a fault over one costs no other."""
    if isinstance(deed.error, SlurmError):
        log.warning("an act on Slurm failed and is tried again", act=deed.name, error=str(deed.error))
    elif deed.error is not None:
        log.error("an act on Slurm failed by a fault of ours", act=deed.name, exc_info=deed.error)
        return
    try:
        if deed.error is None:
            deed.then(deed.result)
        else:
            deed.otherwise(deed.error)
    except Exception:
        log.exception("what follows an act on Slurm failed by a fault of ours", act=deed.name)


def _nothing(_: SlurmError) -> None:
    """Leave it at what the log says."""
