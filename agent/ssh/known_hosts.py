"""The host keys of machines that the agent reaches over SSH, in a file of its own."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import paramiko

from agent.core.errors import SshError, SshUnreachableError
from agent.core.ports import Host

_NO_WORD = re.compile(r"\W")
_SSH_PORT = 22


class KnownHosts:
    """The agent's own file of host keys, in the format of OpenSSH.

    It is read at each use, so a person's edit holds at once; threads share one lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def keys(self, name: str) -> list[tuple[str, paramiko.PKey]]:
        """Return the key types and keys that are known for a name."""
        with self._lock:
            found = self._load().lookup(name)
            return [] if found is None else list(found.items())

    def learn(self, name: str, key: paramiko.PKey) -> None:
        """Add a key."""
        with self._lock:
            entries = self._load()
            entries.add(name, key.get_name(), key)
            self._save(entries)

    def forget(self, name: str) -> None:
        """Drop every key of a name."""
        with self._lock:
            entries = self._load()
            if entries.lookup(name) is None:
                return
            with suppress(KeyError):
                while True:
                    del entries[name]
            self._save(entries)

    def _load(self) -> paramiko.HostKeys:
        entries = paramiko.HostKeys()
        with suppress(FileNotFoundError):
            entries.load(str(self._path))
        return entries

    def _save(self, entries: paramiko.HostKeys) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        os.close(handle)
        try:
            entries.save(name)
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class HostKeys:
    """Tells at a login whether it is the right machine: by a key that is known, or learnt at the first login.

    Args:
        path: the file.
        strict: a key that is not known is refused, not learnt.
    """

    def __init__(self, path: Path, *, strict: bool) -> None:
        self.path = path
        self._known = KnownHosts(path)
        self._strict = strict

    def guard(self, client: paramiko.SSHClient, host: Host) -> None:
        """Have a client check the machine's key when it connects.

        Raises:
            OSError: the file cannot be read.
        """
        name = self._known_as(host)
        client.set_missing_host_key_policy(_Unknown(self._known, name, strict=self._strict))
        for kind, key in self._known.keys(name):
            client.get_host_keys().add(_address(host), kind, key)

    def forget(self, host: Host) -> None:
        """Drop the machine's known keys.

        Raises:
            SshError: the file cannot be written.
        """
        try:
            self._known.forget(self._known_as(host))
        except OSError as error:
            raise SshError(f"known_hosts {self.path}: {error}") from error

    def _known_as(self, host: Host) -> str:
        """Return the name of its keys in the file; those that a person wrote down are known by address."""
        life = _NO_WORD.sub("", host.life)
        return _address(host) if self._strict or not life else f"{_address(host)}-{life}"


class _Unknown(paramiko.MissingHostKeyPolicy):
    """What to do at a machine of which no key is known."""

    def __init__(self, known: KnownHosts, name: str, *, strict: bool) -> None:
        self._known = known
        self._name = name
        self._strict = strict

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Refuse the machine, or learn its key."""
        if self._strict:
            raise SshUnreachableError(
                f"host key of {hostname} is not known ({key.fingerprint}) and host_keys is strict"
            )
        self._known.learn(self._name, key)


def _address(host: Host) -> str:
    """Name a machine as known_hosts does (sshd(8), «SSH_KNOWN_HOSTS FILE FORMAT»)."""
    return host.address if host.port == _SSH_PORT else f"[{host.address}]:{host.port}"
