"""What happens to a whole server or machine: a reboot, the recovery system (protogeni-2021.md §1.8)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from testbed.cloudlab.cm.reboot import clear, reboot
from testbed.cloudlab.engine import Engine
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError

LONGEST = 3600.0
"""Real seconds that a reboot may take."""


class ServerSteering:
    """Reboots the SA or a CM's server, and boots a machine into the recovery system."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {"reboot": self._reboot, "recovery": self._recovery}

    def reboot(self, at: str, seconds: float = 0.0) -> None:
        """Reboot the server of the SA (``sa``) or of a CM: nothing answers for so many real seconds.

        Raises:
            SteeringError: no such authority, or no sensible number of seconds.
        """
        if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST):
            raise SteeringError(f"seconds must be a number from 0 to {LONGEST:g}, not {seconds}")
        with self._engine.mutex:
            doors = self._places.door(at)
            if self._places.is_sa(at):
                for record in self._engine.sa.slices.values():
                    clear(record.lock, doors.generation)
            else:
                parts = self._places.site(at)
                reboot(parts.cm, parts.background)
            doors.down_until = time.monotonic() + seconds
            self._engine.journal.note(f"the server of {at} reboots, {seconds:g} s")

    def recovery(self, name: str, *, on: bool) -> None:
        """Let a held machine read as booted into the recovery system, or not any more.

        Raises:
            SteeringError: no such machine, it is not held, or its server knows no recovery system.
        """
        with self._engine.mutex:
            _, machine = self._places.machine(name)
            if machine.generation < 2021:
                raise SteeringError("a server of 2016 knows no recovery system")
            if machine.holder is None:
                raise SteeringError(f"{name} is not held by any slice")
            machine.holder.recovery = on
            self._engine.journal.note(f"{name} is {'' if on else 'not '}in the recovery system")

    # --- commands

    def _reboot(self, command: Mapping[str, Any]) -> None:
        self.reboot(arguments.text(command, "at"), arguments.number(command, "seconds"))

    def _recovery(self, command: Mapping[str, Any]) -> None:
        self.recovery(arguments.machine(command), on=arguments.switch(command, "on"))
