"""Whom the daemon runs as, and where that is known from."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.check.finding import Finding, fine, warning
from agent.core.errors import ConfigError

UNIT = "esagent.service"
_PROPERTIES = (
    *("LoadState", "MainPID", "User", "Group", "SupplementaryGroups", "ProtectHome", "PrivateTmp"),
    *("ProtectSystem", "ReadWritePaths", "StateDirectory", "RuntimeDirectory"),
)
_PATIENCE = 10.0
"""Seconds for systemd, or for whoever has the socket, to answer."""
_SO_PEERGROUPS = 59
"""Of Linux (``asm-generic/socket.h``); Python has no name for it."""
_MOST_BYTES = 1024
"""What Python's getsockopt takes at most: 256 groups."""


@dataclass(frozen=True)
class User:
    """A user of this machine, with the groups that its processes have."""

    name: str
    """``uid 1000`` where there is no name."""
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def login(self) -> str:
        """The user as commands take it: by name, or by uid."""
        return str(self.uid) if self.name == _nameless(self.uid) else self.name

    @property
    def group(self) -> str:
        """The name of its first group; the gid where there is none."""
        try:
            return grp.getgrgid(self.gid).gr_name
        except KeyError:
            return str(self.gid)


def named(text: str) -> User:
    """Find a user by name or uid.

    Raises:
        ConfigError: this machine knows no such user.
    """
    try:
        entry = pwd.getpwnam(text)
    except KeyError:
        try:
            entry = pwd.getpwuid(int(text))
        except (KeyError, ValueError):
            raise ConfigError(f"no such user on this machine: {text!r}") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))


def caller() -> User:
    """Tell who this process is."""
    return User(user_name(os.geteuid()), os.geteuid(), os.getegid(), tuple(os.getgroups()))


def user_name(uid: int) -> str:
    """Name a user, by the number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return _nameless(uid)


def _nameless(uid: int) -> str:
    return f"uid {uid}"


@dataclass(frozen=True)
class Daemon:
    """The process that listens on [admin] socket."""

    pid: int
    user: User


def running(path: Path) -> Daemon | None:
    """Tell which process listens on a unix socket, and whose it is (``unix(7)``, SO_PEERCRED).

    Returns:
        None where none does, and where this process may not open the socket: it is not known then.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(str(path))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            groups = probe.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
        except OSError:
            return None
    pid, uid, gid = struct.unpack("3i", credentials)
    return Daemon(pid, User(user_name(uid), uid, gid, struct.unpack(f"{len(groups) // 4}i", groups)))


def unit() -> Mapping[str, str]:
    """Read what systemd says of our unit; empty where there is no systemd, or no such unit."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return {}
    command = [systemctl, "show", *(f"--property={name}" for name in _PROPERTIES), UNIT]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return {}
    properties = dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)
    return properties if properties.get("LoadState") == "loaded" else {}


def of_unit(properties: Mapping[str, str]) -> User:
    """Tell as whom systemd starts a unit (``systemd.exec(5)``): root where it names nobody.

    Args:
        properties: User, Group and SupplementaryGroups of the unit.

    Raises:
        ConfigError: a user or a group that this machine does not know.
    """
    user = named(properties.get("User") or "root")
    gid = _gid(group) if (group := properties.get("Group")) else user.gid
    more = [_gid(name) for name in properties.get("SupplementaryGroups", "").split()]
    return User(user.name, user.uid, gid, tuple(dict.fromkeys((gid, *user.groups, *more))))


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal():
            return int(group)
        raise ConfigError(f"no such group on this machine: {group!r}") from None


def find_user(
    asked: User | None, properties: Mapping[str, str], daemon: Daemon | None
) -> tuple[User, Finding]:
    """Tell for whom things are judged, and where that is known from.

    Args:
        asked: whom the caller names.
        properties: what systemd says of our unit.
        daemon: who listens on [admin] socket.

    Raises:
        ConfigError: the unit names a user or a group that this machine does not know.
    """
    subject = "user"
    if asked is not None:
        return asked, fine(subject, f"{asked.name}, as asked for")
    if daemon is not None:
        runs = daemon.user
        seen = f"{runs.name}, as whom the daemon runs"
        if not properties:
            return runs, fine(subject, seen)
        try:
            planned = of_unit(properties)
        except ConfigError as error:
            return runs, warning(subject, f"{seen}; {UNIT}: {error}", f"systemctl edit {UNIT}")
        if planned.uid == runs.uid:
            return runs, fine(subject, seen)
        mend = f"systemctl restart {UNIT}, or look with --as {planned.name}"
        return runs, warning(subject, f"{seen}; {UNIT} says {planned.name}", mend)
    if properties:
        try:
            user = of_unit(properties)
        except ConfigError as error:
            raise ConfigError(f"{UNIT}: {error}") from None
        return user, fine(subject, f"{user.name}, as {UNIT} says")
    me = caller()
    return me, fine(subject, f"{me.name}, who calls: no daemon answers, and there is no {UNIT}")
