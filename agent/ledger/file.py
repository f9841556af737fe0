"""The ledger's SQLite file: opened, taken over, moved aside; who reads waits for nobody who writes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from agent.core.errors import LedgerError
from agent.ledger.schema import SCHEMA_VERSION, UPGRADES

log = structlog.get_logger()

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes, such as a backup."""
T = TypeVar("T")


class LedgerFile:
    """A file with a connection for writing and one for reading. Thread-safe.

    A file that is damaged is moved aside and a new one begun.

    Args:
        path: the file, or ":memory:".

    Raises:
        LedgerError: from each method: the file cannot be opened, read or written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection = self._open()
        self._reading, self._reading_lock = self._connection, self._lock
        if self._path != ":memory:":
            self._reading, self._reading_lock = self._open_for_reading(), threading.RLock()

    def close(self) -> None:
        """End; it must not be used afterwards."""
        with self._lock:
            self._connection.close()
        with self._reading_lock:
            self._reading.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction; it is on the disk when the block is over."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                # Commits, or rolls back on an error.
                with self._connection:
                    yield self._connection
            except (sqlite3.Error, UnicodeError) as error:
                raise self._fault("cannot be written", error) from error

    def read(
        self, query: str, make: Callable[[Sequence[Any]], T], arguments: Sequence[object] = ()
    ) -> tuple[T, ...]:
        """Run a query; return what ``make`` makes of each row."""
        with self._reading_lock:
            try:
                rows = self._reading.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise self._fault("cannot be read", error) from error
        try:
            return tuple(make(row) for row in rows)
        except (ValueError, TypeError) as error:
            raise self._fault("has a row that cannot be read", error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError as error:
            raise self._fault("cannot be opened", error) from error
        except sqlite3.DatabaseError as error:
            aside = self._move_aside()
            log.warning("the ledger is damaged; a new one is begun", aside=str(aside), error=str(error))
        except OSError as error:
            raise self._fault("cannot be opened", error) from error
        try:
            return self._connect()
        except (sqlite3.Error, OSError) as error:
            raise self._fault("cannot be made", error) from error

    def _connect(self) -> sqlite3.Connection:
        if self._path != ":memory:":
            Path(self._path).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT, check_same_thread=False, isolation_level=None
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_for_reading(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT, check_same_thread=False, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._fault("cannot be opened", error) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # An intent that a power cut forgets is a machine that leaks: FULL puts each commit on the disk.
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger {self._path} is of a newer agent: schema version {version}, not {SCHEMA_VERSION}"
            )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        if version < SCHEMA_VERSION:
            new = "".join(UPGRADES[version:])
            connection.executescript(f"BEGIN; {new} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def _move_aside(self) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = Path(f"{self._path}.corrupt-{stamp}")
        try:
            Path(self._path).rename(aside)
            for suffix in ("-wal", "-shm"):
                side = Path(self._path + suffix)
                if side.exists():
                    side.rename(f"{aside}{suffix}")
        except OSError as error:
            raise self._fault("is damaged and cannot be moved aside", error) from error
        return aside

    def _fault(self, what: str, error: Exception) -> LedgerError:
        return LedgerError(f"the ledger {self._path} {what}: {error}")
