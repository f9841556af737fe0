"""Plain values that the parts of the agent pass to each other. No I/O.

Absolute times are timezone-aware UTC datetimes in whole seconds where they come from Cloudlab; durations are
float seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

Place = tuple[str, str]
"""(URN of the CM, node_id) of a physical machine: CMs may call theirs alike. CM "" where none is told."""

RAW_PC = frozenset({"", "raw-pc", "raw"})
"""Sliver types of whole machines; ``GeniCMV2 AddNodes`` writes ``raw``."""


@dataclass(frozen=True)
class LanPort:
    """A machine's interface in a LAN of its slice, as the manifest tells it."""

    lan: str
    """client_id of the link."""
    address: str = ""
    """IPv4 address; "" where the manifest has none."""
    netmask: str = ""
    """Such as 255.255.255.0; "" from a CM that tells none (GeniCM.pm of 2016)."""
    mac: str = ""
    """12 hexadecimal digits without colons; "" where the manifest has none."""


@dataclass(frozen=True)
class Lan:
    """A link of a sliver's manifest with all that is on it, also what is not ours."""

    name: str
    """Its client_id."""
    ports: tuple[LanPort, ...] = ()


class MachineId(NamedTuple):
    """What tells a machine of ours from all others, and from earlier ones of its names."""

    cm: str
    client_id: str
    node_id: str
    sliver_id: str
    """"" where the manifest has none: the names alone tell it then."""

    @property
    def place(self) -> Place:
        """Which physical machine it is."""
        return self.cm, self.node_id

    def may_be(self, other: MachineId) -> bool:
        """Tell whether two are one machine: the same CM and client_id, and nothing that is known differs."""
        return (
            self[:2] == other[:2]
            and not differ(self.node_id, other.node_id)
            and not differ(self.sliver_id, other.sliver_id)
        )


def differ(one: str, other: str) -> bool:
    """Tell whether two names are known, and not the same; "" stands for one that nobody told."""
    return bool(one and other) and one != other


@dataclass(frozen=True)
class SliverNode:
    """One machine that a CM holds for our slice, as the manifest tells it."""

    client_id: str
    node_id: str
    cm: str
    """URN of the CM."""
    sliver_id: str
    """The key of this machine in the details of ``SliverStatus``; a machine added again gets a new one."""
    hardware_type: str = ""
    address: str = ""
    """Control IPv4 address; "" where the manifest has none."""
    hostname: str = ""
    """Where to log in; "" where the manifest has none."""
    username: str = ""
    """Our login there, or the first one of the manifest; "" where no keys were given."""
    sliver_type: str = ""
    """Such as ``raw-pc``; "" where the manifest does not say."""
    lans: tuple[LanPort, ...] = field(default=(), compare=False)
    """Its interfaces in LANs of the slice. A CM may change them: they do not tell which machine it is."""

    @property
    def is_machine(self) -> bool:
        """Tell whether it is a whole machine, and no block store or virtual machine."""
        return self.sliver_type in RAW_PC

    @property
    def key(self) -> MachineId:
        """What tells it from all others, also where manifests give no sliver_ids, or equal ones."""
        return MachineId(self.cm, self.client_id, self.node_id, self.sliver_id)

    @property
    def place(self) -> Place:
        """Which physical machine it is."""
        return self.cm, self.node_id

    @property
    def identity(self) -> str:
        """What it is remembered by, since others may have its client_id: its sliver_id, else its node_id."""
        return self.sliver_id or self.node_id

    @property
    def life(self) -> str:
        """The last part of its sliver_id, which no earlier machine of its names had; "" for none."""
        return self.sliver_id.rpartition("+")[2]


@dataclass(frozen=True)
class Sliver:
    """What one CM holds for our slice."""

    cm: str
    urn: str
    expires: datetime | None
    nodes: tuple[SliverNode, ...]
    manifest: str = field(repr=False)
    unread: int = 0
    """Machines of this CM in the manifest that are not among ``nodes``, since they have no usable name."""
    generator: str = ""
    """What wrote the request, as the manifest tells it (``generated_by``); "" where it does not."""
    lans: tuple[Lan, ...] = ()
    """The links of its manifest."""

    def node(self, client_id: str) -> SliverNode | None:
        """Find a machine by its client_id."""
        return next((n for n in self.nodes if n.client_id == client_id), None)


@dataclass(frozen=True)
class Holding:
    """What a CM held for us when it was last heard: it counts while the CM is silent after a restart."""

    cm: str
    machines: Mapping[str, str]
    """client_id -> ``identity`` of the machines that were ours."""
    expires: datetime | None
    """Until when its sliver lasted then."""
    there: bool = True
    """Whether it had a sliver."""
    made: bool = False
    """Whether the sliver was known to be one that we asked for."""
    sliver_urn: str = ""
    """Of that sliver: another one, as that of another slice, is not meant; "" where it is not known."""
    parts: frozenset[str] = frozenset()
    """client_ids of what came with our request for that sliver and is no machine."""

    @property
    def is_ours_to_return(self) -> bool:
        """It has machines of ours, or a sliver that we asked for."""
        return bool(self.machines) or (self.there and self.made)


@dataclass(frozen=True)
class RetiredCm:
    """A CM that is no longer among those in use, and still holds something for us, or may."""

    urn: str
    url: str
    """Where it is called; "" where that is not known."""
    machines: tuple[str, ...] = ()
    """client_ids of our machines there."""
    has_sliver: bool = False
    """It has a sliver that we asked for."""
    expires: datetime | None = None
    """Until when that lasts; None where it is not known."""
    asked: tuple[str, ...] = ()
    """client_ids that it was asked to lend or to take back, while that is not settled."""
    heard: bool = False
    """Whether it was heard in this run; else all this is what the ledger remembers."""
    can_be_asked: bool = True


