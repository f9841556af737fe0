"""Who calls, and what that user may: by the socket's peer credentials (``unix(7)``, SO_PEERCRED)."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.admin.settings import AdminSettings
from agent.core.errors import UnavailableError
from agent.core.letters import storable


class Permission(StrEnum):
    """What a call takes."""

    ANYBODY = "anybody"
    READ = "a reader"
    ACT = "an operator"


@dataclass(frozen=True)
class Peer:
    """The process at the other end, when it connected."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Its user's name; ``uid 1000`` where there is none."""
        try:
            return storable(pwd.getpwuid(self.uid).pw_name)
        except KeyError:
            return f"uid {self.uid}"

    def groups(self) -> set[int]:
        """Collect the gids of the user's groups, as the system's user database says now."""
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return {self.gid}
        return {self.gid, *os.getgrouplist(name, self.gid)}


class Permissions:
    """Decides who may do what.

    Raises:
        UnavailableError: a user or a group that this machine does not know.
    """

    def __init__(self, settings: AdminSettings) -> None:
        self._operators = {0, os.getuid(), *_uids(settings.operators, "operators")}
        self._operator_groups = _gids(settings.operator_groups, "operator_groups")
        self._readers = _uids(settings.readers, "readers")
        self._reader_groups = _gids(settings.reader_groups, "reader_groups")
        self._everybody_reads = not (settings.readers or settings.reader_groups)

    def allow(self, peer: Peer, permission: Permission) -> bool:
        """Tell whether a peer may make a call that takes this permission."""
        match permission:
            case Permission.ANYBODY:
                return True
            case Permission.READ if self._everybody_reads or peer.uid in self._readers:
                return True
            case Permission.READ if peer.groups() & self._reader_groups:
                return True
        return peer.uid in self._operators or bool(peer.groups() & self._operator_groups)


def _uids(names: Iterable[str], key: str) -> set[int]:
    found = set()
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UnavailableError(f"[admin] {key}: no such user on this machine: {name!r}") from None
    return found


def _gids(names: Iterable[str], key: str) -> set[int]:
    found = set()
    for name in names:
        try:
            found.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            raise UnavailableError(f"[admin] {key}: no such group on this machine: {name!r}") from None
    return found
