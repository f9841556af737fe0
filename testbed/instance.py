"""Taking a place on this machine for a test bed, and giving it back."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from testbed import cleanup, registry
from testbed.links import ip, link_names, routes
from testbed.needs import require_programs, require_rights
from testbed.registry import BedError, Instance

INDICES = range(1, 251)
_SUBNETS = ("10.222.{}.0/24", "172.30.{}.0/24", "192.168.{}.0/24", "198.18.{}.0/24")
_JANITOR_TIMEOUT = 60.0
_ROOM = 16 * 2**20
"""Bytes on the disk: what a test bed begins with, and some hours of logs."""
_HIDDEN = ("/run", "/var/run", "/var/spool", "/var/tmp", "/sys", "/proc")
"""A machine of the test bed has its own of these."""


class Claim:
    """A place on this machine: index, subnet, bridge, ports; and the janitor that guards it.

    Taking it removes what dead test beds left first. Use it as a context manager.
    """

    def __init__(self, directory: Path) -> None:
        """Take a place for a test bed that keeps its files in ``directory``, which is made if missing.

        Raises:
            BedError: a right or a program is missing, the directory cannot serve or a live test bed uses it,
                no place is left.
        """
        require_rights()
        require_programs()
        directory = usable_directory(directory)
        with registry.locked():
            cleanup.remove_dead()
            self.instance = _choose(directory)
            registry.record(self.instance)
            try:
                _make_bridge(self.instance)
            except BedError:
                cleanup.remove(self.instance)
                raise
        reading, self._lifeline = os.pipe()
        try:
            self._janitor = subprocess.Popen(
                [sys.executable, "-m", "testbed.cleanup", self.instance.id],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(reading)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Remove everything of this test bed from the machine; doing so again is harmless."""
        if self._lifeline < 0:
            return
        with registry.locked():
            cleanup.remove(self.instance)
        os.close(self._lifeline)
        self._lifeline = -1
        self._janitor.wait(_JANITOR_TIMEOUT)

    def free_ports(self, count: int) -> list[int]:
        """Find TCP ports of this instance that nothing listens on, on any address.

        Raises:
            BedError: there are fewer.
        """
        free: list[int] = []
        for port in self.instance.ports:
            if len(free) < count and _is_free(port):
                free.append(port)
        if len(free) < count:
            ports = self.instance.ports
            raise BedError(f"only {len(free)} of TCP ports {ports.start} to {ports.stop - 1} are free")
        return free


def usable_directory(directory: Path) -> Path:
    """Make a directory if missing and return its real, absolute path.

    Raises:
        BedError: Slurm, or a machine of the test bed, could not use it, or it takes no files.
    """
    directory = directory.resolve()
    if re.fullmatch(r"[\w./+@,=:-]+", str(directory), re.ASCII) is None:
        raise BedError(
            f"{directory}: slurm.conf cannot hold this path; use letters, digits and ./+@,=:-_ only"
        )
    if any(directory.is_relative_to(place) for place in _HIDDEN):
        raise BedError(f"{directory}: choose a directory outside {', '.join(_HIDDEN)}: a machine has its own")
    # A unix socket's path has at most 107 bytes (unix(7)), and munged and slurmrestd have theirs in here.
    if len(str(directory)) > 80:
        raise BedError(f"{directory}: choose a directory whose path has at most 80 characters")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            free = shutil.disk_usage(directory).free
    except OSError as error:
        raise BedError(f"{directory}: the test bed cannot keep its files there: {error.strerror}") from None
    if free < _ROOM:
        raise BedError(
            f"{directory}: the test bed needs {_ROOM >> 20} MB for its files, and {free >> 20} are free"
        )
    return directory


def free_subnet(index: int, taken: Sequence[IPv4Network]) -> str | None:
    """Choose the network of a test bed: the first of ours for this index that overlaps none in use.

    >>> free_subnet(7, [IPv4Network("10.222.7.0/25")])
    '172.30.7.0/24'
    """
    for pattern in _SUBNETS:
        subnet = IPv4Network(pattern.format(index))
        if not any(subnet.overlaps(other) for other in taken):
            return str(subnet)
    return None


def _choose(directory: Path) -> Instance:
    others = registry.instances()
    for other in others:
        if other.directory == str(directory):
            raise BedError(f"{directory}: a test bed runs here already (process {other.owner_pid})")
    links = link_names()
    networks = routes()
    owner_start = registry.start_time(os.getpid())
    assert owner_start is not None
    for index in sorted(set(INDICES) - {other.index for other in others}):
        instance = Instance(
            id=secrets.token_hex(8),
            index=index,
            subnet=free_subnet(index, networks) or "",
            directory=str(directory),
            owner_pid=os.getpid(),
            owner_start=owner_start,
        )
        if instance.subnet and not any(instance.owns_link(name) for name in links):
            return instance
    raise BedError(f"no place for a test bed: {len(others)} run already, or the private networks are in use")


def _make_bridge(instance: Instance) -> None:
    ip("link", "add", "name", instance.bridge, "type", "bridge")
    ip("address", "add", f"{instance.address}/24", "dev", instance.bridge)
    ip("link", "set", "dev", instance.bridge, "up")
    # A machine that is off is missed («No route to host») after three unanswered questions: 0.6 s, not 3.
    Path(f"/proc/sys/net/ipv4/neigh/{instance.bridge}/retrans_time_ms").write_text("200")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
