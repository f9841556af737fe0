"""What a CM remembers: machines, slices, slivers. Plain data; guarded by the simulator's one lock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock

from lxml import etree

from testbed.cloudlab import status
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.room import Card
from testbed.cloudlab.sites import Generation


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
    generation: Generation = 2016
    """Which server looks after it."""
    holder: NodeSliver | None = None
    reloading: bool = False
    """Released, and on its way back to the free pool."""
    used_by: str = ""
    """Another project that uses it; "" if none does."""
    promised_to: str = ""
    """Another project that it is reserved for in advance; "" if there is none."""
    promised_from: datetime | None = None
    """When that reservation begins; None: it is in force."""
    next_for: str = ""
    """Another project that an administrator gives it to next (sched_reserve); "" if there is none."""
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
        return self.available_to("")

    def available_to(self, project: str) -> bool:
        """Tell whether it is free for a project, for which it may be set aside; "" for anyone's."""
        promised = bool(self.promised_to) and self.promised_from is None
        barred = promised and self.promised_to.lower() != project.lower()
        return not self.reserved and not barred and self.event in status.FREE_EVENTS


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
    canceled: bool = False
    """Its boot was stopped by DeleteSlice with ``cancel``."""
    recovery: bool = False
    """Booted into the recovery system."""
    stored_status: str = ""
    """As it was computed last; "" before the first time."""
    changed: int = 0
    """Unix time at which that became another."""
    awaited_by: Phase | None = None
    """What waits for it to come up."""

    @property
    def reserved(self) -> bool:
        """Whether the slice has the machine still."""
        return self.machine.holder is self

    @property
    def status(self) -> str:
        """Derived anew at every look."""
        if self.canceled:
            return "canceled"
        return status.node_status(self.state, self.machine.event, self.machine.generation)

    def store(self, word: str) -> None:
        """Store a status as the one that was computed last."""
        if word != self.stored_status:
            self.stored_status, self.changed = word, int(time.time())


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
    boot_failure: int = 0
    """Why the last start failed, as in protogeni-2021.md §2 (150 to 155); 0 without. In 2016 a flag."""
    broken_state: str = ""
    """``interrupted`` or ``mixed`` after a reboot of the site in the middle of a start; "" otherwise."""
    credentials: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Owner -> sliver credential and its expiry, kept until then."""

    @property
    def state(self) -> str:
        """State of all nodes together."""
        if self.broken_state:
            return self.broken_state
        return status.aggregate_state([node.state for node in self.nodes.values()])

    @property
    def status(self) -> str:
        """Status of all nodes together."""
        statuses = [node.status for node in self.nodes.values()]
        return status.aggregate_status(statuses, boot_failed=self.boot_failure != 0)


@dataclass(eq=False)
class Phase:
    """Work after a reply, from its beginning until all that it waits for is up or given up."""

    is_first: bool = False
    """Whether it is the first start of what the slice holds."""
    over: Event = field(default_factory=Event)
    """Set when it is stopped from outside: its thread does no more."""


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
    creator: str = ""
    """URN of the user who made it here."""
    renew_limit: timedelta | None = None
    """How far ahead of now it may be renewed; 0 after it was idle for too long; None: no such limit."""
    expiration_max: datetime | None = None
    """Until when it may be renewed, in the place of the site's maximum; None: no such limit."""
    lock: SliceLock = field(default_factory=SliceLock)
    shut_down: bool = False
    """Stopped in an emergency: nothing may be changed any more."""
    monitor: bool = False
    """Boots are being watched: a flag that the first to end clears (2016)."""
    phases: set[Phase] = field(default_factory=set)
    """While there are any the slice is at work (protogeni-2021.md §3.9)."""
    terminating: bool = False
    """DeleteSlice with ``cancel`` marked it; a daemon ends it."""
    locked_down: bool = False
    """It does not expire, and cannot be deleted."""
    paniced: bool = False
    async_code: int = 0
    """Why the last asynchronous creation or change failed; 0 when it did not."""
    async_output: str = ""
    aggregate: Aggregate | None = None
    ticket: Ticket | None = None

    @property
    def at_work(self) -> bool:
        """Whether something of it is waited for still."""
        return bool(self.phases)
