"""Slivers whose lease ends soon without a renewal: all their machines go then, as on a notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.desk import Desk
from agent.core.events import EventKind
from agent.core.model import MachineId, SliverNode
from agent.core.settings import LeaseSettings
from agent.core.views import Lapse

PATIENCE = (timedelta(minutes=2), timedelta(minutes=15))
"""A renewal that was neither granted nor refused yet is waited for so long: a quarter of what is left, within
these. After a start, or when the clock was set, it is tried first."""


DELETION = timedelta(minutes=1)
"""Until the machines of a sliver go that is being deleted: the site's daemon looks about once a minute
(``expire_daemon TerminateSlices``)."""


@dataclass(frozen=True)
class Ending:
    """The end of one CM's sliver, by which its machines are to be empty."""

    cm: str
    deadline: datetime
    """When the sliver ends, by the wall clock."""
    begun: datetime
    """Since when its machines are emptied for it, by the steady clock."""
    why: str
    """Why it is not renewed."""
    gives_back: bool = True
    """Empty machines are given back before: it was not for want of an answer that nobody renewed."""


def is_ending(left: timedelta, near: timedelta, why: str) -> bool:
    """Tell whether the machines of a sliver that ends soon are to be emptied for it.

    Args:
        left: until it ends.
        near: for how long its end was seen to be near.
        why: why nobody renews it; "" where its renewal was not tried yet, or is under way.
    """
    shortest, longest = PATIENCE
    return bool(why) or near >= min(max(left / 4, shortest), longest)


class Endings:
    """Keeps which slivers end, and tells it of each machine when that begins and when it is over.

    Args:
        desk: the manager's; its lock guards this too.
        expires: returns CM -> until when its sliver lasts, as it was read last; called under the lock.
        lapses: lists the leases that nobody renews, and why.
        settings: asked each time, so that a reload takes effect.
        held: lists the machines that we hold at a CM.
        deletions: returns CM -> since when the sliver there is known to be deleted, by the steady clock.
    """

    def __init__(
        self,
        desk: Desk,
        expires: Callable[[], Mapping[str, datetime]],
        lapses: Callable[[], Iterable[Lapse]],
        settings: Callable[[], LeaseSettings],
        held: Callable[[str], Iterable[SliverNode]],
        deletions: Callable[[], Mapping[str, datetime]],
    ) -> None:
        self._desk = desk
        self._expires = expires
        self._lapses = lapses
        self._settings = settings
        self._held = held
        self._deletions = deletions
        self._near: dict[str, datetime] = {}
        """CM -> since when the end of its sliver is seen to be near, by the steady clock."""
        self._begun: dict[str, datetime] = {}
        self._urged: set[str] = set()
        """CMs whose renewal was woken since their end is near."""
        self._told: dict[str, set[MachineId]] = {}
        """CM -> the machines that were told to go with its lease."""

    def now(self) -> dict[str, Ending]:
        """Return CM -> ending, of every sliver that ends; for any thread."""
        now, steady = self._desk.clock.now(), self._desk.clock.steady()
        window = timedelta(seconds=self._settings().emptied_when_left)
        with self._desk.lock:
            lefts = {cm: expires - now for cm, expires in self._expires().items() if expires - now <= window}
            deleted = {cm: since + DELETION - steady for cm, since in self._deletions().items()}
            lefts |= {cm: min(left, lefts.get(cm, left)) for cm, left in deleted.items()}
            for at in (self._near, self._begun):
                for cm in at.keys() - lefts.keys():
                    del at[cm]
            found: dict[str, Ending] = {}
            unrenewed = {lapse.cm: lapse for lapse in self._lapses()} if lefts else {}
            for cm, left in lefts.items():
                # A sliver lasts no longer than its slice: what hinders that one ends this one.
                lapse = unrenewed.get(cm) or unrenewed.get("")
                if cm in deleted:
                    lapse = Lapse(cm, now + left, "the sliver there is being deleted", answered=False)
                near = steady - self._near.setdefault(cm, steady)
                if cm in self._begun or is_ending(left, near, lapse.why if lapse else ""):
                    why = lapse.why if lapse else "its renewal was not granted yet"
                    gives_back = lapse is not None and lapse.answered
                    begun = self._begun.setdefault(cm, steady)
                    found[cm] = Ending(cm, now + left, begun, why, gives_back)
            return found

    def why_no_more(self, cm: str) -> str:
        """Say while what no machine is asked of a CM; "" where its sliver does not end.

        It ends that early, too, that a machine would be emptied when it has hardly booted. A lease that would
        be renewed if we held a machine there does not end for us.
        """
        settings = self._settings()
        early = self._desk.clock.now() + timedelta(seconds=2 * settings.emptied_when_left)
        with self._desk.lock:
            expires, is_held = self._expires().get(cm), any(self._held(cm))
        if expires is None or expires > early:
            return ""
        lapses = [lapse for lapse in self._lapses() if lapse.cm in {cm, ""}]
        if settings.renew == "while-we-hold" and not is_held and not any(each.obstacle for each in lapses):
            return ""
        return f"while its lease ends at {expires:%H:%M:%SZ}" if lapses or cm in self.now() else ""

    def tell(self) -> bool:
        """Tell of each machine once that it goes with its lease, or no longer; return if one was told.

        Where an end comes near and nobody said why, as after the clock was set, the renewal is due at once.
        """
        endings = self.now()
        with self._desk.lock:
            untold = self._near.keys() - endings.keys()
            is_urgent, self._urged = bool(untold - self._urged), untold
            news = [*self._begin(endings), *self._end(endings)]
        if is_urgent:
            self._desk.wake("renew")
        for kind, node_id, message in news:
            self._desk.tell(kind, node_id, message)
        return bool(news)

    def _begin(self, endings: Mapping[str, Ending]) -> Iterator[tuple[EventKind, str, str]]:
        for cm, ending in endings.items():
            told = self._told.setdefault(cm, set())
            for node in self._held(cm):
                if node.key not in told:
                    told.add(node.key)
                    message = f"its lease ends at {ending.deadline:%H:%M:%S} UTC: {ending.why}"
                    yield EventKind.REVOKE, node.node_id, message

    def _end(self, endings: Mapping[str, Ending]) -> Iterator[tuple[EventKind, str, str]]:
        for cm in self._told.keys() - endings.keys():
            told, until = self._told.pop(cm), self._expires().get(cm)
            lasts = f", and lasts until {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
            for node in self._held(cm):
                if node.key in told:
                    message = f"the lease of {node.node_id} was renewed after all{lasts}"
                    yield EventKind.WITHDRAWN, node.node_id, message
