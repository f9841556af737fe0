"""The ledger: a SQLite file with what neither Cloudlab nor Slurm knows.

Intents in flight, revocations, what CMs held when they were last heard, administrators' wishes and the
history of events. It can be deleted at any time: the next cycles rebuild what matters, and only history is
lost.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from pydantic import Field

from agent.core.errors import LedgerError
from agent.core.estimates import WrongEstimate
from agent.core.events import Event, PastEvent
from agent.core.model import AdminDrain, GrowOrder, Holding, Intent, IntentKind, KnownAs, MachineId, Place
from agent.core.said import Revocation
from agent.core.settings import Section
from agent.ledger.cms import CmRecords, as_text, as_time
from agent.ledger.file import LedgerFile
from agent.ledger.slices import SliceRecords

log = structlog.get_logger()

PRUNE_EVERY = 256
"""Events between two looks at how many there are."""
_EVENT_COLUMNS = "id, time, kind, subject, message, data"


class LedgerSettings(Section):
    """What survives a restart."""

    path: Path = Field(default=Path("/var/lib/esagent/ledger.db"), description="the ledger, a SQLite file")
    max_events: int = Field(
        default=100_000, ge=100, description="events that are kept; the oldest are dropped beyond that"
    )


class Ledger:
    """Implements the stores of ``agent.core.ports`` and ``agent.cluster.wishes.orders``; thread-safe.

    A file that is damaged is moved aside and a new one begun.

    Args:
        path: the file, or ":memory:".
        max_events: events that are kept.

    Attributes:
        cms: what is kept of whole CMs.
        begin_slice: tells whose slice it is from now on (``SliceRecords.begin``).

    Raises:
        LedgerError: from each method but ``record``: the file cannot be opened, read or written.
    """

    def __init__(self, path: Path | str, *, max_events: int = 100_000) -> None:
        self._max_events = max_events
        self._news = threading.Condition()
        self._ended = False
        self._since_prune = 0
        self._file = LedgerFile(str(path))
        self._writing, self._read = self._file.writing, self._file.read
        (self._last,) = self._read("SELECT coalesce(max(id), 0) FROM events", lambda row: int(row[0]))
        self.cms = CmRecords(self._writing, self._read)
        self.begin_slice = SliceRecords(self._writing, self._read).begin

    def close(self) -> None:
        """End; the ledger must not be used afterwards."""
        self._file.close()

    # --- intents

    def add_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents down; they are on the disk when this returns."""
        rows = [(i.kind.value, i.cm, i.client_id, as_text(i.asked)) for i in intents]
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)", rows)

    def remove_intents(self, intents: Sequence[Intent]) -> None:
        """Strike intents; one that is not there is passed over."""
        rows = [(i.kind.value, i.cm, i.client_id) for i in intents]
        with self._writing() as connection:
            connection.executemany("DELETE FROM intents WHERE kind = ? AND cm = ? AND client_id = ?", rows)

    def intents(self) -> tuple[Intent, ...]:
        """Return the intents in flight, oldest first."""
        return self._read(
            "SELECT kind, cm, client_id, asked FROM intents ORDER BY asked, client_id",
            lambda row: Intent(IntentKind(row[0]), row[1], row[2], as_time(row[3])),
        )

    # --- revocations

    def put_revocation(self, revocation: Revocation) -> None:
        """Store or replace one."""
        row = (
            revocation.cm,
            revocation.node_id,
            revocation.client_id,
            as_text(revocation.deadline),
            as_text(revocation.noticed),
            as_text(revocation.last_notice),
            revocation.releasable,
        )
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO revocations VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def remove_revocation(self, place: Place) -> None:
        """Forget one; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM revocations WHERE cm = ? AND node_id = ?", place)

    def revocations(self) -> tuple[Revocation, ...]:
        """Return what is stored, earliest deadline first."""
        return self._read(
            "SELECT node_id, client_id, deadline, noticed, last_notice, releasable, cm FROM revocations"
            " ORDER BY deadline, node_id, cm",
            lambda r: Revocation(
                *(r[0], r[1], as_time(r[2]), as_time(r[3]), as_time(r[4]), bool(r[5])), cm=r[6]
            ),
        )

    # --- what CMs held

    def put_holding(self, holding: Holding) -> None:
        """Store or replace one."""
        expires = as_text(holding.expires) if holding.expires else None
        machines = json.dumps(dict(holding.machines), sort_keys=True)
        parts = json.dumps(sorted(holding.parts))
        row = (holding.cm, machines, expires, holding.there, holding.made, holding.sliver_urn, parts)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO holdings VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def holdings(self) -> tuple[Holding, ...]:
        """Return what each CM held when it was last heard."""
        return self._read(
            "SELECT cm, machines, expires, there, made, sliver_urn, parts FROM holdings ORDER BY cm",
            lambda r: Holding(
                cm=r[0],
                machines=dict(json.loads(r[1])),
                expires=as_time(r[2]) if r[2] else None,
                there=bool(r[3]),
                made=bool(r[4]),
                sliver_urn=r[5],
                parts=frozenset(json.loads(r[6])),
            ),
        )

    def forget_cm(self, cm: str) -> None:
        """Forget all that was held at a CM, and no wish; no error where nothing was."""
        self.cms.forget(cm)

    # --- what machines joined as

    def put_name(self, known: KnownAs) -> None:
        """Store or replace one."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?, ?, ?)",
                (*known.machine, known.name, known.mode),
            )

    def remove_name(self, cm: str, client_id: str) -> None:
        """Forget one; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM names WHERE cm = ? AND client_id = ?", (cm, client_id))

    def names(self) -> tuple[KnownAs, ...]:
        """Return what is stored."""
        return self._read(
            "SELECT cm, client_id, node_id, sliver_id, name, mode FROM names ORDER BY cm, client_id",
            lambda row: KnownAs(MachineId(*row[:4]), row[4], row[5]),
        )

    # --- credentials of slices

    def put_credential(self, slice_urn: str, uuid: str, text: str, expires: datetime, now: datetime) -> None:
        """Store or replace the credential of a slice, and forget all that have ended."""
        with self._writing() as connection:
            connection.execute("DELETE FROM credentials WHERE expires <= ?", (as_text(now),))
            row = (slice_urn.lower(), uuid, text, as_text(expires))
            connection.execute("INSERT OR REPLACE INTO credentials VALUES (?, ?, ?, ?)", row)

    def credentials(self, slice_urn: str) -> tuple[str, ...]:
        """Return the texts of those stored for slices of that URN, oldest first."""
        query = "SELECT text FROM credentials WHERE slice = ? ORDER BY rowid"
        return self._read(query, lambda row: str(row[0]), (slice_urn.lower(),))

    # --- fences

    def put_fence(self, name: str) -> None:
        """Store the name of a reservation that we make in Slurm; no error where it is stored."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO fences VALUES (?)", (name,))

    def remove_fence(self, name: str) -> None:
        """Forget one; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM fences WHERE name = ?", (name,))

    def fences(self) -> tuple[str, ...]:
        """Return the names that are stored."""
        return self._read("SELECT name FROM fences ORDER BY name", lambda row: str(row[0]))

    # --- what machines are

    def put_machine_type(self, hardware_type: str, shape: str) -> None:
        """Store or replace the words about a type; they are the cluster's."""
        with self._writing() as connection:
            row = (hardware_type, shape)
            connection.execute("INSERT OR REPLACE INTO machine_types VALUES (?, ?)", row)

    def machine_types(self) -> dict[str, str]:
        """Return what is stored: hardware type -> words."""
        query = "SELECT hardware_type, shape FROM machine_types ORDER BY hardware_type"
        return dict(self._read(query, lambda row: (row[0], row[1])))

    # --- wrong estimates

    def keep_wrong(self, marks: Sequence[WrongEstimate]) -> None:
        """Store these in place of all that are stored."""
        rows = [
            (m.shape, m.where, m.is_node, m.job, m.under, m.reason, as_text(m.since), m.rules, m.alone)
            for m in marks
        ]
        with self._writing() as connection:
            connection.execute("DELETE FROM wrong_estimates")
            connection.executemany("INSERT INTO wrong_estimates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def wrong(self) -> tuple[WrongEstimate, ...]:
        """Return what is stored, oldest first."""
        return self._read(
            "SELECT shape, place, is_node, under, job, reason, since, rules, alone FROM wrong_estimates"
            " ORDER BY since, shape, place, job",
            lambda r: WrongEstimate(
                *(r[0], r[1], bool(r[2]), r[3], r[4], r[5], as_time(r[6]), r[7]), alone=bool(r[8])
            ),
        )

    # --- administrators' drains

    def put_drain(self, drain: AdminDrain) -> None:
        """Store or replace one; with a CM also in place of one of the same node_id without."""
        due = as_text(drain.deadline) if drain.deadline else None
        meant = (*drain.place, drain.client_id, drain.sliver_id)
        said = (drain.reason, drain.who, as_text(drain.since), due, drain.give_back)
        row = (*meant, *said, drain.takes_over, drain.lifted)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO drains VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            if drain.cm and drain.node_id:
                connection.execute("DELETE FROM drains WHERE cm = '' AND node_id = ?", (drain.node_id,))

    def remove_drain(self, cm: str, node_id: str) -> None:
        """Forget one; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM drains WHERE cm = ? AND node_id = ?", (cm, node_id))

    def drains(self) -> tuple[AdminDrain, ...]:
        """Return what is stored, oldest first."""
        return self._read(
            "SELECT cm, node_id, client_id, sliver_id, reason, who, since, deadline, give_back, takes_over,"
            " lifted FROM drains ORDER BY since, node_id, cm",
            lambda r: AdminDrain(
                node_id=r[1],
                reason=r[4],
                who=r[5],
                since=as_time(r[6]),
                deadline=as_time(r[7]) if r[7] else None,
                give_back=bool(r[8]),
                sliver_id=r[3],
                cm=r[0],
                client_id=r[2],
                takes_over=bool(r[9]),
                lifted=bool(r[10]),
            ),
        )

    # --- an administrator's wish for more machines

    def put_grow_order(self, order: GrowOrder) -> None:
        """Store one in place of an older one."""
        row = (order.machines, order.who, as_text(order.until))
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO grow_order VALUES (1, ?, ?, ?)", row)

    def remove_grow_order(self) -> None:
        """Forget it; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM grow_order")

    def grow_order(self) -> GrowOrder | None:
        """Return what is stored; None for nothing."""
        stored = self._read(
            "SELECT machines, who, until FROM grow_order", lambda r: GrowOrder(int(r[0]), r[1], as_time(r[2]))
        )
        return next(iter(stored), None)

    # --- history

    def record(self, event: Event) -> None:
        """Append one event; a fault is logged, never raised."""
        try:
            row = (as_text(event.time), event.kind.value, event.subject, event.message, _json(event.fields))
            with self._writing() as connection:
                inserted = connection.execute(
                    "INSERT INTO events (time, kind, subject, message, data) VALUES (?, ?, ?, ?, ?)", row
                )
                self._prune(connection)
            with self._news:
                self._last = max(self._last, inserted.lastrowid or 0)
                self._news.notify_all()
        except (LedgerError, ValueError, TypeError) as error:
            log.warning("an event is lost from the history", message=event.message, error=str(error))

    def events(self, subject: str = "", *, newest: int = 100) -> tuple[PastEvent, ...]:
        """Return the newest events about a subject ("" for all), oldest first."""
        return tuple(event for _, event in self.history((subject,) if subject else (), newest=newest))

    def history(
        self, subjects: Collection[str] = (), *, newest: int = 100, after: int | None = None
    ) -> tuple[tuple[int, PastEvent], ...]:
        """Return (id, event), oldest first.

        Args:
            subjects: any of them; none for all. An event may have several, with commas between them.
            newest: how many at most: the newest, or with ``after`` the oldest after it.
            after: only what was recorded after the event of this id.
        """
        about = " OR ".join("',' || subject || ',' LIKE ?" for _ in subjects)
        like = [f"%,{re.sub(r'[%_]', '_', subject)},%" for subject in subjects]
        order = "DESC" if after is None else "ASC"
        found = self._read(
            f"SELECT {_EVENT_COLUMNS} FROM events WHERE id > ?"  # noqa: S608 - our words
            f"{f' AND ({about})' if about else ''} ORDER BY id {order} LIMIT ?",
            lambda row: (int(row[0]), _event(row)),
            (after or 0, *like, newest),
        )
        return found[::-1] if after is None else found

    def told(self, kinds: Collection[str], *, newest: int = 1000) -> tuple[PastEvent, ...]:
        """Return the newest events of these kinds, oldest first."""
        marks = ", ".join("?" for _ in kinds)
        query = (
            f"SELECT {_EVENT_COLUMNS} FROM events WHERE kind IN ({marks})"  # noqa: S608 - our words
            " ORDER BY id DESC LIMIT ?"
        )
        return self._read(query, _event, (*kinds, newest))[::-1]

    def last_event(self) -> int:
        """Return the id of the newest event; 0 before the first."""
        return self._last

    def wait_for_event(self, after: int, timeout: float) -> None:
        """Wait until an event is recorded after the one of this id, or ``let_go`` is called."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._last > after, timeout)

    def let_go(self) -> None:
        """Let those go who wait for events, now and from now on."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _prune(self, connection: sqlite3.Connection) -> None:
        self._since_prune += 1
        if self._since_prune < min(PRUNE_EVERY, self._max_events):
            return
        self._since_prune = 0
        connection.execute(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (self._max_events,)
        )


def _event(row: Sequence[Any]) -> PastEvent:
    return PastEvent(as_time(row[1]), row[2], row[3], row[4], json.loads(row[5]))


def _json(data: Mapping[str, object]) -> str:
    return json.dumps(dict(data))
