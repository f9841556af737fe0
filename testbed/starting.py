"""A program that was started is ready, or it is told why not: its last error, and the log that holds it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from testbed.registry import BedError
from testbed.waiting import PATIENCE, NotInTimeError, wait_for

_ERROR = re.compile(
    r"fatal|error|bad |unable|cannot|can't|failed|denied|refused|no such|exiting", re.IGNORECASE
)
_QUOTED = 2
"""Errors that are quoted: the last of all is often no more than that it ends."""
_LONGEST = 400
"""Characters of a line that are quoted."""
_KILLED = "unshare: sigprocmask unblock failed"
"""What unshare(1) of util-linux 2.38 says, and ends with status 1, when its command was killed."""


class Logs:
    """The logs of one run of a program; what is in them already belongs to earlier runs."""

    def __init__(self, *paths: Path) -> None:
        """Remember where each ends now.

        Args:
            paths: the files that it writes, those where it is likelier to tell what goes wrong first.
        """
        self._begins = {path: path.stat().st_size if path.exists() else 0 for path in paths}

    def last_words(self) -> str:
        """Quote the last errors, or else the last line, with the log that holds them.

        >>> Logs(Path("/nowhere/slurmctld.log")).last_words()
        'nothing is in /nowhere/slurmctld.log'
        """
        written = [(path, list(self._lines(path))) for path in self._begins]
        for path, lines in written:
            if errors := [line for line in lines if _ERROR.search(line)]:
                return f"{path} says: {' | '.join(line[:_LONGEST] for line in errors[-_QUOTED:])}"
        for path, lines in written:
            if lines:
                return f"{path} ends: {lines[-1][:_LONGEST]}"
        return f"nothing is in {self}"

    def hold(self, words: str) -> bool:
        """Tell whether this run of the program wrote these words."""
        return any(words in line for path in self._begins for line in self._lines(path))

    def __str__(self) -> str:
        """Name them."""
        return " and ".join(str(path) for path in self._begins)

    def _lines(self, path: Path) -> Iterator[str]:
        if path.exists():
            with path.open("rb") as log:
                log.seek(self._begins[path])
                lines = log.read().decode(errors="replace").splitlines()
            yield from (line.strip() for line in lines if line.strip())


def require_alive(name: str, process: subprocess.Popen[bytes], logs: Logs) -> None:
    """Check that a program still runs.

    Raises:
        BedError: it ended.
    """
    status = process.poll()
    if status is None:
        return
    if logs.hold(_KILLED):
        status = -signal.SIGKILL
    if status < 0:
        raise BedError(f"{name} was ended by {signal.Signals(-status).name}; its logs: {logs}")
    raise BedError(f"{name} ended with status {status}; {logs.last_words()}")


def wait_until_ready(
    name: str, process: subprocess.Popen[bytes] | None, logs: Logs, check: Callable[[], bool]
) -> None:
    """Wait until a look from outside finds a program at work.

    Args:
        name: what it is, in words, for errors.
        process: itself, or what ends with it; None where it is a daemon of its own.
        logs: its logs, from before its start.
        check: looks once; has a time limit of its own.

    Raises:
        BedError: it ended.
        NotInTimeError: it is not ready in time.
    """

    def look() -> bool:
        if process is not None:
            require_alive(name, process, logs)
        return check()

    try:
        wait_for(name, look, timeout=PATIENCE)
    except NotInTimeError as error:
        words = f"{name} is not ready within {PATIENCE:g} s; {logs.last_words()}"
        raise NotInTimeError(words) from error
