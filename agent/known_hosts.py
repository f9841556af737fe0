"""The host keys of machines that the agent reaches over SSH, in a file of its own."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import paramiko


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
