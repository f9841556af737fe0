"""What a CM remembers: machines, slices, slivers. Plain data; guarded by the simulator's one lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock

from lxml import etree

from testbed.cloudlab import status
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.room import Card


@dataclass(frozen=True)
class Account:
    """A login on the machines of a slice."""

    urn: str
    login: str
    keys: tuple[str, ...]
    """SSH public keys, one line each."""


@dataclass(eq=False)
class Machine:
    """A physical machine."""

    node_id: str
    name: str
    """What it is called on this computer: no other machine of any CM has that name."""
    hardware_type: str
    node_class: str
    address: str
    event: str
    """Last event of its life, as in rawstate."""
    event_time: int
    """Unix time of that event."""
    holder: NodeSliver | None = None
    reloading: bool = False
    """Released, and on its way back to the free pool."""
    used_by: str = ""
    """Another project that uses it; "" if none does."""
    promised_to: str = ""
    """Another project that it is reserved for in advance; "" if there is none."""
    value: float = 0.0
    """Resource value."""
    ended: Event = field(default_factory=Event)
    """Set when the part of its life that is under way is over, so that its thread stops."""
    switch: Lock = field(default_factory=Lock)
    """Held while the room switches it, so that such calls never overlap."""

    @property
    def reserved(self) -> bool:
        """Somebody has it, be it only the reload queue."""
        return self.holder is not None or self.reloading or bool(self.used_by)

    @property
    def available(self) -> bool:
        """Free for anyone (ptopgen)."""
        return not self.reserved and not self.promised_to and self.event in status.FREE_EVENTS


@dataclass(eq=False)
class NodeSliver:
    """One machine in a slice."""

    urn: str
    slice_urn: str
    client_id: str
    host_name: str
    machine: Machine
    startup: str
    """Commands to run after boot; "" for none."""
    state: str = "new"
    boot_log: str = ""
    cards: tuple[Card, ...] = ()
    """Its interfaces in LANs, as the manifest has them."""
    execute_state: str = "n/a"
    execute_status: int | str = "n/a"

    @property
    def reserved(self) -> bool:
        """Whether the slice has the machine still."""
        return self.machine.holder is self

    @property
    def status(self) -> str:
        """Derived anew at every look."""
        return status.node_status(self.state, self.machine.event)


@dataclass(eq=False)
class Aggregate:
    """All that a CM holds for a slice."""

    urn: str
    manifest: etree._Element
    nodes: dict[str, NodeSliver] = field(default_factory=dict)
    """client_id -> machine, in the order of the manifest."""
    links: dict[str, str] = field(default_factory=dict)
    """client_id of a link -> its sliver URN."""
    accounts: tuple[Account, ...] = ()
    error: str = ""
    boot_failed: bool = False
    credentials: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Owner -> sliver credential and its expiry, kept until then."""

    @property
    def state(self) -> str:
        """State of all nodes together."""
        return status.aggregate_state([node.state for node in self.nodes.values()])

    @property
    def status(self) -> str:
        """Status of all nodes together."""
        statuses = [node.status for node in self.nodes.values()]
        return status.aggregate_status(statuses, boot_failed=self.boot_failed)


@dataclass(frozen=True)
class Ticket:
    """A promise of machines until it is redeemed, released or has run out."""

    urn: str
    text: str
    """The signed document."""
    expires: datetime
    aggregate: Aggregate
    """What the slice will hold once the ticket is redeemed; its machines are reserved already."""


@dataclass(eq=False)
class CmSlice:
    """A slice as one CM knows it."""

    urn: str
    uuid: str
    name: str
    project: str
    """Project of the URN's authority; the domain's first label where it has none."""
    expires: datetime
    gid: str
    """Certificate as base64."""
    first_expires: datetime
    lock: SliceLock = field(default_factory=SliceLock)
    shut_down: bool = False
    """Stopped in an emergency: nothing may be changed any more."""
    monitor: bool = False
    """Boots are being watched."""
    aggregate: Aggregate | None = None
    ticket: Ticket | None = None
