"""What the CMs hold for the slice, and what the ledger remembers of it: read, and left as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from agent.check.finding import Finding, fine, warning
from agent.check.ownership import Held
from agent.cloudlab.retired import find_departed
from agent.cloudlab.settings import CmSettings
from agent.cloudlab.urn import same_urn
from agent.core.errors import LedgerError, NotFoundError
from agent.core.model import Holding, Intent, IntentKind, LeftBehind, Sliver
from agent.core.ports import SliceServer
from agent.core.slice.retired import remembered
from agent.core.slice.words import left_behind_words, retired_words
from agent.ledger.ledger import Ledger


@dataclass(frozen=True)
class Remembered:
    """What the ledger has; nothing, where there is none."""

    intents: tuple[Intent, ...] = ()
    holdings: tuple[Holding, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    """URN -> URL where each CM was called."""
    left_behind: tuple[LeftBehind, ...] = ()
    """What is held in other slices."""
    machine_types: Mapping[str, str] = field(default_factory=dict)
    """Hardware type -> words about what Slurm saw of it."""


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


def check_departed(
    cms: Sequence[CmSettings], known: Remembered, callers: Collection[str]
) -> Iterator[Finding]:
    """Warn of what is held or was asked for at CMs that agent.conf does not have.

    Args:
        cms: those that it has.
        known: what the ledger has.
        callers: URNs of those who may call us: a CM that may not takes its machines without a word.
    """
    departed = find_departed(cms, known.holdings, known.intents, known.urls)
    for old, new in departed.renamed.items():
        seen = f"is what {old} is called in agent.conf now: what is held there is kept under that name"
        yield fine(f"CM {new}", seen)
    for cm, url in departed.retired.items():
        holding = next((holding for holding in known.holdings if holding.cm == cm), None)
        asked = [intent for intent in known.intents if intent.cm == cm]
        report = remembered(cm, url, holding, asked, can_be_asked=bool(url))
        seen, _, mend = retired_words(report).partition(": ")
        yield warning(f"CM {cm}", seen, mend)
        if not any(same_urn(cm, urn) for urn in callers):
            refused = "what it says of the machines that are held there is refused"
            yield warning(f"CM {cm}", refused, f"name it in [callback] allowed_urns: {cm}")


def check_left_behind(known: Remembered) -> Iterator[Finding]:
    """Warn of what is held or was asked for in other slices than the one in agent.conf.

    Args:
        known: what the ledger has.
    """
    for left in known.left_behind:
        seen, _, mend = left_behind_words(left).partition("; ")
        yield warning(f"CM {left.cm}", seen.removeprefix(f"{left.cm} "), mend)


def _find(server: SliceServer, cm: str) -> Sliver | None:
    try:
        return server.find_sliver(cm)
    except NotFoundError:
        # There is no such slice: the daemon makes it.
        return None


def recall(path: Path, slice_urn: str, now: datetime) -> Remembered:
    """Read a ledger, of this version or an older one, through a copy.

    The daemon may have it open, and no older ledger is to be taken over by a look at it.

    Args:
        path: the ledger.
        slice_urn: of the slice in agent.conf; "" where it is not known: all is taken for that slice's then.
        now: the time.

    Raises:
        LedgerError: it cannot be read, or is of a newer agent.
    """
    try:
        if not path.exists():
            return Remembered()
        with TemporaryDirectory(prefix="esagent-check-") as directory:
            return _recall(path, Path(directory, "ledger.db"), slice_urn, now)
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be read: {error.strerror}") from error


def _recall(path: Path, copy: Path, slice_urn: str, now: datetime) -> Remembered:
    _copy(path, copy)
    try:
        with closing(Ledger(copy)) as ledger:
            left = ledger.begin_slice(slice_urn, now) if slice_urn else ()
            urls, types = ledger.cms.urls(), ledger.machine_types()
            return Remembered(ledger.intents(), ledger.holdings(), urls, left, types)
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
