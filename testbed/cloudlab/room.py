"""What the simulated Cloudlab needs from real machines."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class RoomError(Exception):
    """A machine did not do what was asked: shown as its boot log."""


@dataclass(frozen=True)
class Card:
    """An interface of a machine in a LAN of its slice."""

    lan: str
    """What tells the LAN from all others: its sliver URN."""
    address: str
    """IPv4 address with the length of the network's prefix: 10.10.1.2/24."""
    mac: str
    """Hardware address, with colons."""


@dataclass(frozen=True)
class Boot:
    """How a machine is to come up."""

    client_id: str
    """The experimenter's name for the machine."""
    host_name: str
    """Its name inside the slice: client_id.slice.project.domain."""
    users: tuple[str, ...]
    """Login names, each with all of the keys."""
    authorized_keys: tuple[str, ...]
    """SSH public keys, one line each."""
    fresh: bool
    """The image was loaded again: the disk is new and so is the host key."""
    cards: tuple[Card, ...] = ()
    """Its interfaces besides that on the control network, set up when it comes up."""


class MachineRoom(Protocol):
    """Machines that can be switched on and off, each known by its name on this computer.

    For one machine ``power_on`` and ``power_off`` never overlap, but either may come while ``run`` is under
    way, which ends then; calls for different machines overlap. Every call is bounded in time by the room and
    raises ``RoomError`` when the machine does not do it.
    """

    def address(self, name: str) -> str:
        """Return the machine's control IPv4 address, also while it is off."""

    def power_on(self, name: str, boot: Boot) -> None:
        """Switch the machine on; return once it takes logins."""

    def power_off(self, name: str) -> None:
        """Switch the machine off, whatever runs there; nothing to do if it is off."""

    def run(self, name: str, command: str, timeout: float) -> int:
        """Run a shell command as root there, at most ``timeout`` real seconds; return its exit status."""

    def close(self) -> None:
        """Switch all machines off and free what they used. Ends calls that are under way."""


class NoMachines:
    """A room without machines: addresses from the documentation range, every command ends with status 0."""

    def __init__(self, names: Iterable[str]) -> None:
        first = ipaddress.IPv4Address("192.0.2.1")
        self._addresses = {name: str(first + index) for index, name in enumerate(names)}

    def address(self, name: str) -> str:
        """Return the machine's control IPv4 address."""
        return self._addresses[name]

    def power_on(self, name: str, boot: Boot) -> None:
        """Nothing to switch on."""

    def power_off(self, name: str) -> None:
        """Nothing to switch off."""

    def run(self, name: str, command: str, timeout: float) -> int:  # noqa: ARG002
        """Nothing to run on."""
        return 0

    def close(self) -> None:
        """Nothing to free."""
