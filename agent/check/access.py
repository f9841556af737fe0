"""Files that the settings name: whether the daemon's user may read them, and what opens them to it."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.check.barrier import barrier, mode_of
from agent.check.finding import Finding, Grade, fault, fine, warning
from agent.check.sandbox import Sandbox
from agent.check.user import User

Kind = Literal["open", "secret", "copied"]
_HOMES = (Path("/root"), Path("/home"))
"""Directories that are people's own; the systemd unit hides them from the daemon."""


@dataclass(frozen=True)
class NamedFile:
    """A file that a setting names, and that the daemon reads."""

    subject: str
    """The setting, such as ``[cloudlab] key``."""
    path: Path
    origin: str
    """How to come by it, where it is missing."""
    kind: Kind = "open"
    """Who may read it: anybody, or the daemon's user alone; what is copied is a secret of somebody else's."""


@dataclass(frozen=True)
class Reader:
    """Who has to read the files: this process is one of that user.

    Attributes:
        user: the daemon's.
        home: directory of agent.conf, which is the agent's own.
        sandbox: what the daemon has of the file system, and this process all of.
    """

    user: User
    home: Path
    sandbox: Sandbox

    def check(self, files: Iterable[NamedFile]) -> Generator[Finding, None, frozenset[Path]]:
        """Tell which files are missing or cannot be read, and of secrets, whether others can read them.

        Returns:
            Those that cannot be read.
        """
        barred = set()
        for file in files:
            finding = self._look(file)
            if finding is not None:
                yield finding
                if finding.grade is Grade.FAULT:
                    barred.add(file.path)
        return frozenset(barred)

    def settings(self, path: Path) -> Iterator[Finding]:
        """Tell where agent.conf itself cannot be read."""
        if (part := barrier(path)) is None:
            return
        here, group = _quoted(part), self.user.group
        mend = f"chgrp {group} {here} && chmod 640 {here}" if part.is_file() else self._entrance(path, part)
        yield fault("settings", f"{path}: {self._is_barred_by(part)}", mend)

    def _look(self, file: NamedFile) -> Finding | None:
        subject, path = file.subject, file.path
        if (part := barrier(path)) is not None:
            return fault(subject, f"{path}: {self._is_barred_by(part)}", self._opening(file, part))
        try:
            with path.open("rb"):
                found = path.stat()
        except FileNotFoundError:
            return fault(subject, f"{path}: there is no such file", file.origin)
        except OSError as error:
            return fault(subject, f"{path}: expected a file: {error.strerror}", file.origin)
        if hidden := self.sandbox.hides(path):
            return fault(subject, f"{path}: {hidden}", f"move it, such as to {self.home}, and name it there")
        if file.kind != "secret":
            return None
        if found.st_mode & 0o077:
            mend = f"chmod 600 {_quoted(path)}" if found.st_uid == self.user.uid else self._own(path)
            return warning(subject, f"{path}: other users can read it", mend)
        return fine(subject, str(path))

    def _is_barred_by(self, part: Path) -> str:
        return f"{self.user.name} may not {'enter' if part.is_dir() else 'read'} {part} ({mode_of(part)})"

    def _opening(self, file: NamedFile, part: Path) -> str:
        if file.kind == "copied":
            copy = self.home / file.path.name
            words = ("install", "-o", self.user.login, "-m", "600", str(file.path), str(copy))
            return f"{shlex.join(words)}, and name the copy in {file.subject}"
        if part.is_dir():
            return self._entrance(file.path, part)
        return self._own(part) if file.kind == "secret" else f"chmod a+r {_quoted(part)}"

    def _own(self, path: Path) -> str:
        return f"chown {self.user.login} {_quoted(path)} && chmod 600 {_quoted(path)}"

    def _entrance(self, path: Path, part: Path) -> str:
        """Say how a file is got at behind a directory: it is opened for no more than passing through."""
        here = _quoted(part)
        if any(part.is_relative_to(home) for home in _HOMES):
            return f"move {path.name} out of {part}, such as to /etc/esagent, and name it there"
        if part == self.home:
            return f"chgrp {self.user.group} {here} && chmod g+x {here}"
        return f"chmod a+x {here}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
