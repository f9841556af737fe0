"""A fence in time: reservations that keep jobs off nodes which would not end before the nodes go.

A job without a time limit never starts before a fence, however far away it is (reservations, scontrol(1)), so
only nodes are fenced all of whose partitions give every job a limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from agent.cluster.reasons import TAKEN_BACK, Drain, is_same_time
from agent.cluster.settings.drain import DrainSettings
from agent.core.errors import SlurmError
from agent.slurm.model import Node, Reservation, SlurmBackend

NAME_PREFIX = "esagent-"
"""Marks a reservation as ours."""
LENGTH = timedelta(days=365)
"""Until somebody removes it: the machine does not come back by itself."""

_LOOK_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class FencePlan:
    """What is to be changed."""

    reserve: tuple[Reservation, ...]
    remove: tuple[str, ...]
    """Names of reservations that nobody needs any more."""


def can_be_fenced(node: Node, limited: Collection[str]) -> bool:
    """Tell whether every job on this node has a time limit, by its own will or by its partition's.

    Args:
        node: the node.
        limited: names of the partitions that give every job a limit.
    """
    return bool(node.partitions) and set(node.partitions) <= set(limited)


def with_fences(
    drains: Mapping[str, Drain],
    fenced: Collection[str],
    leases: Mapping[str, datetime],
    settings: DrainSettings,
) -> tuple[dict[str, Drain], dict[str, datetime]]:
    """Put drains off where a fence does their work meanwhile.

    Args:
        drains: node name -> its drain.
        fenced: names of the nodes that can be fenced.
        leases: name of a node -> when its lease ends.
        settings: ``fence_min`` and ``cleanup_lead``.

    Returns:
        The drains, those of revocations begun only ``fence_min`` before the deadline, unless somebody else
        wants the node empty too; and node name -> from when on nothing may run there.
    """
    ends = dict(leases)
    later = dict(drains)
    for name, drain in drains.items():
        if drain.cause in TAKEN_BACK and drain.deadline is not None and name in fenced:
            ends[name] = drain.deadline
            if not drain.seconded:
                later[name] = replace(drain, since=drain.deadline - timedelta(seconds=settings.fence_min))
    lead = timedelta(seconds=settings.cleanup_lead)
    return later, {name: end - lead for name, end in ends.items()}


def plan_fence(existing: Iterable[Reservation], wanted: Mapping[str, datetime]) -> FencePlan:
    """Decide how to get from the fences that stand to those that are wanted; one for all nodes of one time.

    Args:
        existing: all reservations in Slurm; only ours are looked at.
        wanted: node name -> from when on nothing may run there.
    """
    ours = {r.name: r for r in existing if r.name.startswith(NAME_PREFIX)}
    target: dict[str, Reservation] = {}
    for node, time in sorted(wanted.items()):
        standing = next((r for r in ours.values() if node in r.nodes and is_same_time(r.starts, time)), None)
        starts = time.replace(microsecond=0)
        fence = standing or Reservation(_name(starts), frozenset(), starts, starts + LENGTH)
        known = target.get(fence.name, replace(fence, nodes=frozenset()))
        target[fence.name] = replace(known, nodes=known.nodes | {node})
    changed = tuple(r for name, r in target.items() if name not in ours or ours[name].nodes != r.nodes)
    return FencePlan(changed, tuple(sorted(ours.keys() - target.keys())))


def _name(starts: datetime) -> str:
    return f"{NAME_PREFIX}{starts.astimezone(UTC):%Y%m%dT%H%M%SZ}"


class Fencer:
    """Keeps the fences in Slurm in step with the wishes.

    Args:
        backend: the way in to Slurm.
    """

    def __init__(self, backend: SlurmBackend) -> None:
        self._backend = backend
        self._done: Mapping[str, datetime] | None = None
        self._looked: datetime | None = None

    def step(self, wanted: Mapping[str, datetime], now: datetime) -> FencePlan | None:
        """Look, where something changed or the last look is long ago, and change what differs.

        Args:
            wanted: node name -> from when on nothing may run there.
            now: when it is asked, by the steady clock.

        Returns:
            What was changed; None where nothing was looked at.

        Raises:
            SlurmError: a change failed; the others were tried all the same, and it is tried again.
        """
        fresh = self._looked is not None and now - self._looked < _LOOK_EVERY
        if fresh and self._done == wanted:
            return None
        self._looked, self._done = now, None
        plan = plan_fence(self._backend.reservations(), wanted)
        faults: list[SlurmError] = []
        changes = [partial(self._backend.reserve, r) for r in plan.reserve]
        changes += [partial(self._backend.remove_reservation, name) for name in plan.remove]
        for change in changes:
            try:
                change()
            except SlurmError as error:
                faults.append(error)
        if faults:
            raise faults[0]
        self._done = dict(wanted)
        return plan
