"""What the CMs hold for the slice, and what the ledger remembers of it: read, and left as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from agent.check.ownership import Held
from agent.core.errors import LedgerError, NotFoundError
from agent.core.model import Holding, Intent, IntentKind, Sliver
from agent.core.ports import SliceServer
from agent.ledger import Ledger


@dataclass(frozen=True)
class Remembered:
    """What the ledger has; nothing, where there is none."""

    intents: tuple[Intent, ...] = ()
    holdings: tuple[Holding, ...] = ()


def read_held(server: SliceServer, known: Remembered) -> tuple[Held, ...]:
    """Read each CM's manifest now.

    Args:
        server: the SA and the CMs.
        known: what the ledger has.

    Raises:
        CloudlabError: the SA or a CM does not answer as it should.
    """
    return tuple(
        Held(
            cm,
            _find(server, cm),
            frozenset(i.client_id for i in known.intents if i.cm == cm and i.kind is IntentKind.ADD),
            next((holding for holding in known.holdings if holding.cm == cm), None),
        )
        for cm in server.cms
    )


def _find(server: SliceServer, cm: str) -> Sliver | None:
    try:
        return server.find_sliver(cm)
    except NotFoundError:
        # There is no such slice: the daemon makes it.
        return None


def recall(path: Path) -> Remembered:
    """Read a ledger, of this version or an older one, through a copy.

    The daemon may have it open, and no older ledger is to be taken over by a look at it.

    Raises:
        LedgerError: it cannot be read, or is of a newer agent.
    """
    try:
        if not path.exists():
            return Remembered()
        with TemporaryDirectory(prefix="esagent-check-") as directory:
            return _recall(path, Path(directory, "ledger.db"))
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error.strerror}") from error


def _recall(path: Path, copy: Path) -> Remembered:
    _copy(path, copy)
    try:
        with closing(Ledger(copy)) as ledger:
            return Remembered(ledger.intents(), ledger.holdings())
    except LedgerError as error:
        raise LedgerError(str(error).replace(str(copy), str(path))) from error


def _copy(path: Path, copy: Path) -> None:
    # Without a write-ahead log nobody has it open: SQLite would make one, even to read.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error}") from error
