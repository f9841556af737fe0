"""What is known of our machines, kept up to date from manifests and statuses. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.core.model import MachineId, NodeStatus, Sliver, SliverNode, SliverStatus, differ
from agent.core.settings import format_duration


@dataclass(frozen=True)
class Verdict:
    """What became of a machine that was asked for."""

    status: str
    """``ready``, ``failed``, or "" while it is open."""
    reason: str = ""


def judge_boot(
    status: NodeStatus | None, asked: datetime, now: datetime, boot_timeout: float, *, given_up: bool = False
) -> Verdict:
    """Decide whether a machine has booted, from a status that was read now.

    A machine that a CM gave up on reads as starting at the next poll (``GeniSliver.pm ComputeStatus``), so
    the deadline is our own; a CM of today names it besides.

    Args:
        status: its entry in ``SliverStatus``; None where it has none.
        asked: when it was asked for, or first seen.
        now: when the status was read.
        boot_timeout: seconds.
        given_up: the CM is not waiting for machines any more, and names it as one that failed.
    """
    if status is not None and status.ready:
        return Verdict("ready", "it is started and ready")
    if status is not None and status.failed:
        return Verdict("failed", f"its status is {status.status}: {status.error or 'no reason given'}")
    if given_up:
        return Verdict("failed", "its CM says that it failed to set up")
    if (now - asked).total_seconds() > boot_timeout:
        seen = f"{status.state}, {status.status}, {status.rawstate}" if status else "no status"
        return Verdict("failed", f"it is not ready after {format_duration(boot_timeout)} ({seen})")
    return Verdict("")


def entry_of(node: SliverNode, entries: Collection[NodeStatus]) -> NodeStatus | None:
    """Find a machine's entry in a status, by client_id and sliver_id, or by both its names; None for none."""
    named = [e for e in entries if (e.client_id or e.sliver_id) and not differ(e.client_id, node.client_id)]
    exact = (e for e in named if not differ(e.sliver_id, node.sliver_id))
    return next(exact, next((e for e in named if e.client_id and e.node_id == node.node_id), None))


@dataclass(frozen=True)
class Sightings:
    """How often in a row something odd was seen; looks that follow each other at once are one."""

    count: int = 0
    last: datetime | None = None
    """When it was counted last, by the steady clock."""

    def again(self, now: datetime, spacing: float) -> Sightings:
        """Return it with one more look, if so many seconds lie between."""
        is_soon = self.last is not None and (now - self.last).total_seconds() < spacing
        return self if is_soon else Sightings(self.count + 1, now)


@dataclass
class Machine:
    """One machine, from its first manifest to its last."""

    node: SliverNode
    since: datetime
    """When it was asked for, or first seen, where nobody remembers; by the steady clock."""
    fate: str = ""
    """``ready`` or ``failed`` once that is settled; it is settled once."""
    reason: str = ""
    proven: bool = False
    """It was of use once: a later fault of it says nothing about new machines."""
    new: bool = True
    """It was asked for or seen to start: any other that is ready was of use before this run."""
    missed: Sightings = Sightings()
    """Manifests in a row that lacked it."""
    denied: Sightings = Sightings()
    """Times in a row that its CM said that it is not reserved to us."""
    met: bool = True
    """A manifest showed it in this run; else it is only remembered that an earlier one had it."""

    @property
    def missing(self) -> int:
        """How many manifests in a row lacked it."""
        return self.missed.count

    @property
    def disowned(self) -> int:
        """How often in a row its CM said that it is not reserved to us."""
        return self.denied.count


@dataclass(frozen=True)
class Changes:
    """What a manifest changed."""

    new: tuple[SliverNode, ...]
    gone: tuple[SliverNode, ...]
    missing: tuple[SliverNode, ...]
    """Not in this manifest, and nobody said why: gone if the next ones lack them too."""
    foreign: tuple[SliverNode, ...] = ()
    """Not ours, and not there before."""
    foreign_gone: tuple[SliverNode, ...] = ()
    """Not ours, and not there any more."""


