"""Keeps the lease: the slice at the SA first, then the sliver at each CM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from agent.core.errors import AgentError, AlreadyExistsError, LostReplyError, MalformedReplyError
from agent.core.policy import LeaseSettings, renewal_target, seconds_to_renewal
from agent.core.ports import Clock, SliceServer
from agent.core.slivers import Slivers

LOCK_WAIT = 5.0
"""Seconds that renewal waits for another call at a CM before it turns to the next CM."""


class Teller(Protocol):
    """Where decisions are told."""

    def tell(self, kind: str, subject: str, message: str, **data: object) -> None:
        """Record an event."""

    def note(self, text: str) -> None:
        """Add to what this step decided."""


class Lease:
    """The lease of one slice.

    Args:
        server: the SA and the CMs.
        clock: time.
        slivers: what the CMs hold.
        settings: asked each time, so that a reload takes effect.
        teller: where decisions are told.

    Attributes:
        slice_expires: until when the slice lasts at the SA; None while unknown.
    """

    def __init__(
        self,
        server: SliceServer,
        clock: Clock,
        slivers: Slivers,
        settings: Callable[[], LeaseSettings],
        teller: Teller,
    ) -> None:
        self._server = server
        self._clock = clock
        self._slivers = slivers
        self._settings = settings
        self._teller = teller
        self.slice_expires: datetime | None = None

    def ensure_slice(self) -> None:
        """Read until when the slice lasts; create it where there is none."""
        expires = self._server.find_slice()
        if expires is None or expires <= self._clock.now():
            self.create_slice()
        else:
            self.slice_expires = expires

    def create_slice(self) -> None:
        """Register the slice for the length of a lease; one that is there after all is taken as it is."""
        until = (self._clock.now() + timedelta(seconds=self._settings().duration)).replace(microsecond=0)
        try:
            expires = self._server.create_slice(until)
        except (AlreadyExistsError, LostReplyError, MalformedReplyError):
            seen = self._server.find_slice()
            if seen is None:
                raise
            expires = seen
        self.slice_expires = expires
        self._teller.tell("slice", self._server.slice_urn, f"the slice lasts until {_when(expires)}")

    def renew(self) -> float:
        """Renew what has too little left, a CM up to what the SA granted.

        Returns:
            Seconds until the next renewal.

        Raises:
            AgentError: the first fault; everything else was tried all the same.
        """
        if self.slice_expires is None:
            self._teller.note("no renewal: until when the slice lasts is not known")
            return self._settings().renew_when_left
        errors: list[AgentError] = []
        try:
            self._renew_slice(self.slice_expires)
        except AgentError as error:
            self._teller.tell("lease", self._server.slice_urn, f"the slice was not renewed: {error}")
            errors.append(error)
        for cm in self._slivers.held_at():
            try:
                with self._slivers.at(cm, LOCK_WAIT):
                    self._renew_sliver(cm, self.slice_expires)
            except AgentError as error:
                self._teller.tell("lease", cm, f"the sliver was not renewed: {error}")
                errors.append(error)
        if errors:
            raise errors[0]
        return seconds_to_renewal(
            [self.slice_expires, *self._slivers.expires.values()], self._clock.now(), self._settings()
        )

    def _renew_slice(self, expires: datetime) -> None:
        until = renewal_target(expires, self._clock.now(), self._settings())
        if until is None:
            self._teller.note(f"the slice lasts until {_when(expires)}, which is enough")
            return
        granted = self._server.renew_slice(until)
        self.slice_expires = granted
        self._teller.tell("renew", self._server.slice_urn, f"the slice lasts until {_when(granted)}")

    def _renew_sliver(self, cm: str, slice_expires: datetime) -> None:
        expires = self._slivers.expires.get(cm)
        until = renewal_target(expires, self._clock.now(), self._settings())
        if until is None:
            return
        # A CM refuses what is later than the slice's own end.
        until = min(until, slice_expires)
        if expires is not None and until <= expires:
            self._teller.note(f"the sliver at {cm} lasts as long as the slice")
            return
        granted = self._server.renew_sliver(cm, until)
        self._slivers.expires[cm] = granted
        self._teller.tell("renew", cm, f"the sliver lasts until {_when(granted)}")


def _when(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
