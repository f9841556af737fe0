"""Who is let in to an authority at all, before its methods are asked (protogeni-2021.md §1.1 to §1.3).

What a person switches by hand is kept here, and judged here in the order of the real wrapper.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from testbed.cloudlab.sites import Generation
from testbed.cloudlab.urn import Urn
from testbed.cloudlab.wire.wording import EXPERIMENTS_OFF_SINCE_2024, Wording, wording


class Standing(StrEnum):
    """What an authority thinks of an account."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    FROZEN = "frozen"


class Experiments(StrEnum):
    """Whether a CM takes calls, and in whose words it says that it does not."""

    ON = "on"
    OFF = "off"
    OFF_SINCE_2024 = "off-2024"


@dataclass
class Doors:
    """The doors of the SA or of one CM. Each field is set as a whole, so that no reader sees a half."""

    module: str
    """``sa`` or ``cm``."""
    generation: Generation
    known_user: Callable[[Urn], bool]
    """Who has an account."""
    logins: bool = True
    experiments: Experiments = Experiments.ON
    portals: frozenset[str] | None = None
    """Ends of the domains whose users are let in besides the site's own; None: everybody's are."""
    own_domain: str = ""
    standings: dict[str, Standing] = field(default_factory=dict)
    """URN of a user -> what is wrong with the account."""
    down_until: float = 0.0
    """Monotonic time until which the server boots, and nothing answers."""

    @property
    def words(self) -> Wording:
        """How it says no."""
        return wording(self.generation)

    @property
    def is_up(self) -> bool:
        """Whether a connection is taken."""
        return time.monotonic() >= self.down_until

    def check_logins(self) -> None:
        """Let nobody in while logins are off; asked before anything is looked at.

        Raises:
            FaultError: 503.
        """
        if not self.logins:
            raise self.words.offline.fault()

    def check_experiments(self) -> None:
        """Let nobody in to a CM whose experiments are disabled; asked before the certificate's URN.

        Raises:
            FaultError: 503.
        """
        if self.experiments is Experiments.OFF:
            raise self.words.offline.fault()
        if self.experiments is Experiments.OFF_SINCE_2024:
            raise EXPERIMENTS_OFF_SINCE_2024.fault()

    def check_account(self, caller: Urn) -> None:
        """Let only accounts in that are there and in order.

        Raises:
            FaultError: the generation's number and words.
        """
        if not self.known_user(caller):
            raise self.words.unknown_user.fault()
        standing = self.standings.get(str(caller))
        if standing is Standing.INACTIVE:
            raise self.words.inactive.fault()
        if standing is Standing.FROZEN and self.words.frozen is not None:
            raise self.words.frozen.fault()

    def check_portal(self, caller: Urn) -> None:
        """Let only users of the own domain and of known portals in to a CM; asked after the module's name.

        Raises:
            FaultError: 7.
        """
        if self.portals is None or self.words.stranger is None:
            return
        domain = caller.domain.lower()
        if domain != self.own_domain and not domain.endswith(tuple(self.portals)):
            raise self.words.stranger.fault()