@dataclass(frozen=True)
class LeftBehind:
    """What a CM held, or was asked, for another slice that the agent kept before: none of it is touched."""

    slice: str
    """URN of that slice."""
    cm: str
    """URN."""
    machines: tuple[str, ...] = ()
    """client_ids of the machines that were ours."""
    has_sliver: bool = False
    """It had a sliver that we asked for."""
    expires: datetime | None = None
    """Until when that was to last; None where it is not known."""
    asked: tuple[str, ...] = ()
    """client_ids that it was asked to lend or to take back, with no answer known."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that its machines joined Slurm as."""

    def is_over(self, now: datetime) -> bool:
        """Tell whether it ended by itself."""
        return self.expires is not None and now >= self.expires


@dataclass(frozen=True)
class Orphan:
    """A sliver that a CM holds for a slice of our name that the SA has no more: it cannot be renewed."""

    acts_until: datetime | None
    """Until when we can give it back, by the end of the credential that made it; None where we have none."""


@dataclass(frozen=True)
class KnownAs:
    """What a machine joined Slurm as: that holds until it is gone, whatever the settings say since."""

    machine: MachineId
    name: str
    """Of its node."""
    mode: str
    """``dynamic`` or ``cloud`` ([join] mode)."""


@dataclass(frozen=True)
class NodeStatus:
    """One machine's entry in ``SliverStatus``."""

    client_id: str
    node_id: str
    sliver_id: str
    state: str
    status: str
    error: str = ""
    rawstate: str = ""
    execute_status: int | None = None
    """Exit status of the startup command once it has ended; 0 is told of one that failed, too."""

    @property
    def ready(self) -> bool:
        """Ready for use: status alone may be left over from the machine's previous user."""
        return self.state == "started" and self.status == "ready"

    @property
    def failed(self) -> bool:
        """The CM has given this machine up."""
        return self.status in {"failed", "broken", "canceled"}


@dataclass(frozen=True)
class SliverStatus:
    """A reply of ``SliverStatus``."""

    cm: str
    state: str
    status: str
    error: str
    nodes: tuple[NodeStatus, ...]
    waits_for_boots: bool = False
    """The CM takes no change while machines of the slice boot (``GeniAggregate.pm Busy`` of 2021)."""
    given_up: frozenset[str] = frozenset()
    """node_ids of the machines that ``error`` says failed."""


@dataclass(frozen=True)
class AdvertisedNode:
    """A machine in a CM's advertisement that can be borrowed whole."""

    node_id: str
    cm: str
    hardware_types: tuple[str, ...]
    available: bool

    @property
    def place(self) -> Place:
        """Which physical machine it is."""
        return self.cm, self.node_id


@dataclass(frozen=True)
class Share:
    """How much of a CM is free: machines of the type that matters."""

    free: int
    total: int

    def spare(self, percent_available_minimum: float) -> int:
        """Count the machines to take while this fraction of all stays free; negative where it is short."""
        return math.floor(self.free - percent_available_minimum * self.total + 1e-9)


@dataclass(frozen=True)
class Admission:
    """How many more machines of a type a CM gives, by what it refused."""

    more: int
    why: str
    """Until when no more are asked for, and what it said."""


@dataclass(frozen=True)
class AdminDrain:
    """An administrator's wish that a machine be emptied and kept."""

    node_id: str
    reason: str
    who: str
    since: datetime
    deadline: datetime | None = None
    """None lets every job run to its end."""
    give_back: bool = False
    """Once it is empty, it goes back to Cloudlab."""
    sliver_id: str = ""
    """Of the machine that was meant; "" where it had none, or an older agent did not write it down."""
    cm: str = ""
    """URN of its CM; "" for a wish of an older agent, and for one that concerns every machine."""
    client_id: str = ""
    """Of the machine that was meant; "" for a wish of an older agent."""
    takes_over: bool = False
    """It replaces a drain by somebody else in Slurm."""
    lifted: bool = False
    """It was struck, and is remembered until Slurm shows nothing of it: a restart takes it up no more."""

    @property
    def place(self) -> Place:
        """Which physical machine was meant; its node_id is "" where it is every machine."""
        return self.cm, self.node_id

    def means(self, machine: SliverNode) -> bool:
        """Tell whether it was said of this machine, and not of another one of the same node_id."""
        return self.node_id == machine.node_id and not (
            differ(self.cm, machine.cm)
            or differ(self.client_id, machine.client_id)
            or differ(self.sliver_id, machine.sliver_id)
        )


@dataclass(frozen=True)
class CmTeardown:
    """An administrator's wish that all of one CM be emptied and given back, and nothing asked of it."""

    cm: str
    """URN."""
    who: str
    since: datetime
    deadline: datetime | None = None
    """When what still runs is requeued; None lets every job run to its end."""
    lifted: bool = False
    """It was struck, and is remembered until Slurm shows nothing of it: a restart takes it up no more."""


@dataclass(frozen=True)
class GrowOrder:
    """An administrator's wish that so many machines be in service."""

    machines: int
    who: str
    until: datetime
    """When the wish ends by itself."""


class IntentKind(StrEnum):
    """A call whose reply may be lost."""

    ADD = "add"
    DELETE = "delete"


@dataclass(frozen=True)
class Intent:
    """A machine that we have asked a CM to add or delete, written down before the call."""

    kind: IntentKind
    cm: str
    client_id: str
    asked: datetime
    """By the steady clock."""
