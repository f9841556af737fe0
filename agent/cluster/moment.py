"""All that is known at one instant of the borrowed machines, as one frozen value: decisions go by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address

from agent.cluster.naming import name_machines
from agent.cluster.reasons import TEARDOWN, parse_reason
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.join import JoinSettings, node_name
from agent.cluster.shape import MachineShape
from agent.core.estimates import ForJobs, WrongEstimate
from agent.core.model import AdminDrain, CmTeardown, GrowOrder, KnownAs, MachineId, Place, SliverNode
from agent.core.said import said_of
from agent.core.slice.facts import SliceFacts
from agent.slurm.model import Node, Snapshot
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class History:
    """What Slurm does not tell: since when things are as they are, by the readings and the steady clock."""

    idle_since: Mapping[str, datetime] = field(default_factory=dict)
    """Node name -> since when it has been seen without a job; one that is missing is not idle."""
    joined_since: Mapping[str, datetime] = field(default_factory=dict)
    """Node name -> since when it has been seen as a node of Slurm."""
    found: frozenset[str] = frozenset()
    """Names of the nodes that the first reading found at work, without those whose machine came new."""
    machines: Mapping[str, MachineId] = field(default_factory=dict)
    """Node name -> key of the machine that was last seen behind it."""
    waiting_since: Mapping[str, datetime] = field(default_factory=dict)
    """Job id (for a task, that of its array) -> since when it has been seen to wait for room."""
    forsaken_since: Mapping[str, datetime] = field(default_factory=dict)
    """Name of a node of Slurm's power saving -> since when it has been seen out of service by our doing."""


@dataclass(frozen=True)
class JoinRecord:
    """What has been tried to join one machine. The caller drops it once the machine has joined.

    Times are those of the steady clock.
    """

    first: datetime
    """When its join was first started."""
    last: datetime
    """When its join commands last started or, once they are over, when they ended."""
    attempts: int
    running: bool
    """The commands, or the probe, run at this moment."""
    probes: int = 0
    """How often the probe was run."""
    error: str = ""
    """Why the last commands failed; "" if they did not."""
    anew: bool = False
    """Slurm had the node at work when they started, as that of an earlier machine."""

    def says_nothing_yet(self, read_at: datetime) -> bool:
        """Tell whether what Slurm said then may still be about the earlier machine.

        Args:
            read_at: when Slurm was read.
        """
        return self.anew and (self.running or bool(self.error) or self.last >= read_at)