class MachineBook:
    """Machines by CM. Not thread-safe: its owner holds a lock.

    Attributes:
        slivers: CM -> what the last good read said (None: it holds nothing); no key while it was never read.
        statuses: CM -> the last good ``SliverStatus``.
    """

    def __init__(self) -> None:
        self.slivers: dict[str, Sliver | None] = {}
        self.statuses: dict[str, SliverStatus] = {}
        self._machines: dict[str, dict[MachineId, Machine]] = {}
        self._present: dict[str, dict[MachineId, SliverNode]] = {}
        """CM -> the machines in its last manifest that may be touched."""
        self._foreign: dict[str, dict[MachineId, SliverNode]] = {}
        """CM -> the machines in its last manifest that were never ours."""
        self._empty: dict[str, Sightings] = {}
        """CM -> manifests in a row of a sliver without any machine."""
        self._absent: dict[str, Sightings] = {}
        """CM -> how often in a row it said that it holds nothing."""
        self._lost: dict[str, dict[MachineId, SliverNode]] = {}
        """In the manifest, and not ours any more: gone for everybody, and to be deleted."""

    def recognise(self, cm: str, sliver: Sliver | None) -> Sliver | None:
        """Return a manifest in which the machines that are known have the sliver_id that they are known by.

        A machine stays the same where one manifest leaves its sliver_id out, and another does not. One that
        several have tells nothing of any.
        """
        if sliver is None:
            return None
        keys = (*self._lost.get(cm, ()), *self._machines.get(cm, ()), *self._foreign.get(cm, ()))
        known = {key[:3]: key.sliver_id for key in keys}
        often = Counter(node.sliver_id for node in sliver.nodes)
        told = {node.key: node.sliver_id if often[node.sliver_id] == 1 else "" for node in sliver.nodes}
        named = (known.get(node.key[:3], told[node.key]) for node in sliver.nodes)
        nodes = tuple(
            node if differ(told[node.key], sliver_id) else replace(node, sliver_id=sliver_id)
            for node, sliver_id in zip(sliver.nodes, named, strict=True)
        )
        return replace(sliver, nodes=nodes)

    def observe(
        self,
        cm: str,
        sliver: Sliver | None,
        *,
        now: datetime,
        ours: Callable[[SliverNode], bool],
        parts: Collection[SliverNode] = (),
        asked: Mapping[str, datetime],
        announced: Callable[[SliverNode], bool],
        sightings: int,
        spacing: float = 0,
        remembered: Iterable[SliverNode] = (),
    ) -> Changes:
        """Take in a manifest that was read without fault.

        Args:
            cm: the CM.
            sliver: what it holds for us; None for nothing.
            now: when it was read.
            ours: tells whether a machine is ours.
            parts: what is in it that is neither a machine nor another's.
            asked: client_id -> when it was asked for.
            announced: tells whether a machine's leaving surprises nobody.
            sightings: manifests in a row that must lack any other machine before it counts as gone.
            spacing: seconds between two of them; what follows sooner may be the same fault of the CM.
            remembered: what was ours in an earlier run. What the first manifest of this one lacks of it is
                as much in doubt as what later ones lack; nobody is told of it before it is seen.
        """
        self.slivers[cm] = sliver
        if sliver is None:
            self.statuses.pop(cm, None)
        absent, empty = self._absent.get(cm, Sightings()), self._empty.get(cm, Sightings())
        self._absent[cm] = absent.again(now, spacing) if sliver is None else Sightings()
        if cm not in self._machines:
            self._machines[cm] = {node.key: Machine(node, now, met=False) for node in remembered}
        known = self._machines[cm]
        nodes = [node for node in sliver.nodes if node not in parts] if sliver else []
        strangers, before = {n.key: n for n in nodes if not ours(n)}, self._foreign.get(cm, {})
        self._foreign[cm] = strangers
        listed = {n.key: n for n in nodes if n.key not in strangers}
        lost = self._lost[cm] = {k: n for k, n in self._lost.get(cm, {}).items() if k in listed}
        present = self._present[cm] = {key: node for key, node in listed.items() if key not in lost}
        others = (*present.values(), *strangers.values())
        in_place = {n.client_id for n in others} | {n.node_id for n in others}
        gone: list[SliverNode] = []
        missing: list[SliverNode] = []
        for key in [k for k in known if k not in present]:
            machine = known[key]
            machine.missed = machine.missed.again(now, spacing)
            node = machine.node
            replaced = node.client_id in in_place or (node.node_id and node.node_id in in_place)
            is_gone = replaced or announced(node) or machine.missing >= sightings
            if is_gone:
                del known[key]
            if machine.met:
                (gone if is_gone else missing).append(node)
        new: list[SliverNode] = []
        for key, node in present.items():
            if key in known and known[key].met:
                known[key].node, known[key].missed = node, Sightings()
            else:
                since = asked.get(node.client_id)
                known[key] = Machine(node, since or now, new=since is not None)
                new.append(node)
        is_empty = sliver is not None and not nodes
        self._empty[cm] = empty.again(now, spacing) if is_empty else Sightings()
        return Changes(
            tuple(new),
            tuple(gone),
            tuple(missing),
            foreign=tuple(n for key, n in strangers.items() if key not in before),
            foreign_gone=tuple(n for key, n in before.items() if key not in strangers and key not in present),
        )

    def judge(self, status: SliverStatus, now: datetime, boot_timeout: float) -> tuple[Machine, ...]:
        """Take in a status that was read now; return the machines whose fate it settled."""
        self.statuses[status.cm] = status
        for machine in self._machines.get(status.cm, {}).values():
            machine.denied = Sightings()
        given_up = status.given_up if status.status != "changing" else frozenset()
        return self._judge(status.cm, status.nodes, now, boot_timeout, given_up)

    def judge_unseen(self, cm: str, now: datetime, boot_timeout: float) -> tuple[Machine, ...]:
        """Judge by the deadline alone, where no status is to be had; return the machines that it settled."""
        return self._judge(cm, (), now, boot_timeout)

    def _judge(
        self,
        cm: str,
        entries: Collection[NodeStatus],
        now: datetime,
        boot_timeout: float,
        given_up: Collection[str] = (),
    ) -> tuple[Machine, ...]:
        settled = []
        for machine in self._machines.get(cm, {}).values():
            if machine.fate or machine.missing:
                continue
            node = machine.node
            is_given_up = node.node_id in given_up
            entry = entry_of(node, entries)
            verdict = judge_boot(entry, machine.since, now, boot_timeout, given_up=is_given_up)
            machine.new = machine.new or verdict.status != "ready"
            machine.proven = machine.proven or not machine.new
            if verdict.status:
                machine.fate, machine.reason = verdict.status, verdict.reason
                settled.append(machine)
        return tuple(settled)

    def give_up(self, cm: str, client_id: str, reason: str) -> Machine | None:
        """Settle a machine as failed, even a ready one; None where it is unknown or failed before."""
        for machine in self._machines.get(cm, {}).values():
            if machine.node.client_id == client_id and machine.fate != "failed":
                machine.fate, machine.reason = "failed", reason
                return machine
        return None

    def disown(
        self, cm: str, node_id: str, sightings: int, now: datetime, spacing: float = 0
    ) -> Machine | None:
        """Count that a CM named a machine as not reserved to us; None where it is none of ours.

        At the last sighting it is out of the book (``lost`` lists it), though the manifest still has it.
        """
        machines = self._machines.get(cm, {})
        key = next((k for k, m in machines.items() if m.node.node_id == node_id), None)
        if key is None:
            return None
        machine = machines[key]
        machine.denied = machine.denied.again(now, spacing)
        if machine.disowned >= sightings:
            del machines[key]
            self._present.get(cm, {}).pop(key, None)
            self._lost.setdefault(cm, {})[key] = machine.node
        return machine

    def lost(self, cm: str) -> tuple[SliverNode, ...]:
        """Return the machines that the last manifest of a CM has and that are not ours any more."""
        return tuple(self._lost.get(cm, {}).values())

    def is_bare(self, cm: str, sightings: int) -> bool:
        """Tell whether a CM showed an empty sliver so many times in a row, and no machine is in doubt."""
        return self._empty.get(cm, Sightings()).count >= sightings and not self._machines.get(cm)

    def prove(self, node: SliverNode) -> bool:
        """Mark a machine as of use; False where it was before, or is unknown."""
        machine = self._machines.get(node.cm, {}).get(node.key)
        if machine is None or machine.proven:
            return False
        machine.proven = True
        return True

    def may_touch(self, node: SliverNode) -> bool:
        """Tell whether a machine is ours to act on, with its node and its jobs.

        The last manifest has it, and it is ours (``Ownership``). Every act passes here: what ``held`` lists,
        and a machine that was met before and may be gone since.
        """
        return node.key in self._present.get(node.cm, {})

    def foreign(self, cm: str | None = None) -> tuple[SliverNode, ...]:
        """Return the machines in the last manifests that are not ours, of one CM or of all."""
        foreign = self._foreign.values() if cm is None else [self._foreign.get(cm, {})]
        return tuple(node for machines in foreign for node in machines.values())

    def held(self, cm: str | None = None) -> tuple[SliverNode, ...]:
        """Return the machines in the last manifests that may be touched, of one CM or of all."""
        present = self._present.values() if cm is None else [self._present.get(cm, {})]
        return tuple(node for machines in present for node in machines.values())

    def doubted(self, cm: str | None = None) -> tuple[SliverNode, ...]:
        """Return our machines that the last manifest lacks and that are not known to be gone.

        Of one that this run has not met, the client_id and the sliver_id alone are known.
        """
        books = self._machines.values() if cm is None else [self._machines.get(cm, {})]
        return tuple(m.node for book in books for m in book.values() if m.missing)

    def is_absent(self, cm: str, sightings: int) -> bool:
        """Tell whether a CM said so many times in a row that it holds nothing."""
        return self._absent.get(cm, Sightings()).count >= sightings

    def not_gone(self, cm: str) -> dict[str, str]:
        """Return client_id -> identity of our machines, those included that the last manifests lacked."""
        return {m.node.client_id: m.node.identity for m in self._machines.get(cm, {}).values()}

    def with_fate(self, fate: str, cm: str | None = None) -> tuple[SliverNode, ...]:
        """Return the machines of this fate ("" for those that are still starting)."""
        books = self._machines.values() if cm is None else [self._machines.get(cm, {})]
        return tuple(m.node for book in books for m in book.values() if m.fate == fate and not m.missing)

    def fresh(self) -> tuple[SliverNode, ...]:
        """Return the machines that were asked for, or seen to start, in this run."""
        return tuple(m.node for book in self._machines.values() for m in book.values() if m.met and m.new)

    def unproven(self, since: datetime) -> tuple[SliverNode, ...]:
        """Return the machines that may still prove themselves: neither of use yet, nor failed, nor in doubt.

        Args:
            since: when the first was asked for that is still waited for; what became of an older one that is
                not ready nobody tells.
        """
        return tuple(
            m.node
            for book in self._machines.values()
            for m in book.values()
            if not (m.proven or m.missing or m.disowned)
            and (m.fate == "ready" or (not m.fate and m.since >= since))
        )

    def in_doubt(self, cm: str) -> bool:
        """Tell whether a CM denied a machine, in a manifest or by name, and the next look decides."""
        return any(machine.missing or machine.disowned for machine in self._machines.get(cm, {}).values())

    def status_of(self, node: SliverNode) -> NodeStatus | None:
        """Return a machine's entry in the last status; None where there is none."""
        status = self.statuses.get(node.cm)
        return entry_of(node, status.nodes) if status else None
