"""What an administrator, or the user elsewhere, does to a slice (protogeni-2021.md §5, §6, §12.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.cloudlab.assembly import SiteParts
from testbed.cloudlab.engine import Engine
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.state import CmSlice
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError

CAUSE = "another hand"


class SliceSteering:
    """Does to slices, named by their name or URN, what no client of ours asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {
            "end-slice": self._end,
            "lockdown": self._lock_down,
            "panic": self._panic,
        }

    def end(self, name: str, at: str) -> None:
        """End a slice at the SA (``sa``) or at a CM, there as DeleteSlice with ``cancel`` does.

        Raises:
            SteeringError: no such authority or slice, it is locked down, or busy at a server of 2016.
        """
        with self._engine.mutex:
            if self._places.is_sa(at):
                self._engine.sa.forget(self._places.slice_at_sa(name))
            else:
                parts = self._places.site(at)
                self._end_at(parts, self._places.slice_at(name, parts))
            self._engine.journal.note(f"slice {name} is ended at {at} by {CAUSE}")

    def lock_down(self, name: str, at: str, *, on: bool) -> None:
        """Lock a slice down at a CM, or end that: it does not expire, and cannot be deleted.

        Raises:
            SteeringError: no such CM or slice, or its server has no lock-down.
        """
        with self._engine.mutex:
            self._of_2021(name, at, "has no lock-down").locked_down = on
            self._engine.journal.note(f"slice {name} is {'' if on else 'not '}locked down at {at}")

    def panic(self, name: str, at: str, *, on: bool) -> None:
        """Put a slice into panic mode at a CM, or end that: it cannot be deleted.

        Raises:
            SteeringError: no such CM or slice, or its server does not tell.
        """
        with self._engine.mutex:
            self._of_2021(name, at, "does not tell of a panic").paniced = on
            self._engine.journal.note(f"slice {name} is {'' if on else 'not '}in panic mode at {at}")

    def _end_at(self, parts: SiteParts, record: CmSlice) -> None:
        if record.locked_down:
            raise SteeringError(f"{record.name} is locked down at {parts.cm.site.domain}")
        if record.terminating:
            raise SteeringError(f"{record.name} is marked for termination already")
        if parts.cm.site.generation >= 2021 and (record.lock.held or record.at_work):
            parts.background.terminate(record, CAUSE)
        elif record.lock.held:
            raise SteeringError(f"{record.name} is busy at {parts.cm.site.domain}; try again later")
        else:
            record.lock.take("slice")
            parts.background.tear_down(record, CAUSE)

    def _of_2021(self, name: str, at: str, otherwise: str) -> CmSlice:
        parts = self._places.site(at)
        if parts.cm.site.generation < 2021:
            raise SteeringError(f"a server of 2016 {otherwise}")
        return self._places.slice_at(name, parts)

    # --- commands

    def _end(self, command: Mapping[str, Any]) -> None:
        self.end(arguments.text(command, "slice"), arguments.text(command, "at"))

    def _lock_down(self, command: Mapping[str, Any]) -> None:
        on = arguments.switch(command, "on")
        self.lock_down(arguments.text(command, "slice"), arguments.text(command, "at"), on=on)

    def _panic(self, command: Mapping[str, Any]) -> None:
        on = arguments.switch(command, "on")
        self.panic(arguments.text(command, "slice"), arguments.text(command, "at"), on=on)
