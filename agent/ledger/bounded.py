"""The ledger as the daemon uses it: nobody waits long for a disk that hangs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog

from agent.core import threads
from agent.core.errors import LedgerError
from agent.core.estimates import WrongEstimate
from agent.core.events import Event, PastEvent
from agent.core.model import AdminDrain, CmTeardown, GrowOrder, Holding, Intent, KnownAs, LeftBehind, Place
from agent.core.said import Revocation
from agent.ledger.cms import CmRecords
from agent.ledger.ledger import Ledger, LedgerSettings

log = structlog.get_logger()

LIMIT = 10.0
"""Seconds that something may take before it counts as not done: longer than the ledger waits for a backup."""
EVENT_PATIENCE = 1.0
"""Seconds that who tells an event waits until it is in the history."""
CLOSE_TIME = 2.0
"""Seconds that the end waits for what is not written yet."""
MOST_EVENTS = 10_000
"""Events that wait for the disk at most; what comes beyond is in the log alone."""
T = TypeVar("T")


class Clerk:
    """Does one thing after the other, on a thread that is there while there is something to do. Thread-safe.

    Once something was not done in time, nobody waits for what comes behind it until all of it is done.

    Args:
        name: what it does; in the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._todo: deque[Callable[[], object]] = deque()
        self._at_work = False
        self._slow = False
        """Somebody has lost patience."""
        self._late = False
        """Something was not done in time."""

    def do(self, call: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
        """Have something done, and wait for it.

        Args:
            call: what is done.
            undo: done after it, where it was begun and nobody waited for its end.

        Raises:
            LedgerError: it was not done in time, and will not have been; or what ``call`` raised.
        """
        done: Future[T] = Future()
        with self._lock:
            if self._late:
                raise LedgerError("the ledger does not answer: does its disk hang?")
            self._put(partial(_fulfil, done, call))
        try:
            return done.result(LIMIT)
        except TimeoutError:
            with self._lock:
                self._late = self._at_work
                if not done.cancel() and undo is not None:
                    self._put(undo)
            raise LedgerError(f"the ledger does not answer within {LIMIT:g} s: does its disk hang?") from None

    def leave(self, call: Callable[[], object], patience: float) -> bool:
        """Have something done, and wait at most ``patience`` seconds; False where too much waits already."""
        done: Future[object] = Future()
        with self._lock:
            if len(self._todo) >= MOST_EVENTS:
                return False
            is_slow = self._slow or self._late
            self._put(partial(_fulfil, done, call))
        if not is_slow and not wait([done], patience).done:
            with self._lock:
                self._slow = self._at_work
        return True

    def finish(self, seconds: float) -> None:
        """Wait until all is done, for so many seconds at most."""
        done: Future[None] = Future()
        with self._lock:
            self._put(partial(done.set_result, None))
        wait([done], seconds)

    def _put(self, call: Callable[[], object]) -> None:
        """Queue it, under the lock."""
        self._todo.append(call)
        if not self._at_work:
            threads.errand(f"ledger-{self._name}", self._work)
            self._at_work = True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._todo:
                    self._at_work = self._slow = self._late = False
                    return
                call = self._todo.popleft()
            try:
                call()
            except Exception:  # what nobody waits for must not cost what comes after it
                log.exception("something was not written into the ledger")


def _fulfil(done: Future[T], call: Callable[[], T]) -> None:
    """Keep a promise, unless it was cancelled."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        done.set_exception(error)
    else:
        done.set_result(value)


class BoundedCms:
    """The ledger's records of whole CMs, likewise.

    Args:
        records: what writes and reads.
        writer: does what is written.
        reader: does what is read.
    """

    def __init__(self, records: CmRecords, writer: Clerk, reader: Clerk) -> None:
        self._records = records
        self._writer = writer
        self._reader = reader

    def urls(self) -> dict[str, str]:
        """Return where CMs are called: URN -> URL."""
        return self._reader.do(self._records.urls)

    def take_up(self, renamed: Mapping[str, str], urls: Mapping[str, str]) -> None:
        """Take over what agent.conf says of the CMs: see ``CmRecords.take_up``."""
        self._writer.do(partial(self._records.take_up, renamed, urls))

    def put_teardown(self, wish: CmTeardown) -> None:
        """Store or replace an administrator's wish for a CM."""
        self._writer.do(partial(self._records.put_teardown, wish), self._restoring(wish.cm))

    def remove_teardown(self, cm: str) -> None:
        """Forget it."""
        self._writer.do(partial(self._records.remove_teardown, cm), self._restoring(cm))

    def _restoring(self, cm: str) -> Callable[[], object]:
        stored = next((wish for wish in self.teardowns() if wish.cm == cm), None)
        if stored is None:
            return partial(self._records.remove_teardown, cm)
        return partial(self._records.put_teardown, stored)

    def teardowns(self) -> tuple[CmTeardown, ...]:
        """Return what is stored, oldest first."""
        return self._reader.do(self._records.teardowns)


class BoundedLedger:
    """A ledger whose every method answers in time, or raises ``LedgerError``.

    What has to be on the disk before something is done is there when the method returns. What took too long
    is undone as soon as the disk goes on, so that it never comes into force behind anybody's back.

    Args:
        ledger: what writes and reads.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._writer = Clerk("writer")
        self._reader = Clerk("reader")

    def close(self) -> None:
        """End, once all is written; a disk that hangs is not waited for."""
        self._writer.finish(CLOSE_TIME)
        try:
            self._writer.do(self._ledger.close)
        except LedgerError as error:
            log.warning("the ledger is left as it is", error=str(error))

    # --- intents

    def add_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents down; they are on the disk when this returns."""
        undo = partial(self._ledger.remove_intents, intents)
        self._writer.do(partial(self._ledger.add_intents, intents), undo)

    def remove_intents(self, intents: Sequence[Intent]) -> None:
        """Strike intents."""
        self._writer.do(partial(self._ledger.remove_intents, intents))

    def intents(self) -> tuple[Intent, ...]:
        """Return the intents in flight, oldest first."""
        return self._reader.do(self._ledger.intents)

    # --- what memory has, and hands in again where it was not written

    def put_revocation(self, revocation: Revocation) -> None:
        """Store or replace one."""
        self._writer.do(partial(self._ledger.put_revocation, revocation))

    def remove_revocation(self, place: Place) -> None:
        """Forget one."""
        self._writer.do(partial(self._ledger.remove_revocation, place))

    def revocations(self) -> tuple[Revocation, ...]:
        """Return what is stored, earliest deadline first."""
        return self._reader.do(self._ledger.revocations)

    def put_holding(self, holding: Holding) -> None:
        """Store or replace one."""
        self._writer.do(partial(self._ledger.put_holding, holding))

    def holdings(self) -> tuple[Holding, ...]:
        """Return what each CM held when it was last heard."""
        return self._reader.do(self._ledger.holdings)

    def put_name(self, known: KnownAs) -> None:
        """Store or replace one."""
        self._writer.do(partial(self._ledger.put_name, known))

    def remove_name(self, cm: str, client_id: str) -> None:
        """Forget one."""
        self._writer.do(partial(self._ledger.remove_name, cm, client_id))

    def names(self) -> tuple[KnownAs, ...]:
        """Return what is stored."""
        return self._reader.do(self._ledger.names)

    def put_credential(self, slice_urn: str, uuid: str, text: str, expires: datetime, now: datetime) -> None:
        """Store or replace the credential of a slice, and forget all that have ended."""
        self._writer.do(partial(self._ledger.put_credential, slice_urn, uuid, text, expires, now))

    def credentials(self, slice_urn: str) -> tuple[str, ...]:
        """Return the texts of those stored for slices of that URN, oldest first."""
        return self._reader.do(partial(self._ledger.credentials, slice_urn))

    def keep_wrong(self, marks: Sequence[WrongEstimate]) -> None:
        """Store these in place of all that are stored."""
        self._writer.do(partial(self._ledger.keep_wrong, marks))

    def wrong(self) -> tuple[WrongEstimate, ...]:
        """Return what is stored, oldest first."""
        return self._reader.do(self._ledger.wrong)

    def put_fence(self, name: str) -> None:
        """Store the name of a reservation that we make in Slurm."""
        self._writer.do(partial(self._ledger.put_fence, name))

    def remove_fence(self, name: str) -> None:
        """Forget one."""
        self._writer.do(partial(self._ledger.remove_fence, name))

    def fences(self) -> tuple[str, ...]:
        """Return the names that are stored."""
        return self._reader.do(self._ledger.fences)

    def put_machine_type(self, hardware_type: str, shape: str) -> None:
        """Store or replace the words about a type."""
        self._writer.do(partial(self._ledger.put_machine_type, hardware_type, shape))

    def machine_types(self) -> dict[str, str]:
        """Return what is stored: hardware type -> words."""
        return self._reader.do(self._ledger.machine_types)

    # --- administrators' wishes

    def put_drain(self, drain: AdminDrain) -> None:
        """Store or replace one."""
        self._writer.do(partial(self._ledger.put_drain, drain), self._restoring_drains(drain.place))

    def remove_drain(self, cm: str, node_id: str) -> None:
        """Forget one."""
        undo = self._restoring_drains((cm, node_id))
        self._writer.do(partial(self._ledger.remove_drain, cm, node_id), undo)

    def _restoring_drains(self, place: Place) -> Callable[[], object]:
        """Return what puts the wishes for a machine back as they are stored now."""
        stored = [drain for drain in self.drains() if drain.node_id == place[1]]

        def restore() -> None:
            self._ledger.remove_drain(*place)
            for drain in stored:
                self._ledger.put_drain(drain)

        return restore

    def drains(self) -> tuple[AdminDrain, ...]:
        """Return what is stored, oldest first."""
        return self._reader.do(self._ledger.drains)

    def put_grow_order(self, order: GrowOrder) -> None:
        """Store one in place of an older one."""
        self._writer.do(partial(self._ledger.put_grow_order, order), self._restoring_grow_order())

    def remove_grow_order(self) -> None:
        """Forget it."""
        self._writer.do(self._ledger.remove_grow_order, self._restoring_grow_order())

    def _restoring_grow_order(self) -> Callable[[], object]:
        stored = self.grow_order()
        return (
            self._ledger.remove_grow_order if stored is None else partial(self._ledger.put_grow_order, stored)
        )

    def grow_order(self) -> GrowOrder | None:
        """Return what is stored; None for nothing."""
        return self._reader.do(self._ledger.grow_order)

    # --- what is kept of whole CMs

    @property
    def cms(self) -> BoundedCms:
        """What is kept of whole CMs."""
        return BoundedCms(self._ledger.cms, self._writer, self._reader)

    def begin_slice(self, urn: str, now: datetime) -> tuple[LeftBehind, ...]:
        """Keep this slice from now on; return what is known to be held in others."""
        return self._writer.do(partial(self._ledger.begin_slice, urn, now))

    def forget_cm(self, cm: str) -> None:
        """Forget all that was held at a CM, and no wish."""
        self._writer.do(partial(self._ledger.forget_cm, cm))

    # --- history

    def record(self, event: Event) -> None:
        """Append one event; never raises, and waits for ``EVENT_PATIENCE`` at most."""
        if not self._writer.leave(partial(self._ledger.record, event), EVENT_PATIENCE):
            log.warning("an event is lost from the history: the disk hangs", message=event.message)

    def events(self, subject: str = "", *, newest: int = 100) -> tuple[PastEvent, ...]:
        """Return the newest events about a subject ("" for all), oldest first."""
        return self._reader.do(partial(self._ledger.events, subject, newest=newest))

    def history(
        self, subjects: Collection[str] = (), *, newest: int = 100, after: int | None = None
    ) -> tuple[tuple[int, PastEvent], ...]:
        """Return (id, event), oldest first: see ``Ledger.history``."""
        return self._reader.do(partial(self._ledger.history, subjects, newest=newest, after=after))

    def told(self, kinds: Collection[str], *, newest: int = 1000) -> tuple[PastEvent, ...]:
        """Return the newest events of these kinds, oldest first."""
        return self._reader.do(partial(self._ledger.told, kinds, newest=newest))

    def last_event(self) -> int:
        """Return the id of the newest event; 0 before the first."""
        return self._ledger.last_event()

    def wait_for_event(self, after: int, timeout: float) -> None:
        """Wait until an event is recorded after the one of this id, or ``let_go`` is called."""
        self._ledger.wait_for_event(after, timeout)

    def let_go(self) -> None:
        """Let those go who wait for events, now and from now on."""
        self._ledger.let_go()


def open_ledger(settings: LedgerSettings) -> BoundedLedger:
    """Open the ledger that the section [ledger] names.

    Raises:
        LedgerError: it cannot be opened.
    """
    return BoundedLedger(Ledger(settings.path, max_events=settings.max_events))
