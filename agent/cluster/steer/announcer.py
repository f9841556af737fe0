"""Keeps the tables of contrib/slurm-plugin up to date: one here, for submits, and one on each machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath

from agent.cluster.desk import Desk
from agent.cluster.moment import Moment
from agent.cluster.reach import Reach
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.steer.tables import borrowed_table, lease_table, write_table
from agent.core import threads
from agent.core.errors import ConfigError
from agent.core.events import EventKind
from agent.core.model import MachineId, SliverNode
from agent.core.ports import Series, Upload

TIMEOUT = 60.0
"""Seconds for one machine's file; a machine that does not take it is asked again after as long."""


@dataclass(frozen=True)
class Told:
    """What a machine was told last."""

    lease_end: datetime | None
    when: datetime
    """By the steady clock."""
    done: bool
    """It took the file."""


def is_due(told: Told | None, lease_end: datetime | None, settings: PluginSettings, now: datetime) -> bool:
    """Decide whether a machine's file has to be written (again): a fault, a renewal, or a sign of life."""
    if told is None:
        return True
    silent = now - told.when
    if not told.done:
        return silent >= timedelta(seconds=TIMEOUT)
    # Two signs of life may be lost before a machine takes the agent for dead.
    alive = settings.orphan_after == 0 or silent < timedelta(seconds=settings.orphan_after / 3)
    return told.lease_end != lease_end or not alive


class Announcer:
    """Writes the tables where [plugin] asks for them. A fault is told, and costs nothing else.

    Args:
        desk: told of faults.
        reach: runs commands on machines.
    """

    def __init__(self, desk: Desk, reach: Reach) -> None:
        self._desk = desk
        self._reach = reach
        self._told: dict[MachineId, Told] = {}
        """Key of a machine -> what it was told."""
        self._writing: set[MachineId] = set()
        """Keys of the machines that are told now."""
        self._fault = ""

    def look(self, moment: Moment) -> None:
        """Write the table for submits; begin to write the files of the machines that have to be told."""
        settings, expires, now = moment.settings, moment.slice.leases, moment.now
        ends = [expires[m.cm] for m in moment.machines.values() if m.cm in expires]
        no_machine = now + timedelta(seconds=moment.slice.lease_seconds)
        self._write_table(settings, min(ends, default=no_machine), now)
        if settings.plugin.lease is None:
            return
        working = [moment.machines[name] for name in sorted(moment.joined) if moment.nodes[name].at_work]
        with self._desk.lock:
            held = {m.key for m in moment.machines.values()}
            self._told = {key: told for key, told in self._told.items() if key in held}
            due = [
                (m, expires.get(m.cm))
                for m in working
                if m.key not in self._writing
                and is_due(self._told.get(m.key), expires.get(m.cm), settings.plugin, moment.steady)
            ]
            self._writing.update(machine.key for machine, _ in due)
        for machine, lease_end in due:
            try:
                threads.errand(f"lease-{machine.node_id}", partial(self._write_lease, machine, lease_end))
            except RuntimeError:
                with self._desk.lock:
                    self._writing.difference_update(each.key for each, _ in due)
                raise

    def files(self, lease_end: datetime | None) -> Series:
        """Return what is done on a machine to tell it of its lease; nothing where no file is asked for."""
        settings = self._desk.settings.plugin
        if settings.lease is None:
            return ()
        text = lease_table(settings, lease_end=lease_end, now=self._desk.clock.now())
        # Users' jobs read it: the directory that an upload makes would be closed to them.
        place = f"umask 022; mkdir -p {PurePosixPath(settings.lease).parent}"
        return (place, Upload(settings.lease, text.encode(), 0o644))

    def _write_table(self, settings: ClusterSettings, lease_end: datetime, now: datetime) -> None:
        if settings.plugin.table is None:
            return
        text = borrowed_table(settings.plugin, partitions=settings.partitions, lease_end=lease_end, now=now)
        fault = ""
        try:
            write_table(settings.plugin.table, text)
        except ConfigError as error:
            fault = str(error)
        if fault and fault != self._fault:
            self._desk.tell(EventKind.PLUGIN, "", fault)
        self._fault = fault

    def _write_lease(self, machine: SliverNode, lease_end: datetime | None) -> None:
        error = "its thread ended"
        try:
            error = self._reach.run(machine, self.files(lease_end), TIMEOUT).error
        finally:
            with self._desk.lock:
                self._told[machine.key] = Told(lease_end, self._desk.clock.steady(), not error)
                self._writing.discard(machine.key)
        if error:
            self._desk.tell(EventKind.PLUGIN, machine.node_id, f"its lease file was not written: {error}")
