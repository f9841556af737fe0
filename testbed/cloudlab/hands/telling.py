"""Whether a CM calls the agent: a site may have the interface of the reference, and lose or gain it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.cloudlab.engine import Engine
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError


class TellingSteering:
    """Switches callbacks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {"callbacks": self._callbacks}

    def callbacks(self, at: str, *, on: bool) -> None:
        """Have the CM of a domain or URN call the agent, or not.

        Switched on, it tells the resource values at once, and its countdowns at their next notice.

        Raises:
            SteeringError: no such CM, or nobody said where the agent listens.
        """
        site = self._places.site(at)
        if site.endpoint is None or site.values is None:
            raise SteeringError("this test bed was started without an address for callbacks")
        with self._engine.mutex:
            site.endpoint.calls = on
            if on:
                site.values.changed()
            self._engine.journal.note(f"{site.cm.site.domain} {'calls' if on else 'does not call'} the agent")

    def _callbacks(self, command: Mapping[str, Any]) -> None:
        self.callbacks(arguments.text(command, "at"), on=arguments.switch(command, "on"))
