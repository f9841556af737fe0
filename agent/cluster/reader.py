"""Reads Slurm, and takes in what one reading adds to those before it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.held import held_nodes
from agent.cluster.drain.wanted import drains_of
from agent.cluster.grow.demand import still_waiting
from agent.cluster.grow.selecting import Selecting
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import History, Moment
from agent.cluster.power.power import still_forsaken
from agent.core.errors import SlurmError
from agent.slurm.model import SlurmBackend, Snapshot
from agent.slurm.reservation import Reservation

log = structlog.get_logger()


class Reader:
    """Reads all of Slurm that decisions go by.

    Args:
        desk: has the settings in force.
        memory: keeps what was read.
        backend: the way in to Slurm.
        limited: reads the names of the partitions that give every job a time limit, where nodes are fenced.
    """

    def __init__(
        self, desk: Desk, memory: Memory, backend: SlurmBackend, limited: Callable[[], frozenset[str]]
    ) -> None:
        self._desk = desk
        self._memory = memory
        self._backend = backend
        self._limited = limited
        self._selecting = Selecting(backend, desk.clock)

    def read(self) -> Moment:
        """Read Slurm, and since when things are so; return the moment that follows.

        Raises:
            SlurmError: it could not be read; what was known stays.
        """
        known = self._memory.known
        reading, began = known.begin(), self._desk.clock.steady()
        before = known.snapshot.nodes.keys() if known.snapshot else frozenset()
        snapshot = self._backend.snapshot()
        if self._desk.settings.drain.fence:
            known.limited = self._limited()
        known.scheduling = self._selecting.read(snapshot)
        reservations = self._reservations(snapshot)
        if known.take(reading, snapshot, began):
            known.reservations = reservations
            # A long queue takes its time: Cloudlab's calls, which need the lock, do not wait for that.
            known.learn(reading, look_back(moment := self._memory.now()))
            self._memory.machine_types.learn(moment)
            if self._desk.settings.drain.foresight == "history":
                self._memory.run_times.learn(snapshot, self._backend.endings)
                self._memory.run_times.look_up()
        moment = self._memory.now()
        is_new = self._desk.settings.drain.fence and not moment.joined <= before
        if is_new or held_nodes(moment):
            # A fence is not to come a look at the drains later than the node.
            self._desk.look_at_drains()
        return moment

    def _reservations(self, snapshot: Snapshot) -> tuple[Reservation, ...] | None:
        """Read what may keep jobs off; None where none wants room, or it could not be read."""
        if not self._wants_room(snapshot):
            return None
        try:
            return self._backend.reservations()
        except SlurmError as error:
            log.warning("jobs are placed without a look at reservations", error=str(error))
            return None

    def _wants_room(self, snapshot: Snapshot) -> bool:
        is_wanted = self._desk.settings.demand.min_nodes or any(j.state == "PENDING" for j in snapshot.jobs)
        return bool(is_wanted or drains_of(replace(self._memory.now(), snapshot=snapshot)))

    def look_again(self) -> Moment:
        """Read nodes and jobs alone, in between; return the moment that follows.

        Raises:
            SlurmError: they could not be read; what was known stays.
        """
        reading, began = self._memory.known.begin(), self._desk.clock.steady()
        self._memory.known.take(reading, self._backend.snapshot(), began)
        return self._memory.now()


def look_back(moment: Moment) -> History:
    """Tell since when nodes are idle, joined and out of service, and jobs wait.

    A restart of the agent begins none of it anew. For what the first reading finds there are better sources:
    Slurm's own time for a node that is idle, and the boot of its machine, which comes to us by one, for one
    that has joined. A machine that came new behind the node of an earlier one begins anew, where that can be
    told: by what was seen behind the node before, or by a reason there that was meant for another.

    Args:
        moment: with a new reading of Slurm, and the history before it; None for the first.
    """
    snapshot, earlier = moment.snapshot, moment.history
    if snapshot is None:
        return earlier or History()
    now = moment.read_at
    first = (
        History(found=frozenset(n.name for n in snapshot.nodes.values() if n.at_work))
        if earlier is None
        else earlier
    )
    machines = {name: moment.machines[name].key for name in moment.joined}
    seen = {name: key for name, key in first.machines.items() if name in snapshot.nodes}
    new = {n for n, key in machines.items() if (seen[n] != key if n in seen else n in moment.inherited)}
    found = first.found - new
    idle_since, joined_since = _without(first.idle_since, new), _without(first.joined_since, new)
    idle = {node.name: node for node in snapshot.nodes.values() if node.is_free}
    was_there = idle.keys() & found if earlier is None else ()
    idle_before = {n: moment.since(time) for n in was_there if (time := idle[n].last_busy)}
    known = {n: snapshot.nodes[n].booted for n in found & moment.joined}
    booted = {n: moment.since(time) for n, time in known.items() if time}
    return History(
        idle_since={n: idle_since.get(n, idle_before.get(n, now)) for n in idle},
        joined_since={n: joined_since.get(n, booted.get(n, now)) for n in moment.joined},
        found=found,
        machines={**seen, **machines},
        waiting_since=still_waiting(moment),
        forsaken_since=still_forsaken(moment),
    )


def _without(since: Mapping[str, datetime], names: Collection[str]) -> dict[str, datetime]:
    return {name: time for name, time in since.items() if name not in names}
