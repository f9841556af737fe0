"""The ledger's records of whole CMs: where each is called, and which ones are emptied."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from agent.core.model import CmTeardown

T = TypeVar("T")
_WISHES = (("drains", "cm"), ("teardowns", "cm"))
_HELD = (*((table, "cm") for table in ("holdings", "intents", "revocations", "names")), ("cms", "urn"))
"""Tables, and the column in which each has a CM's URN."""


class Read(Protocol):
    """Runs a query."""

    def __call__(
        self, query: str, make: Callable[[Sequence[Any]], T], arguments: Sequence[object] = (), /
    ) -> tuple[T, ...]:
        """Return what ``make`` makes of each row."""


class CmRecords:
    """Reads and writes them.

    Args:
        writing: begins a transaction.
        read: runs a query.

    Raises:
        LedgerError: from each method: the file cannot be read or written.
    """

    def __init__(self, writing: Callable[[], AbstractContextManager[sqlite3.Connection]], read: Read) -> None:
        self._writing = writing
        self._read = read

    def put_urls(self, urls: Mapping[str, str]) -> None:
        """Store or replace where CMs are called: URN -> URL."""
        if not urls.items() - self.urls().items():
            return
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO cms VALUES (?, ?)", list(urls.items()))

    def urls(self) -> dict[str, str]:
        """Return what is stored: URN -> URL."""
        return dict(self._read("SELECT urn, url FROM cms ORDER BY urn", lambda row: (row[0], row[1])))

    def put_teardown(self, wish: CmTeardown) -> None:
        """Store or replace an administrator's wish for a CM."""
        due = as_text(wish.deadline) if wish.deadline else None
        row = (wish.cm, wish.who, as_text(wish.since), due, wish.lifted)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO teardowns VALUES (?, ?, ?, ?, ?)", row)

    def remove_teardown(self, cm: str) -> None:
        """Forget it; no error where there is none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM teardowns WHERE cm = ?", (cm,))

    def teardowns(self) -> tuple[CmTeardown, ...]:
        """Return what is stored, oldest first."""
        return self._read(
            "SELECT cm, who, since, deadline, lifted FROM teardowns ORDER BY since, cm",
            lambda r: CmTeardown(r[0], r[1], as_time(r[2]), as_time(r[3]) if r[3] else None, bool(r[4])),
        )

    def rename(self, old: str, new: str) -> None:
        """Keep under another URN what is known of a CM, in place of what was known under that one."""
        with self._writing() as connection:
            for table, column in (*_HELD, *_WISHES):
                change = f"UPDATE OR REPLACE {table} SET {column} = ? WHERE {column} = ?"  # noqa: S608
                connection.execute(change, (new, old))

    def take_up(self, renamed: Mapping[str, str], urls: Mapping[str, str]) -> None:
        """Take over what agent.conf says of the CMs.

        Args:
            renamed: URN -> the one that a CM has there now.
            urls: URN -> URL of all that are there.
        """
        for old, new in renamed.items():
            self.rename(old, new)
        self.put_urls(urls)

    def forget(self, cm: str) -> None:
        """Forget all that was held at a CM; no error where nothing was.

        What people wished there stays, so that whoever strikes it can tell them.
        """
        with self._writing() as connection:
            for table, column in _HELD:
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (cm,))  # noqa: S608


def as_text(time: datetime) -> str:
    """Write a time so that text sorts as time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def as_time(text: str) -> datetime:
    """Read what ``as_text`` wrote."""
    return datetime.fromisoformat(text)
