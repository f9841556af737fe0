"""The ledger's records of other slices: put aside while another is kept, and taken back with their slice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import groupby

from agent.core.model import LeftBehind
from agent.ledger.cms import Read, as_text, as_time

_OF_A_SLICE = {
    "holdings": "",
    "intents": "",
    "revocations": "",
    "names": "",
    "teardowns": "",
    "fences": "",
    # A pause is meant for the agent, whichever slice it keeps; a teardown names its slice.
    "drains": " WHERE NOT (node_id = '' AND reason = 'pause')",
}
"""Table -> which of its rows are about what a slice holds."""


class SliceRecords:
    """Keeps what is known of one slice from what is known of others.

    Args:
        writing: begins a transaction.
        read: runs a query.

    Raises:
        LedgerError: from each method: the file cannot be read or written.
    """

    def __init__(self, writing: Callable[[], AbstractContextManager[sqlite3.Connection]], read: Read) -> None:
        self._writing = writing
        self._read = read

    def begin(self, urn: str, now: datetime) -> tuple[LeftBehind, ...]:
        """Keep this slice from now on; return what is known to be held in others.

        What is known of the one that was kept before is put aside, and what was put aside of this one is
        taken back. What no slice is remembered for is this one's. A sliver whose lease ran out is forgotten.

        Args:
            urn: of the slice. Upper and lower case are one, as for Cloudlab.
            now: the time.
        """
        # On a full disk an agent that keeps its slice can start, and empty machines that Cloudlab takes.
        if self._read("SELECT urn FROM slice", tuple) != ((urn,),) or self._read(
            "SELECT 1 FROM set_aside LIMIT 1", tuple
        ):
            self._change(urn, now)
        rows = self._read(
            "SELECT slice, cm, record, row FROM set_aside WHERE cm != '' ORDER BY slice, cm", tuple
        )
        found = (_left(*key, [(r[2], json.loads(r[3])) for r in at]) for key, at in groupby(rows, _at))
        return tuple(left for left in found if left.machines or left.has_sliver or left.asked)

    def _change(self, urn: str, now: datetime) -> None:
        with self._writing() as connection:
            kept = connection.execute("SELECT urn FROM slice").fetchone()
            if kept is not None and kept[0].lower() != urn.lower():
                _put_aside(connection, kept[0])
            _take_back(connection, urn)
            connection.execute("INSERT OR REPLACE INTO slice VALUES (1, ?)", (urn,))
            connection.execute(
                "DELETE FROM set_aside WHERE (slice, cm) IN (SELECT slice, cm FROM set_aside"
                " WHERE record = 'holdings' AND json_extract(row, '$.expires') <= ?)",
                (as_text(now),),
            )


def _put_aside(connection: sqlite3.Connection, urn: str) -> None:
    for table, which in _OF_A_SLICE.items():
        _copy(connection, urn, table, which)
        connection.execute(f"DELETE FROM {table}{which}")  # noqa: S608 - our words
    # Where a CM is called holds for every slice, and is wanted again once the other has forgotten the CM.
    _copy(connection, urn, "cms", "")


def _copy(connection: sqlite3.Connection, urn: str, table: str, which: str) -> None:
    rows = connection.execute(f"SELECT * FROM {table}{which}")  # noqa: S608 - our words
    names = [column[0] for column in rows.description]
    for row in [dict(zip(names, values, strict=True)) for values in rows]:
        kept = (urn, row.get("cm", row.get("urn", "")), table, json.dumps(row))
        connection.execute("INSERT INTO set_aside VALUES (?, ?, ?, ?)", kept)


def _take_back(connection: sqlite3.Connection, urn: str) -> None:
    kept = connection.execute(
        "SELECT record, row FROM set_aside WHERE lower(slice) = lower(?)", (urn,)
    ).fetchall()
    for table, text in kept:
        row, how = json.loads(text), "IGNORE" if table == "cms" else "REPLACE"
        places = ", ".join("?" for _ in row)
        connection.execute(
            f"INSERT OR {how} INTO {table} ({', '.join(row)}) VALUES ({places})",  # noqa: S608 - our words
            list(row.values()),
        )
    connection.execute("DELETE FROM set_aside WHERE lower(slice) = lower(?)", (urn,))


def _at(row: tuple[str, str, str, str]) -> tuple[str, str]:
    return row[0], row[1]


def _left(urn: str, cm: str, records: Iterable[tuple[str, Mapping[str, str]]]) -> LeftBehind:
    """Gather what is known of one CM for another slice."""
    rows = list(records)
    held = next((row for table, row in rows if table == "holdings"), None)
    expires = held["expires"] if held else None
    return LeftBehind(
        slice=urn,
        cm=cm,
        machines=tuple(sorted(json.loads(held["machines"]))) if held else (),
        has_sliver=bool(held and held["there"] and held["made"]),
        expires=as_time(expires) if expires else None,
        asked=tuple(sorted({row["client_id"] for table, row in rows if table == "intents"})),
        nodes=tuple(sorted(row["name"] for table, row in rows if table == "names")),
    )
