"""Which head node's slurmctld is in charge, and whether the agent beside it acts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.core import threads
from agent.core.errors import SlurmError

log = structlog.get_logger()

CONFIRMATIONS = 2
"""So often in a row slurmctld has to be in charge here: the agent on the other head node stops meanwhile."""
_PING = re.compile(r"^Slurmctld\([^)]*\) at (\S+) is (UP|DOWN)", re.MULTILINE)


@dataclass(frozen=True)
class Controller:
    """A slurmctld of the cluster."""

    host: str
    """As SlurmctldHost says (slurm.conf(5))."""
    up: bool


@dataclass(frozen=True)
class Standing:
    """Whether this agent acts, and why."""

    acts: bool = False
    primary: str = ""
    """Host of the slurmctld in charge, as of the last answer; "" before there was one."""
    confirmed: int = 0
    """How often in a row that was this host."""

    def __str__(self) -> str:
        """Say it to a person."""
        if not self.primary:
            return "no slurmctld has answered yet"
        return f"slurmctld is primary on {self.primary}"


def parse_ping(text: str) -> tuple[Controller, ...]:
    """Read ``scontrol ping``: the controllers in the order in which they take over."""
    return tuple(Controller(host, state == "UP") for host, state in _PING.findall(text))


def is_same_host(one: str, other: str) -> bool:
    """Compare host names, of which either may lack its domain."""
    return one.partition(".")[0].lower() == other.partition(".")[0].lower()


def stand(before: Standing, controllers: Sequence[Controller], here: str) -> Standing:
    """Decide whether the agent on a host acts.

    It begins when slurmctld was seen in charge there ``CONFIRMATIONS`` times in a row, and stops as soon as
    another one is. While none answers all stays as it is: nobody else can have begun.

    Args:
        before: the last decision.
        controllers: what ``parse_ping`` says; empty where nothing is known.
        here: this host's name.
    """
    primary = next((controller.host for controller in controllers if controller.up), "")
    if not primary:
        return replace(before, confirmed=0)
    if not is_same_host(primary, here):
        return Standing(primary=primary)
    confirmed = before.confirmed + 1
    return Standing(before.acts or confirmed >= CONFIRMATIONS, primary, confirmed)


class Lookout:
    """Asks Slurm again and again, in a thread of its own.

    Args:
        ping: gives the output of ``scontrol ping``.
        serves: asks slurmctld for something that a backup in waiting refuses.
        here: this host's name.
        interval: seconds between two looks.
    """

    def __init__(
        self, ping: Callable[[], str], serves: Callable[[], object], here: str, interval: float
    ) -> None:
        self._ping = ping
        self._serves = serves
        self._here = here
        self._interval = interval
        self._stop = threading.Event()
        self.standing = Standing()

    def start(self) -> None:
        """Begin."""
        threads.keep("lookout", self._run, self._stop.is_set)

    def stop(self) -> None:
        """Look no more; a look under way is left to end by itself."""
        self._stop.set()

    def look(self) -> Standing:
        """Look once."""
        before = self.standing
        self.standing = stand(before, self._controllers(before), self._here)
        if (self.standing.acts, self.standing.primary) != (before.acts, before.primary):
            log.info(str(self.standing), acts=self.standing.acts)
        return self.standing

    def _controllers(self, before: Standing) -> Sequence[Controller]:
        try:
            found = parse_ping(self._ping())
            if not before.acts and stand(before, found, self._here).confirmed:
                # A backup answers a ping while it still waits to take over, or cannot reach the primary.
                self._serves()
        except SlurmError as error:
            log.debug("which slurmctld is primary is not known", error=str(error))
            return ()
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._interval)
