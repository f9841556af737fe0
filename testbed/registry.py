"""Which test beds there are on this machine: one file each under ``/run/esagent-testbed``, behind one lock.

Everything that a test bed makes outside its own directory is derived from its record here, so that whoever
finds the record of a dead one can remove exactly that.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from testbed.waiting import wait_for

REGISTRY = Path("/run/esagent-testbed")
MARKER = "ESAGENT_TESTBED"
"""Environment variable of every process of a test bed; its value is the id of the instance."""
LOCK_TIMEOUT = 60.0
_PORTS_EACH = 40
_FIRST_PORT = 20_000


class BedError(Exception):
    """The test bed cannot do what was asked: says what, where and what was expected."""


@dataclass(frozen=True)
class Instance:
    """One test bed: its place on this machine and the process that owns it."""

    id: str
    index: int
    """1 to 250; no two test beds share it."""
    subnet: str
    """IPv4 network in CIDR notation, always a /24."""
    directory: str
    owner_pid: int
    owner_start: int
    """Start time of the owner, in clock ticks after boot (proc(5), ``/proc/PID/stat``)."""

    @property
    def bridge(self) -> str:
        """Name of the bridge that joins the machines to the host."""
        return f"esb{self.index}"

    @property
    def address(self) -> str:
        """Address of the host on the bridge."""
        return self.address_of(1)

    def address_of(self, number: int) -> str:
        """Address of a machine, by its number of 1 to 254."""
        return str(IPv4Address(int(IPv4Network(self.subnet).network_address) + number))

    def link_of(self, number: int) -> str:
        """Name of the host's end of a machine's cable; 10 characters at most, of the 15 allowed."""
        return f"{self.bridge}m{number}"

    def lan_of(self, number: int) -> str:
        """Name of the bridge of a LAN between machines, which the host has no address on."""
        return f"{self.bridge}l{number}"

    def card_of(self, number: int, card: int) -> str:
        """Name of the host's end of a machine's cable to a LAN; ``card`` counts them from 1."""
        return f"{self.link_of(number)}c{card}"

    def owns_link(self, name: str) -> bool:
        """Tell whether a network interface of the host is one of this instance."""
        return name == self.bridge or name.startswith((f"{self.bridge}m", f"{self.bridge}l"))

    @property
    def ports(self) -> range:
        """TCP ports for this instance: below those that Linux picks for outgoing connections."""
        first = _FIRST_PORT + self.index * _PORTS_EACH
        return range(first, first + _PORTS_EACH)


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks after boot; None when it has ended (zombies included)."""
    try:
        # The second field is the program's name in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def is_alive(instance: Instance) -> bool:
    """Tell whether the process that owns a test bed still runs."""
    return start_time(instance.owner_pid) == instance.owner_start


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of the registry.

    Raises:
        NotInTimeError: another process has held it for a minute.
    """
    REGISTRY.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (REGISTRY / "lock").open("w") as lock:
        wait_for(f"the lock {REGISTRY / 'lock'}", lambda: _try_lock(lock.fileno()), timeout=LOCK_TIMEOUT)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def instances() -> tuple[Instance, ...]:
    """Read every record; the caller holds the lock."""
    found = []
    for path in sorted(REGISTRY.glob("*.json")):
        try:
            found.append(Instance(**json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise BedError(
                f"{path}: not the record of a test bed ({error}); look at it, then remove it"
            ) from error
    return tuple(found)


def record(instance: Instance) -> None:
    """Write a record whole or not at all; the caller holds the lock."""
    path = _path(instance)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(instance), indent=1))
    fresh.rename(path)


def forget(instance: Instance) -> None:
    """Remove a record; the caller holds the lock."""
    _path(instance).unlink(missing_ok=True)


def _path(instance: Instance) -> Path:
    return REGISTRY / f"{instance.index}.json"