@dataclass(frozen=True)
class Moment:
    """One instant: Cloudlab's word, Slurm's, what people ask for, and what the agent did so far."""

    now: datetime
    """By the wall clock: what deadlines and Slurm's times are compared with."""
    settings: ClusterSettings
    """Those in force; an administrator's wish for more machines is in ``demand.min_nodes``."""
    slice: SliceFacts = field(default_factory=SliceFacts)
    """What Cloudlab said."""

    snapshot: Snapshot | None = None
    """What Slurm said last; None before it was read once."""
    reservations: tuple[Reservation, ...] | None = None
    """Slurm's reservations; None where they were not read, which is done where somebody may want room, or a
    node is about to go."""
    scheduling: Scheduling | None = None
    """How Slurm chooses nodes; None where it was not read."""
    history: History | None = None
    """None before Slurm was read once."""
    limited: frozenset[str] = frozenset()
    """Names of the partitions that give every job a time limit, where nodes are fenced."""
    read_back: frozenset[str] = frozenset()
    """The CMs of whose machines it is known what an earlier run of the agent did to them."""

    admin: Mapping[Place, AdminDrain] = field(default_factory=dict)
    """Place -> an administrator's wish to empty it; ``wish_for`` tells whom it means."""
    hold: AdminDrain | None = None
    """An administrator's wish that concerns every machine, with reason ``PAUSE`` or ``TEARDOWN``."""
    teardowns: Mapping[str, CmTeardown] = field(default_factory=dict)
    """CM -> an administrator's wish that all of it be emptied and given back."""
    order: GrowOrder | None = None
    """An administrator's wish for more machines."""

    chosen: frozenset[str] = frozenset()
    """Names of the nodes that are emptied to be given back."""
    emptied: frozenset[str] = frozenset()
    """Names of those, and of a teardown's, that nothing is left on; their delete commands have run."""
    leaving: frozenset[str] = frozenset()
    """Names of chosen nodes whose delete commands have begun: they go whatever is said now."""
    blocking: Mapping[str, datetime | None] = field(default_factory=dict)
    """Name of each chosen node that is in the way of the lease's renewal -> when it has to be empty, if ever:
    it goes whatever the queue wants."""
    asked_types: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(CM, client_id) -> the hardware type that was asked for, while more than one is borrowed."""
    asked_for: Mapping[tuple[str, str], ForJobs] = field(default_factory=dict)
    """(CM, client_id) -> the jobs that the machine was asked for."""
    wrong: tuple[WrongEstimate, ...] = ()
    """Where Slurm did not start jobs that should have fitted; some may not hold any more."""

    machine_types: Mapping[str, MachineShape] = field(default_factory=dict)
    """Hardware type -> what Slurm saw of its machines, as far as one has come."""

    elsewhere: frozenset[str] = frozenset()
    """Names of nodes whose machines are in another slice that the agent kept before: they are left alone."""
    bound: Mapping[tuple[str, str], KnownAs] = field(default_factory=dict)
    """(CM, client_id) -> what its machine joined as."""
    began: frozenset[tuple[str, str]] = frozenset()
    """(CM, client_id) of the machines that are known to have joined, or to have begun to."""
    joins: Mapping[MachineId, JoinRecord] = field(default_factory=dict)
    """Key -> what has been tried to join its machine."""
    proven: frozenset[MachineId] = frozenset()
    """Keys of the machines whose probe has passed."""
    failed_since: Mapping[MachineId, datetime] = field(default_factory=dict)
    """Key -> since when its machine is seen to be of no use, by the steady clock."""
    started: datetime = LONG_AGO
    """When this run of the agent began, by the steady clock."""
    ahead: timedelta = timedelta()
    """How far the wall clock is ahead of the steady one, which nobody sets."""
    read: datetime | None = None
    """When the reading of ``snapshot`` began, by the steady clock."""

    @property
    def steady(self) -> datetime:
        """Now by the steady clock: what everything is compared with that says since when or until when."""
        return self.now - self.ahead

    @property
    def read_at(self) -> datetime:
        """When Slurm was read last, by the steady clock."""
        if self.read is not None:
            return self.read
        return self.steady if self.snapshot is None else self.snapshot.taken - self.ahead

    def since(self, told: datetime) -> datetime:
        """Return a time that Slurm told in this reading, by the steady clock; none is after the reading."""
        age = self.snapshot.taken - told if self.snapshot else timedelta()
        return self.read_at - max(age, timedelta())

    def on_the_wall(self, time: datetime) -> datetime:
        """Return what people are shown for a time of the steady clock."""
        return time + self.ahead

    @cached_property
    def known_as(self) -> Mapping[MachineId, KnownAs]:
        """Key -> what a machine is called in Slurm, and how it joins, for every machine that has a name."""
        order = {cm: number for number, cm in enumerate(self.slice.cms)}
        machines = sorted(self.slice.machines, key=lambda m: (order.get(m.cm, len(order)), m.client_id))
        taken = {
            name
            for machine in self.slice.foreign
            for name in (machine.node_id, machine.client_id)
            if name in self.nodes and _may_be_at(machine, self.nodes[name].address)
        }
        named = [m for m in machines if node_name(m, self.settings.join)]
        taken |= self.elsewhere
        taken |= {node_name(m, self.settings.join) for m in named if self._is_the_sites_own(m)}
        return name_machines(named, self.settings.join, bound=self.bound, nodes=self.nodes, taken=taken)

    def _is_the_sites_own(self, machine: SliverNode) -> bool:
        """Tell whether slurm.conf declares a node of a machine's usual name, at another address.

        With mode dynamic that node was never ours: those that slurmd makes itself have DYNAMIC_NORM.
        """
        join = self.settings.join
        node = self.nodes.get(node_name(machine, join)) if join.mode == "dynamic" else None
        is_declared = node is not None and "DYNAMIC_NORM" not in node.flags
        return node is not None and is_declared and not _may_be_at(machine, node.address)

    @cached_property
    def machines(self) -> Mapping[str, SliverNode]:
        """Node name -> machine, for every machine that may be touched."""
        named = ((self.name(machine), machine) for machine in self.slice.machines)
        return {name: machine for name, machine in named if name}

    @cached_property
    def may_be_there(self) -> frozenset[tuple[str, str]]:
        """(CM, client_id) of all that is ours and there, or may be, or was asked for."""
        machines = (*self.slice.machines, *self.slice.doubted)
        asked = {(intent.cm, intent.client_id) for intent in self.slice.requested}
        return self.slice.unseen | asked | {(m.cm, m.client_id) for m in machines}

    @cached_property
    def unheard(self) -> Mapping[str, SliverNode]:
        """Node name -> machine, for every one that joined in an earlier run and whose CM was not heard since.

        Nothing is done on it or at its CM. Its node in Slurm is drained where Cloudlab takes the machine.
        """
        return {
            known.name: SliverNode(key.client_id, key.node_id, key.cm, key.sliver_id)
            for at, known in self.bound.items()
            if (at in self.slice.unseen or at[0] in self.slice.over)
            and at in self.began
            and at[0] not in self.slice.read
            for key in (known.machine,)
            if known.name in self.nodes and known.name not in self.machines
        }

    @cached_property
    def present(self) -> frozenset[str]:
        """Names of all machines that are there or may be; those not ours have two that Slurm may know.

        With them are the names that machines of a silent CM joined as.
        """
        foreign = {name for machine in self.slice.foreign for name in (machine.node_id, machine.client_id)}
        facts = self.slice
        unseen = {known.name for at, known in self.bound.items() if at in facts.unseen or at[0] in facts.over}
        there = frozenset(self.machines) | frozenset(self.doubted) | foreign | unseen | self.elsewhere
        return there - {""}

    @cached_property
    def doubted(self) -> Mapping[str, SliverNode]:
        """Node name -> machine, for every one of ours that the last manifest lacks and that may be there.

        The client_id stands for a name that is not known.
        """
        named = {self._earlier_name(machine): machine for machine in self.slice.doubted}
        return {name: machine for name, machine in named.items() if name not in self.machines}

    def _earlier_name(self, machine: SliverNode) -> str:
        """Return what a machine joined as; of one that an earlier run saw, the identity alone is known."""
        known = self.bound.get((machine.cm, machine.client_id))
        if known and machine.identity in {known.machine.sliver_id, known.machine.node_id}:
            return known.name
        return self.name(machine) or machine.client_id

    @cached_property
    def backed(self) -> frozenset[str]:
        """Names of the nodes that a machine is behind; of others, those whose slurmd Slurm may have seen.

        A slurmctld that was restarted knows of no boot before slurmd registers: such a node is UNKNOWN.
        """
        known = self.elsewhere | self.machines.keys() | self.doubted.keys()
        seen = {name: self.nodes.get(name) for name in self.present - known}
        bare = {n for n, node in seen.items() if node is None or (node.usable and node.booted is None)}
        return self.present - bare

    @cached_property
    def foreign(self) -> Mapping[str, SliverNode]:
        """Node name -> machine, for every machine of the slice that is not ours.

        The site named its nodes itself: where Slurm has no node of the name that we would give, it may have
        one of the other. A node that Slurm calls at another machine's address is not its node.
        """
        named: dict[str, SliverNode] = {}
        for machine in self.slice.foreign:
            usual = self.name(machine)
            names = (usual, machine.node_id, machine.client_id)
            known = [each for each in names if each in self.nodes]
            its = [each for each in known if _may_be_at(machine, self.nodes[each].address)]
            name = next(iter(its), "" if usual in known else usual)
            if name and name not in self.machines:
                named[name] = machine
        return named

    @property
    def joined_otherwise(self) -> tuple[str, ...]:
        """Names of our nodes whose machines joined as something else than [join] says now."""
        join = self.settings.join
        return tuple(
            name
            for name, machine in sorted(self.machines.items())
            if name != node_name(machine, join) or self.join_of(machine).mode != join.mode
        )

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Node name -> node, for every node that Slurm has."""
        return self.snapshot.nodes if self.snapshot else {}

    @cached_property
    def joined(self) -> frozenset[str]:
        """Names of our machines that Slurm has."""
        return frozenset(self.machines) & frozenset(self.nodes)

    @cached_property
    def inherited(self) -> frozenset[str]:
        """Names of those whose Reason= in Slurm was meant for an earlier machine of that name."""
        said = ((name, parse_reason(name, self.nodes[name].reason)) for name in self.joined)
        return frozenset(n for n, d in said if d and not d.is_meant_for(self.machines[n], self.now))

    @cached_property
    def failed(self) -> frozenset[str]:
        """Node names of our machines that are of no use."""
        return frozenset(n for n, machine in self.machines.items() if machine.key in self.slice.failed)

    @property
    def held_up(self) -> str:
        """What holds growth up, an administrator or the brake, in words; "" for nothing."""
        return f"{self.hold.reason} by {self.hold.who}" if self.hold else self.slice.braked

    @property
    def tearing_down(self) -> bool:
        """Everything is being given back, or was."""
        return self.hold is not None and self.hold.reason == TEARDOWN

    def torn_down_by(self, machine: SliverNode) -> AdminDrain | CmTeardown | None:
        """Return the wish by which a machine goes with all others, or with all of its CM; None for none."""
        return self.hold if self.tearing_down else self.teardowns.get(machine.cm)

    @property
    def in_service(self) -> int:
        """How many of our machines jobs may start on, or could until they were drained."""
        return sum(1 for name in self.joined if self.nodes[name].usable or self.nodes[name].draining)

    def is_of_another(self, name: str) -> bool:
        """Tell whether Slurm's node of that name is that of an earlier machine, which it takes for alive.

        Ours came new, is not where Slurm has the node, and has not begun to join, or is about it.
        """
        machine, node = self.machines[name], self.nodes[name]
        if record := self.joins.get(machine.key):
            is_new = record.says_nothing_yet(self.read_at)
        else:
            is_new = (machine.cm, machine.client_id) not in self.began
        is_new = is_new and machine.key in self.slice.fresh
        return bool(machine.address) and is_new and not _may_be_at(machine, node.address)

    def wish_for(self, machine: SliverNode) -> AdminDrain | None:
        """Return an administrator's wish to empty this machine."""
        return next((wish for wish in said_of(self.admin, machine) if wish.means(machine)), None)

    def name(self, machine: SliverNode) -> str:
        """Return a machine's node name; "" while it has none."""
        known = self.known_as.get(machine.key) or self.bound.get((machine.cm, machine.client_id))
        if known is not None and known.machine.may_be(machine.key):
            return known.name
        return node_name(machine, self.settings.join)

    def join_of(self, machine: SliverNode) -> JoinSettings:
        """Return the section [join] as it holds for a machine, which may have joined in another mode."""
        known = self.known_as.get(machine.key)
        return self.settings.join.in_mode(known.mode) if known else self.settings.join


def _may_be_at(machine: SliverNode, place: str) -> bool:
    """Tell whether a machine may be at a node's NodeAddr; a host name tells nothing."""
    try:
        told = str(IPv4Address(place))
    except ValueError:
        return True
    return told in {machine.address, *(port.address for port in machine.lans)}
