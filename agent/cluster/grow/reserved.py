"""Which reservations keep waiting jobs off which machines: a pure decision, as slurmctld makes it.

A job that asks for no reservation starts on no node of one that begins before the job would end. One of all
nodes, or of all nodes of its partition, keeps it off whatever machine comes meanwhile (``job_test_resv`` in
reservation.c of slurmctld).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from agent.cluster.drain.fence import is_fence
from agent.cluster.moment import LONG_AGO, Moment
from agent.cluster.reasons import write_time
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.reservation import Reservation

BOOT = timedelta(minutes=10)
"""How long a machine takes to come. A reservation that is over by then keeps nobody off."""
_YEAR = timedelta(days=365)
"""How long a job without a limit takes, for Slurm."""
_FLAGS = frozenset({"RESERVED", "MAINTENANCE"})
"""Of nodes in a reservation that has begun."""


@dataclass(frozen=True)
class Reserved:
    """The reservations that are looked at, and since when."""

    now: datetime = LONG_AGO
    """When a job would start that finds room."""
    whole: tuple[Reservation, ...] = ()
    """Those that take their nodes as a whole."""
    parts: tuple[Reservation, ...] = ()
    """Those that take some of the CPUs of their nodes."""
    let_go: frozenset[str] = frozenset()
    """Names of nodes whose flags tell of nothing else than of these, or of those that are over soon."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """Node name -> the CPUs that are kept for others."""
    _known: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self.whole or self.parts)

    def against(self, job: Job, later: timedelta = timedelta()) -> str:
        """Say which reservation keeps a job off every machine, also one that comes; "" for none.

        Args:
            job: waits for room.
            later: how long after now it would start.
        """
        if not self.whole:
            return ""
        over_all = [r for r in self.whole if _is_everywhere(r) and self._is_in_the_way(r, job, later)]
        of_all = next((r for r in over_all if "ALL_NODES" in r.flags), None)
        closed = {r.partition: r for r in over_all}
        if of_all is None and job.partitions and closed.keys() >= set(job.partitions):
            of_all = closed[job.partitions[0]]
        if of_all is None:
            return ""
        if of_all.starts <= self.now + later:
            return f"reservation {of_all.name} keeps it off until {write_time(of_all.ends)}"
        return f"reservation {of_all.name} begins at {write_time(of_all.starts)}, before it would end"

    def against_more(self) -> str:
        """Say which reservation keeps every job off a machine when it has come; "" for none."""
        start = self.now + BOOT
        stands = (r for r in self.whole if "ALL_NODES" in r.flags and r.starts <= start < r.ends)
        return next((f"reservation {r.name} keeps jobs off until {write_time(r.ends)}" for r in stands), "")

    def seen_by(self, job: Job) -> Job:
        """Return a job as one that takes no node where a reservation keeps it off."""
        if not (self.whole or self.parts):
            return job
        key = (job.time_limit, job.begins, job.user, job.exclusive, job.excluded_nodes)
        if key not in self._known:
            stand = (*self.whole, *self.parts) if job.exclusive else self.whole
            off = (r.nodes for r in stand if self._is_in_the_way(r, job))
            self._known[key] = job.excluded_nodes.union(*off)
        excluded = self._known[key]
        closed = {r.partition for r in self.whole if _is_everywhere(r) and self._is_in_the_way(r, job)}
        if excluded == job.excluded_nodes and closed.isdisjoint(job.partitions):
            return job
        return replace(
            job,
            excluded_nodes=excluded,
            partitions=tuple(name for name in job.partitions if name not in closed) or job.partitions,
        )

    def applied_to(self, snapshot: Snapshot) -> Snapshot:
        """Return what Slurm says without its flags for reservations: ``seen_by`` tells whom they keep off."""
        touched = self.let_go | self.withheld.keys()
        changed = {n: self._node(snapshot.nodes[n]) for n in sorted(touched & snapshot.nodes.keys())}
        return replace(snapshot, nodes={**snapshot.nodes, **changed}) if changed else snapshot

    def _node(self, node: Node) -> Node:
        left = (node.layout.usable_cpus or node.cpus) - self.withheld.get(node.name, 0)
        if left <= 0:
            return replace(node, flags=node.flags | {"RESERVED"})
        flags = node.flags - _FLAGS if node.name in self.let_go else node.flags
        if node.name not in self.withheld:
            return replace(node, flags=flags)
        return replace(node, flags=flags, layout=replace(node.layout, usable_cpus=left))

    def _is_in_the_way(self, r: Reservation, job: Job, later: timedelta = timedelta()) -> bool:
        start = max(self.now, job.begins or self.now) + later
        if "MAGNETIC" in r.flags and job.user in r.users and r.starts <= start + BOOT:
            return False
        return r.starts < start + (_YEAR if job.time_limit is None else job.time_limit) and r.ends > start


NOTHING = Reserved()
"""No reservation is known."""


def reserved_of(moment: Moment) -> Reserved:
    """Tell which reservations keep jobs off which nodes.

    Fences on our own machines are left out: how long jobs may be there is told by what is wanted of them
    (``agent.cluster.grow.horizon``), which those that stand follow.
    """
    snapshot = moment.snapshot
    if snapshot is None or not moment.reservations:
        return NOTHING
    now, ours = snapshot.taken, moment.machines.keys()
    fences = [r for r in moment.reservations if is_fence(r)]
    others = [r for r in moment.reservations if not is_fence(r)]
    others += [replace(r, nodes=r.nodes - ours) for r in fences if r.nodes - ours]
    lasting = [r for r in others if r.ends > now + BOOT]
    parts = tuple(r for r in lasting if _is_part(r, snapshot.nodes))
    fenced = _nodes_of(r for r in fences if r.starts <= now)
    return Reserved(
        now,
        tuple(r for r in lasting if r not in parts),
        parts,
        _nodes_of(r for r in others if r.starts <= now) - fenced,
        _withheld(parts),
    )


def _is_everywhere(r: Reservation) -> bool:
    return "ALL_NODES" in r.flags or ("PART_NODES" in r.flags and bool(r.partition))


def _is_part(r: Reservation, nodes: Mapping[str, Node]) -> bool:
    """Tell whether it leaves some CPUs of its nodes to others."""
    return 0 < r.cpus < sum(nodes[name].cpus for name in r.nodes if name in nodes)


def _withheld(parts: Iterable[Reservation]) -> dict[str, int]:
    withheld: dict[str, int] = {}
    for r in parts:
        for name in r.nodes:
            withheld[name] = withheld.get(name, 0) + -(-r.cpus // len(r.nodes))
    return withheld


def _nodes_of(reservations: Iterable[Reservation]) -> frozenset[str]:
    return frozenset(name for r in reservations for name in r.nodes)
