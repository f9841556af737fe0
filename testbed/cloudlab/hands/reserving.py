"""Machines that are set aside for others: by type and time, or by name (protogeni-2021.md §8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from testbed.cloudlab import dates
from testbed.cloudlab.assembly import SiteParts
from testbed.cloudlab.cm.reservations import Reservation
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.identities import user_urn
from testbed.cloudlab.state import Machine
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError

if TYPE_CHECKING:
    from testbed.cloudlab.engine import Engine

_LONGEST = 3650 * 86400.0


class Mark(StrEnum):
    """What an administrator may do with one machine."""

    NONE = "none"
    """Nobody else wants it any more."""
    SCHED_RESERVED = "sched-reserved"
    """A project gets it next (sched_reserve)."""
    TAKEN = "taken"
    """Somebody else has it, and the manifest of the slice that had it still names it."""
    FREED = "freed"
    """It is nobody's, and the manifest still names it: the slice's next change takes it again."""


class ReserveSteering:
    """Reserves machines in the name of others, and marks them, as an administrator does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {
            "reserve": self._reserve,
            "cancel-reservation": self._cancel,
            "reservations": self._list,
            "mark": self._mark,
            "promise": self._promise,
        }

    def reserve(
        self,
        at: str,
        kind: str,
        count: int,
        *,
        after: float = 0.0,
        seconds: float,
        project: str = "other",
        user: str = "",
        force: bool = False,
    ) -> int:
        """Reserve machines; return the reservation's number.

        Args:
            at: domain or URN of the CM.
            kind: hardware type, or node_id of a machine that is reserved singly there.
            count: how many machines.
            after: real seconds from now until it begins.
            seconds: how many real seconds it lasts.
            project: whom it is for.
            user: uid of the only user of that project whom it is for, where the site counts so; "" for all.
            force: also where it takes more than there is (``reserve -f``).

        Raises:
            SteeringError: no such CM or type, numbers out of range, or it does not fit and is not forced.
        """
        if isinstance(count, bool) or not 1 <= count <= 10_000:
            raise SteeringError(f"count must be from 1 to 10000, not {count}")
        for name, value, least in (("after", after, -_LONGEST), ("seconds", seconds, 1.0)):
            if not (math.isfinite(value) and least <= value <= _LONGEST):
                raise SteeringError(f"{name} must be a number from {least:g} to {_LONGEST:g}, not {value}")
        cm = self._places.site(at).cm
        with self._engine.mutex:
            if not cm.reservations.knows(kind):
                types = dict.fromkeys(cm.reservations.of_machine(m) for m in cm.machines.values())
                raise SteeringError(f"{cm.site.domain} has no type {kind!r}; it has {', '.join(types)}")
            now = cm.around.clock.now().replace(microsecond=0)
            start = now + timedelta(seconds=after)
            made = Reservation(
                index=cm.reservations.next_index(),
                project=project,
                user=self._user(user),
                hardware_type=kind,
                count=count,
                start=start,
                end=start + timedelta(seconds=seconds),
                created=now,
            )
            conflict = cm.reservations.conflict_with(made, now)
            if conflict is not None and not force:
                short = f"{conflict.needed} machines are missing at {dates.zulu(conflict.when)}"
                raise SteeringError(f"{count} {kind} cannot be reserved: {short}")
            cm.reservations.keep(made)
            self._engine.journal.note(
                f"{count} {kind} at {cm.site.domain} are reserved for {project} from {dates.zulu(start)} to "
                f"{dates.zulu(made.end)}"
            )
            return made.index

    def cancel(self, at: str, index: int) -> None:
        """Cancel a reservation by its number.

        Raises:
            SteeringError: no such CM, or no such reservation there.
        """
        cm = self._places.site(at).cm
        with self._engine.mutex:
            if cm.reservations.cancel(index) is None:
                raise SteeringError(f"{cm.site.domain} has no reservation {index}")
            self._engine.journal.note(f"reservation {index} at {cm.site.domain} is cancelled")

    def all(self) -> list[dict[str, object]]:
        """Return what is reserved at all CMs."""
        with self._engine.mutex:
            return [
                {
                    "at": parts.cm.site.domain,
                    "index": one.index,
                    "project": one.project,
                    "user": one.user,
                    "type": one.hardware_type,
                    "count": one.count,
                    "start": one.start,
                    "end": one.end,
                    "approved": one.approved,
                }
                for parts in self._engine.parts.values()
                for one in parts.cm.reservations.all()
            ]

    def promise(self, name: str, project: str, after: float = 0.0) -> None:
        """Reserve a machine for another project in advance (prereserve); "" ends that.

        ``after`` are real seconds until it is in force. Until then it refuses only leases that go beyond,
        without a word of when or which (protogeni-2025.md §7).

        Raises:
            SteeringError: no such machine, or no sensible number of seconds.
        """
        if not (math.isfinite(after) and 0 <= after <= _LONGEST):
            raise SteeringError(f"after must be a number from 0 to {_LONGEST:g}, not {after}")
        with self._engine.mutex:
            parts, machine = self._places.machine(name)
            machine.promised_to, machine.promised_from = project, None
            if project and after:
                machine.promised_from = parts.cm.around.clock.now() + timedelta(seconds=after)
            self._engine.journal.note(f"{name} is reserved in advance for {project or 'nobody'}")

    def mark(self, name: str, mark: str, *, project: str = "other") -> None:
        """Do with a machine what ``Mark`` says, for a project of others.

        Raises:
            SteeringError: no such machine or mark, or nobody holds what is to be taken.
        """
        try:
            wanted = Mark(mark)
        except ValueError as error:
            raise SteeringError(f"a machine is marked {', '.join(Mark)}, not {mark!r}") from error
        with self._engine.mutex:
            parts, machine = self._places.machine(name)
            if wanted in {Mark.TAKEN, Mark.FREED}:
                self._take(parts, machine, wanted)
            else:
                machine.next_for = project if wanted is Mark.SCHED_RESERVED else ""
            self._engine.journal.note(f"{name} is marked {wanted} for {project}")

    def _take(self, parts: SiteParts, machine: Machine, wanted: Mark) -> None:
        if machine.holder is None:
            raise SteeringError(f"{machine.name} is not held by any slice: there is nothing to take")
        parts.cm.lives.release(machine, f"marked {wanted}", taken=wanted is Mark.TAKEN)

    def _user(self, uid: str) -> str:
        """Return the URN of a user; "" for none. He need not be one of the SA's: a stranger's will do."""
        known = {user.uid: user_urn(user) for user in self._engine.users}
        return known.get(uid, f"urn:publicid:IDN+other.example.net+user+{uid}" if uid else "")

    # --- commands

    def _reserve(self, command: Mapping[str, Any]) -> int:
        return self.reserve(
            arguments.text(command, "at"),
            arguments.text(command, "type"),
            arguments.whole(command, "count"),
            after=arguments.number(command, "after"),
            seconds=arguments.number(command, "seconds"),
            project=arguments.text(command, "project"),
            user=arguments.text(command, "user"),
            force=arguments.switch(command, "force"),
        )

    def _cancel(self, command: Mapping[str, Any]) -> None:
        self.cancel(arguments.text(command, "at"), arguments.whole(command, "index"))

    def _promise(self, command: Mapping[str, Any]) -> None:
        name, project = arguments.machine(command), arguments.text(command, "project")
        self.promise(name, project, arguments.number({"after": 0.0, **command}, "after"))

    def _list(self, _command: Mapping[str, Any]) -> list[dict[str, object]]:
        return self.all()

    def _mark(self, command: Mapping[str, Any]) -> None:
        name, project = arguments.machine(command), arguments.text(command, "project")
        self.mark(name, arguments.text(command, "mark"), project=project)
