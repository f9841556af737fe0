"""What is reserved at a CM by type, and what that leaves to its slices (protogeni-2021.md §7, §8)."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from testbed.cloudlab.cm.timeline import Claim, Conflict, Use, first_conflict, most
from testbed.cloudlab.sites import Site
from testbed.cloudlab.state import CmSlice, Machine


@dataclass(frozen=True)
class Reservation:
    """Machines of one type that are set aside, or one machine by its node_id."""

    index: int
    project: str
    user: str
    """URN of the only user whom it is for, where the site counts by user; "" for the whole project."""
    hardware_type: str
    count: int
    start: datetime
    end: datetime
    created: datetime
    approved: bool = True
    notes: str = ""
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))


class Reservations:
    """The reservations of one CM. Free flags and machines know nothing of them."""

    def __init__(self, site: Site, machines: Mapping[str, Machine], slices: Mapping[str, CmSlice]) -> None:
        self._site = site
        self._machines = machines
        self._slices = slices
        self._ids = itertools.count(1)
        self._kept: dict[int, Reservation] = {}

    def next_index(self) -> int:
        """Return the number of a new reservation."""
        return next(self._ids)

    def all(self) -> tuple[Reservation, ...]:
        """Return all, oldest first."""
        return tuple(self._kept.values())

    def get(self, index: int) -> Reservation | None:
        """Return the one of this number."""
        return self._kept.get(index)

    def keep(self, reservation: Reservation) -> None:
        """Book it, in the place of one of the same number."""
        self._kept[reservation.index] = reservation

    def cancel(self, index: int) -> Reservation | None:
        """Strike one, which then lets everybody have its machines; None if there is none."""
        return self._kept.pop(index, None)

    def knows(self, hardware_type: str) -> bool:
        """Tell whether there are machines of a type, or one machine that is reserved by its node_id."""
        return bool(self._of(hardware_type))

    def conflict_with(
        self, reservation: Reservation, now: datetime, *, pending: bool = False
    ) -> Conflict | None:
        """Find when there would be too few machines if this were booked (``reserve``).

        With ``pending`` those that nobody approved yet count too.
        """
        kept = [one for one in self._kept.values() if one.index != reservation.index]
        made = replace(reservation, approved=True)
        return self._conflict(reservation.hardware_type, [*kept, made], now, pending=pending)

    def conflict_of(self, record: CmSlice, wanted: datetime, now: datetime) -> Conflict | None:
        """Find what stands against a slice's end at ``wanted``: all its types, one after the other.

        What comes at that moment or later does not count.
        """
        for kind in self._types_of(record):
            conflict = self._conflict(kind, self.all(), now, ends={record.urn: wanted})
            if conflict is not None and conflict.when < wanted:
                return conflict
        return None

    def bounds(self, record: CmSlice, now: datetime) -> dict[str, int]:
        """Tell how many machines a slice may hold until its end, by type, or by machine (MaxSwapInMap).

        Only types that are reserved at all are in it. What is set aside for its project comes on top.
        """
        found = {}
        for kind in dict.fromkeys(one.hardware_type for one in self._kept.values() if one.approved):
            own = sum(1 for machine in self._of(kind) if self._holder(machine) == record.urn)
            others = [use for use in self._uses(kind, {}) if use[0] != record.urn]
            project = record.project.lower()
            set_aside = sum(
                1 for m in self._of(kind) if m.promised_to.lower() == project and m.available_to(project)
            )
            found[kind] = set_aside + most(
                self._free(kind) + own,
                [use for _, use in others],
                self._claims(kind, self.all()),
                self._party(record.project, record.creator, kind),
                record.expires,
                now,
            )
        return found

    def using(self, project: str, hardware_type: str) -> int:
        """Count the machines of a type that a project holds."""
        held = [self._slices.get(self._holder(machine)) for machine in self._of(hardware_type)]
        return sum(1 for record in held if record is not None and record.project == project)

    def barred(self, project: str, now: datetime) -> frozenset[str]:
        """Return the node_ids of machines that are reserved singly for other projects now."""
        singly = {one.hardware_type: one.project for one in self._kept.values() if one.start <= now < one.end}
        return frozenset(
            node_id for node_id in self._site.reservable if singly.get(node_id, project) != project
        )

    def of_machine(self, machine: Machine) -> str:
        """Return what a machine counts as: its type, or itself where it is reserved singly."""
        return machine.node_id if machine.node_id in self._site.reservable else machine.hardware_type

    # --- what the timeline is made of

    def _conflict(
        self,
        kind: str,
        reservations: Iterable[Reservation],
        now: datetime,
        *,
        ends: Mapping[str, datetime] | None = None,
        pending: bool = False,
    ) -> Conflict | None:
        uses = [use for _, use in self._uses(kind, ends or {})]
        return first_conflict(self._free(kind), uses, self._claims(kind, reservations, pending=pending), now)

    def _of(self, kind: str) -> list[Machine]:
        return [machine for machine in self._machines.values() if self.of_machine(machine) == kind]

    def _types_of(self, record: CmSlice) -> list[str]:
        held = record.aggregate.nodes.values() if record.aggregate else ()
        return list(dict.fromkeys(self.of_machine(s.machine) for s in held if s.reserved))

    def _holder(self, machine: Machine) -> str:
        return machine.holder.slice_urn if machine.holder else ""

    def _free(self, kind: str) -> int:
        """Count what nobody has. A machine that reloads counts as free, one set aside by name does not."""
        return sum(1 for m in self._of(kind) if m.holder is None and not m.used_by and not m.promised_to)

    def _uses(self, kind: str, ends: Mapping[str, datetime]) -> list[tuple[str, Use]]:
        """Return each use with the URN of its slice; a machine with another user in sight never ends."""
        counted: Counter[tuple[str, str, datetime | None]] = Counter()
        for machine in self._of(kind):
            if machine.holder is None:
                if machine.used_by:
                    counted["", machine.used_by, None] += 1
                continue
            record = self._slices.get(machine.holder.slice_urn)
            if record is None:
                # The slice is being made: its end is not known yet.
                continue
            end = ends.get(record.urn, record.expires)
            kept = machine.next_for or (machine.promised_to and machine.promised_from is None)
            party = self._party(record.project, record.creator, kind)
            counted[record.urn, party, None if kept else end] += 1
        return [(name, Use(party, count, end)) for (name, party, end), count in counted.items()]

    def _claims(
        self, kind: str, reservations: Iterable[Reservation], *, pending: bool = False
    ) -> Sequence[Claim]:
        return [
            Claim(self._party(one.project, one.user, kind), one.count, one.start, one.end)
            for one in reservations
            if one.hardware_type == kind and (one.approved or pending)
        ]

    def _party(self, project: str, user: str, kind: str) -> str:
        """Say whom machines count for: a user only where the site counts so, and he has a reservation."""
        if self._site.reservations_for == "user" and any(
            (one.project, one.user, one.hardware_type) == (project, user, kind) for one in self._kept.values()
        ):
            return f"{project} {user}"
        return project
