"""What the unit keeps from the daemon, whatever its user may do (``systemd.exec(5)``, SANDBOXING)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.check.user import UNIT, Daemon, User

_OFF = frozenset({"", "no", "read-only"})
_HIDDEN_BY = {"ProtectHome": ("/home", "/root", "/run/user"), "PrivateTmp": ("/tmp", "/var/tmp")}  # noqa: S108
_PLACES_OF = {"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}


@dataclass(frozen=True)
class Sandbox:
    """The part of the file system that a daemon has."""

    hidden: Mapping[Path, str]
    """Directory that is empty for it, or another -> the setting of the unit that makes it so."""
    writable: tuple[Path, ...] | None
    """Below these alone it may write; None where the unit does not say."""

    def hides(self, path: Path) -> str:
        """Say which setting keeps it from reading a path; "" where none does."""
        real = Path(os.path.realpath(path))
        for directory, setting in self.hidden.items():
            if real.is_relative_to(directory):
                return f"{setting} of {UNIT} hides {directory} from the daemon"
        return ""

    def bars_writing(self, path: Path) -> str:
        """Say what keeps it from writing a path; "" where nothing does."""
        real = Path(os.path.realpath(path))
        if self.writable is None or any(real.is_relative_to(place) for place in self.writable):
            return self.hides(path)
        return f"{UNIT} lets the daemon write below {', '.join(map(str, self.writable)) or 'nothing'} alone"


def sandbox_of(properties: Mapping[str, str]) -> Sandbox:
    """Read the sandbox of a unit.

    Args:
        properties: as ``systemctl show`` tells them; none: it has no sandbox.
    """
    hidden = {
        Path(place): f"{name}={properties[name]}"
        for name, places in _HIDDEN_BY.items()
        for place in places
        if properties.get(name, "") not in _OFF
    }
    if properties.get("ProtectSystem") != "strict":
        return Sandbox(hidden, None)
    own = [Path(top, name) for key, top in _PLACES_OF.items() for name in properties.get(key, "").split()]
    more = [Path(place.lstrip("-+")) for place in properties.get("ReadWritePaths", "").split()]
    return Sandbox(hidden, (*own, *more))


def find_sandbox(asked: User | None, properties: Mapping[str, str], daemon: Daemon | None) -> Sandbox:
    """Tell what keeps the daemon in: its unit, unless it is another's that listens, or a user is asked about.

    Args:
        asked: whom the caller names.
        properties: what systemd says of our unit; none where there is no such unit.
        daemon: who listens on [admin] socket.
    """
    is_the_units = daemon is None or daemon.pid == int(properties.get("MainPID", "0"))
    return sandbox_of(properties if asked is None and is_the_units else {})
