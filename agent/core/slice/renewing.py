"""Renews one sliver as far as its CM lets it, and remembers what is in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.core.desk import Desk
from agent.core.errors import AgentError, EndingError, RenewalRefusedError
from agent.core.ports import SliceServer
from agent.core.settings import LeaseSettings
from agent.core.slice.bisection import first_search, next_end, read_date
from agent.core.slice.hindrance import Hindrance, hindrance_of, may_admit_less, pause_after

_TRAVEL = timedelta(seconds=30)
"""A site counts its longest lease from when the call comes in, by its own clock."""


@dataclass(frozen=True)
class Renewal:
    """What became of one renewal."""

    until: datetime
    """The end that the sliver has."""
    hindrance: Hindrance | None = None
    """Why it lasts no longer; None where it was renewed to its full length."""
    is_longer: bool = True
    """Some time was granted."""
    capped: AgentError | None = None
    """The refusal that told the site's longest lease, which was then granted."""
    is_new: bool = False
    """Something else is in the way than at the try before."""


class Renewing:
    """Renews slivers one at a time; the caller holds the CM. Thread-safe for different CMs.

    Args:
        server: the CMs.
        desk: has the time and the lock.
        settings: asked each time.
        keep: told of each end that is granted, at once: CM, end.
        ends: told of a sliver that is being deleted: CM, the words of the refusal.
    """

    def __init__(
        self,
        server: SliceServer,
        desk: Desk,
        settings: Callable[[], LeaseSettings],
        keep: Callable[[str, datetime], object],
        ends: Callable[[str, str], object],
    ) -> None:
        self._server = server
        self._desk = desk
        self._settings = settings
        self._keep = keep
        self._ends = ends
        self._hindrances: dict[str, Hindrance] = {}
        self._longest: dict[str, timedelta] = {}
        """CM -> the longest lease that it grants, where that is less than is wished."""

    @property
    def hindrances(self) -> Mapping[str, Hindrance]:
        """CM -> what keeps its sliver from lasting longer."""
        with self._desk.lock:
            return dict(self._hindrances)

    def is_left_alone(self, cm: str) -> bool:
        """Tell whether its next try is later."""
        hindrance = self.hindrances.get(cm)
        again = hindrance.again if hindrance else None
        return again is not None and self._desk.clock.steady() < again

    def seconds_to_try(self, cm: str) -> float | None:
        """Return how long it is until a hindered sliver is tried again; None for one that is not hindered."""
        hindrance = self.hindrances.get(cm)
        if hindrance is None or hindrance.again is None:
            return None
        return max((hindrance.again - self._desk.clock.steady()).total_seconds(), 0.0)

    def hasten(self, cm: str) -> None:
        """Have a hindered sliver tried at the next look: what was in the way may be gone."""
        with self._desk.lock:
            if hindrance := self._hindrances.get(cm):
                self._hindrances[cm] = replace(hindrance, again=self._desk.clock.steady())

    def forget(self, cm: str) -> None:
        """Drop what is remembered of a sliver that is gone."""
        with self._desk.lock:
            self._hindrances.pop(cm, None)

    def renew(self, cm: str, expires: datetime | None, until: datetime) -> Renewal:
        """Renew a sliver: to the end that is wished, or else to the latest that its CM grants.

        What is granted on the way is kept at once. Nothing shortens it.

        Args:
            cm: the CM.
            expires: when the sliver ends now; None while unknown, and then one end is asked for.
            until: the end that is wished.

        Raises:
            AgentError: a fault that may pass by itself.
        """
        before, until = self.hindrances.get(cm), self._capped(cm, until)
        if expires is None:
            try:
                granted = self._granted(cm, until)
            except AgentError as error:
                return self._hindered(cm, until, None, before, error)
            self.forget(cm)
            return Renewal(granted)
        search = first_search(expires, until, before.refused if before else None)
        refusal: AgentError | None = None
        while (end := next_end(search, self._desk.clock.now())) is not None:
            try:
                search = search.granted_until(self._granted(cm, end))
            except AgentError as error:
                if refusal is None or hindrance_of(error) is not None:
                    refusal = error
                match error:
                    case RenewalRefusedError(longest=float() | int() as longest):
                        self._longest[cm] = timedelta(seconds=longest)
                        search = replace(search, wished=self._capped(cm, until), calls=search.calls + 1)
                    case _ if may_admit_less(error):
                        told = hindrance_of(error)
                        search = search.refused_until(end, read_date(told.short_at) if told else None)
                    case _:
                        break
        if refusal is None or search.granted >= search.wished:
            self.forget(cm)
            return Renewal(search.granted, is_longer=search.granted > expires, capped=refusal)
        renewal = self._hindered(cm, search.granted, search.refused, before, refusal)
        return replace(renewal, is_longer=search.granted > expires)

    def uncap(self) -> None:
        """Forget the sites' longest leases: they are asked for anew."""
        self._longest.clear()

    def _capped(self, cm: str, until: datetime) -> datetime:
        longest = self._longest.get(cm)
        if longest is None:
            return until
        return min(until, (self._desk.clock.now() + longest - _TRAVEL).replace(microsecond=0))

    def _granted(self, cm: str, end: datetime) -> datetime:
        granted = self._server.renew_sliver(cm, end)
        self._keep(cm, granted)
        return granted

    def _hindered(
        self,
        cm: str,
        until: datetime,
        refused: datetime | None,
        before: Hindrance | None,
        error: AgentError,
    ) -> Renewal:
        """Remember what is in the way; raise a fault that may pass by itself."""
        found = hindrance_of(error)
        if found is None:
            raise error
        if isinstance(error, EndingError):
            self._ends(cm, str(error))
        now = self._desk.clock.now()
        is_new = before is None or not found.is_like(before)
        tries = 1 if before is None or is_new else before.tries + 1
        pause = pause_after(tries, until - now, timedelta(seconds=self._settings().emptied_when_left))
        again = self._desk.clock.steady() + pause
        hindrance = replace(found, refused=refused, tries=tries, again=again)
        with self._desk.lock:
            self._hindrances[cm] = hindrance
        return Renewal(until, hindrance, is_longer=False, is_new=is_new)
