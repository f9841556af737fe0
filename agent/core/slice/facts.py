"""All that the framework knows of the slice at one instant, as one frozen value: what decisions go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent.core.model import (
    Admission,
    AdvertisedNode,
    Intent,
    MachineId,
    NodeStatus,
    Place,
    Share,
    SliverNode,
)
from agent.core.said import ResourceValue, Revocation, Taken, said_of
from agent.core.slice.ending import Ending


@dataclass(frozen=True)
class SliceFacts:
    """One instant. ``machines`` are those that ``may_touch`` says are ours to act on."""

    cms: tuple[str, ...] = ()
    """URNs of the CMs that machines may be asked of, preferred first."""
    machines: tuple[SliverNode, ...] = ()
    doubted: tuple[SliverNode, ...] = ()
    """Machines of ours that the last manifests lack and that are not known to be gone: nothing is done about
    them. Of one that was last seen in an earlier run, the client_id and the sliver_id alone are known."""
    unseen: frozenset[tuple[str, str]] = frozenset()
    """(CM, client_id) of all that may be held although no manifest shows it: those, and what CMs last held
    that were not heard in this run. They count."""
    foreign: tuple[SliverNode, ...] = ()
    """Machines in the last manifests that are not ours: they are there, and that is all."""
    unexplained: frozenset[MachineId] = frozenset()
    """Keys of the machines that are ours by their name alone: nobody remembers asking for them."""
    fresh: frozenset[MachineId] = frozenset()
    """Keys of the machines that were asked for, or seen to start, in this run of the agent."""
    all_read: bool = False
    """Whether every CM's manifest was read: else there may be more machines of ours."""
    read: frozenset[str] = frozenset()
    """The CMs whose manifest was read."""
    ready: frozenset[MachineId] = frozenset()
    """Keys of the machines that have booted."""
    failed: frozenset[MachineId] = frozenset()
    """Keys of the machines that are of no use."""
    statuses: Mapping[MachineId, NodeStatus] = field(default_factory=dict)
    """Key of a machine -> its entry in the last ``SliverStatus``."""
    requested: tuple[Intent, ...] = ()
    """Machines that were asked for and have not been seen."""
    leaving: tuple[Intent, ...] = ()
    """Machines that a CM was asked to take back, while that is not settled."""
    leases: Mapping[str, datetime] = field(default_factory=dict)
    """CM -> until when its sliver lasts."""
    endings: Mapping[str, Ending] = field(default_factory=dict)
    """CM -> the end of its sliver, where that is near and nobody renews it: its machines are emptied."""
    lease_seconds: float = 0.0
    """For how long a machine would be lent that is asked for now."""
    values: Mapping[Place, ResourceValue] = field(default_factory=dict)
    """Place -> resource value; ``value_of`` finds a machine's."""
    revocations: Mapping[Place, Revocation] = field(default_factory=dict)
    """Place -> revocation; ``revocation_of`` finds a machine's."""
    over: Mapping[str, datetime] = field(default_factory=dict)
    """CM whose lease ended while it does not answer -> when. Nobody knows whether its machines are there, or
    whose they are now: none is counted on or acted on, and none believed gone before a manifest says so."""
    taken: Mapping[Place, Taken] = field(default_factory=dict)
    """Place -> what Cloudlab said of a machine that it took, until the manifest confirms it."""
    free: Mapping[str, tuple[AdvertisedNode, ...]] = field(default_factory=dict)
    """CM -> the machines that it could lend, without those that are ours since; no key while unknown."""
    everything: Mapping[str, tuple[AdvertisedNode, ...]] = field(default_factory=dict)
    """CM -> all its machines; no key while unknown."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """CM -> how many of the machines that we may ask for are free there; no key while unknown."""
    stays_free: float = 0.5
    """Fraction of a CM's machines that are left to others (``percent_available_minimum``)."""
    avoided: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """CM -> hardware types that failed just now and are left alone there."""
    exhausted: frozenset[str] = frozenset()
    """The CMs that had no machine for us just now and are asked for none."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """CM that is asked for no machine now, one that is exhausted included -> until or while what."""
    admitted: Mapping[tuple[str, str], Admission] = field(default_factory=dict)
    """(CM, type) -> how many more of it the CM gives, by what it refused; no key where that is not limited.
    The type is "" where any will do."""
    fitting: Mapping[str, int] = field(default_factory=dict)
    """CM -> how many free machines there are of a type that we may ask for now; no key while unknown."""
    turns: tuple[str, ...] = ()
    """The CMs in the order in which machines are asked of them; empty for that of ``cms``."""
    overdue: frozenset[tuple[str, str]] = frozenset()
    """(CM, client_id) of those in ``requested`` that would have come by now: they count, and none waits."""
    braked: str = ""
    """Why growth is stopped, and when it is probed; "" while it goes on."""

    def revocation_of(self, machine: SliverNode) -> Revocation | None:
        """Return the revocation that is about this machine, of ours or of others; None for none."""
        return next((r for r in said_of(self.revocations, machine) if r.means(machine)), None)

    def ending_of(self, machine: SliverNode) -> Ending | None:
        """Return the end of the sliver with which this machine goes; None where that is not near."""
        return self.endings.get(machine.cm)

    def value_of(self, machine: SliverNode) -> ResourceValue | None:
        """Return how much Cloudlab wants a machine; None where it does not say."""
        return next(said_of(self.values, machine), None)

    def is_taken(self, machine: SliverNode) -> bool:
        """Tell whether Cloudlab said that it took this machine, or its lease ended and nobody answers."""
        return machine.cm in self.over or any(taken.means(machine) for taken in said_of(self.taken, machine))
