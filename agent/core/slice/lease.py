"""Keeps the lease: the slice at the SA first, then the sliver at each CM."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import filterfalse

from agent.core.config import ManagerConfig
from agent.core.desk import Desk
from agent.core.errors import (
    AgentError,
    AlreadyExistsError,
    BusyError,
    CloudlabError,
    ConfigError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    UnreachableError,
)
from agent.core.events import EventKind, OfCm
from agent.core.model import SliverNode
from agent.core.ports import SliceServer
from agent.core.settings import LeaseSettings
from agent.core.slice.hindrance import Hindrance, hindrance_words
from agent.core.slice.lapse import failure_words, why_unrenewed, why_untried
from agent.core.slice.life import SliceLife
from agent.core.slice.outlook import refused_lapse
from agent.core.slice.renewal import is_renewed, renewal_target, seconds_to_renewal, sliver_target
from agent.core.slice.renewing import Renewal, Renewing
from agent.core.slice.slivers import Slivers
from agent.core.slice.sparer import Sparer
from agent.core.slice.together import together
from agent.core.slice.whose_lease import has_others, holds
from agent.core.views import Lapse

LOCK_WAIT = 5.0
"""Seconds that renewal waits for another call at a CM before it leaves that CM to a later try."""
RENEWAL_WAIT = 60.0
"""Seconds that a renewal waits for all CMs before it leaves those that have not answered to themselves."""


class Lease:
    """The lease of one slice.

    Args:
        server: the SA and the CMs.
        config: whose the slice is.
        desk: the manager's.
        slivers: what the CMs hold.
        life: told whether there is a slice, and asked which slivers outlived theirs.
        settings: asked each time, so that a reload takes effect.
        give_back: has a machine emptied by a deadline and given back, which is in the way of the renewal.

    Attributes:
        life: the same.
        slice_expires: until when the slice lasts at the SA; None while unknown.
        sparer: which machines go for the sake of the others.
    """

    def __init__(
        self,
        server: SliceServer,
        config: ManagerConfig,
        desk: Desk,
        slivers: Slivers,
        life: SliceLife,
        settings: Callable[[], LeaseSettings],
        give_back: Callable[[SliverNode, datetime], object],
    ) -> None:
        self._server = server
        self._desk = desk
        self._slivers = slivers
        self.life = life
        self._settings = settings
        self._renewing = Renewing(server, desk, settings, self._keep, slivers.at_work.ends)
        self.sparer = Sparer(desk, slivers, settings, give_back, server.find_short_types)
        self._is_shared = config.ownership.slice_is == "shared"
        self.slice_expires: datetime | None = None
        self._failures: dict[str, str] = {}
        """CM, or "" for the slice -> why its last renewal failed."""
        self._unanswered: set[str] = set()
        """Those, of them, where nobody said no: the call got no answer."""
        self._urged = threading.Event()

    def ensure_slice(self) -> None:
        """Read until when the slice lasts; create it where there is none.

        Raises:
            ConfigError: there is none, and it is not ours to make.
        """
        expires = self._server.find_slice()
        if expires is not None and expires > self._desk.clock.now():
            self.slice_expires = expires
            self.life.found()
            return
        self.life.miss(expires or self.slice_expires)
        self._refuse_to_make()
        self._slivers.holdings.none_can_be()
        self.create_slice()

    def create_slice(self) -> None:
        """Register the slice for the length of a lease; one that is there after all is taken as it is.

        Raises:
            ConfigError: it is not ours to make.
        """
        self._refuse_to_make()
        until = (self._desk.clock.now() + timedelta(seconds=self._settings().duration)).replace(microsecond=0)
        try:
            expires = self._server.create_slice(until)
        except (AlreadyExistsError, LostReplyError, MalformedReplyError):
            seen = self._server.find_slice()
            if seen is None:
                raise
            expires = seen
        self.slice_expires = expires
        if expires > self._desk.clock.now():
            self.life.found()
        self._desk.tell(EventKind.SLICE, self._server.slice_urn, f"the slice lasts until {_when(expires)}")

    def urge(self) -> None:
        """Have the next ``renew`` extend everything to its full length, whatever it has left."""
        self._urged.set()

    def renew(self) -> None:
        """Renew what has too little left: the SA first, then all CMs side by side up to what it granted.

        Which leases are the agent's to renew is ``[lease] renew``; who urges has all of them renewed.

        Raises:
            AgentError: the first fault; everything else was tried all the same.
        """
        if self.slice_expires is None:
            self._desk.note("no renewal: until when the slice lasts is not known")
            return
        errors: list[AgentError] = []
        urged = self._urged.is_set()
        self._urged.clear()
        if urged:
            self._renewing.uncap()
        if self._is_ours_to_renew("", urged):
            try:
                self._renew_slice(self.slice_expires, urged)
            except AgentError as error:
                if isinstance(error, NotFoundError):
                    self._desk.wake("ensure_slice")
                self._fail("", error)
                self._desk.tell(
                    EventKind.LEASE, self._server.slice_urn, f"the slice was not renewed: {error}"
                )
                errors.append(error)
        asked = together(self._due(urged), lambda cm: self._renew_sliver(cm, urged))
        wait(asked.values(), RENEWAL_WAIT)
        for cm, granted in asked.items():
            if granted.done():
                fault = self._conclude(cm, urged, granted)
            else:
                # Its own thread tells how that ends; the others' leases do not wait for it.
                granted.add_done_callback(partial(self._conclude, cm, urged))
                fault = BusyError("the renewal there is not over yet", authority=cm)
            if fault is not None:
                errors.append(fault)
        if errors:
            raise errors[0]

    def _conclude(self, cm: str, urged: bool, asked: Future[Renewal | str]) -> AgentError | None:
        """Tell what became of the renewal at a CM; return what went wrong."""
        try:
            renewal = asked.result()
        except AgentError as error:
            self._fail(cm, error)
            self._tell_failed(cm, error, urged)
            return error
        if isinstance(renewal, str):
            self._leave(cm, renewal, urged)
            return None
        if renewal.is_longer:
            why = f", the longest that the site admits: {renewal.capped}" if renewal.capped else ""
            self._desk.tell(EventKind.RENEW, cm, f"the sliver lasts until {_when(renewal.until)}{why}")
        if renewal.hindrance is None:
            self.sparer.settle(cm)
        else:
            self._tell_hindrance(cm, renewal, renewal.hindrance, urged)
            self.sparer.look(cm, renewal.hindrance, renewal.until)
        return None

    def _tell_hindrance(self, cm: str, renewal: Renewal, hindrance: Hindrance, urged: bool) -> None:
        """Tell once what is in the way, and what can be done; who urges waits for an answer each time."""
        node_id = hindrance.node_id
        goes = self._settings().drop_blocking and self._slivers.find(cm, node_id) is not None
        message = hindrance_words(hindrance, renewal.until, goes=goes)
        # That a sliver is being deleted is told already, as an event of its own.
        if (not renewal.is_new or hindrance.kind == "ending") and not urged:
            self._desk.note(message)
        elif node_id:
            self._desk.tell(EventKind.BLOCKED, node_id, message, OfCm(cm))
        else:
            self._desk.tell(EventKind.LEASE, cm, message)

    def gave_back(self, cm: str, nodes: Sequence[SliverNode]) -> bool:
        """Take note of machines that went; tell whether what is in the way of the renewal may be gone."""
        hindrance = self._renewing.hindrances.get(cm)
        if hindrance is None or not nodes or hindrance.node_id not in {"", *(node.node_id for node in nodes)}:
            return False
        self._renewing.hasten(cm)
        return True

    def lapses(self) -> tuple[Lapse, ...]:
        """List the leases that nobody renews or that are refused, however long they last."""
        ends = {"": self.slice_expires, **self.life.ends()}
        known = {cm: expires for cm, expires in ends.items() if expires is not None}
        found = (self._lapse(cm, expires) for cm, expires in known.items())
        return tuple(lapse for lapse in found if lapse.why)

    def _lapse(self, cm: str, expires: datetime) -> Lapse:
        hindrance = self._renewing.hindrances.get(cm)
        if hindrance is None or not is_renewed(
            self._settings(), held=holds(self._slivers, self._desk.lock, cm) is not False
        ):
            why, answered = self._why_unrenewed(cm, expires), cm not in self._unanswered
            answered = answered and not self.life.is_silent(cm)
            return Lapse(cm, expires, why, answered=answered)
        ahead = self._desk.clock.now() - self._desk.clock.steady()
        return refused_lapse(cm, expires, hindrance, self.sparer.plans().get(cm), ahead)

    def _fail(self, cm: str, error: AgentError) -> None:
        """Remember why a renewal failed."""
        self._failures[cm] = failure_words(error)
        if isinstance(error, BusyError | LostReplyError | MalformedReplyError | UnreachableError):
            self._unanswered.add(cm)
        else:
            self._unanswered.discard(cm)

    def lent_for(self) -> float:
        """Return for how many seconds a machine would be lent that is asked for now."""
        lease = self._settings()
        if lease.renew != "never" or self.slice_expires is None:
            return lease.duration
        return max((self.slice_expires - self._desk.clock.now()).total_seconds(), 0.0)

    def next_try(self) -> float:
        """Return the seconds until the next renewal, by what is left; never more than the lease may have."""
        hindered = [self._renewing.seconds_to_try(cm) for cm in self._slivers.held_at()]
        free = [end for cm, end in self._slivers.expires.items() if self._renewing.seconds_to_try(cm) is None]
        expiries = [e for e in (self.slice_expires, *free) if e is not None]
        now, lease = self._desk.clock.now(), self._settings()
        waits = [seconds_to_renewal(expiries, now, lease), *(wait for wait in hindered if wait is not None)]
        if (begins := self.sparer.next_begin()) is not None:
            waits.append(max((begins - now).total_seconds(), 0.0))
        return min(*waits, lease.renew_when_left)

    def _tell_failed(self, cm: str, error: AgentError, urged: bool) -> None:
        if isinstance(error, BusyError):
            # It passes by itself, and the step is tried again soon.
            if urged:
                self.urge()
            self._desk.note(f"the sliver at {cm} is renewed later: {error}")
        else:
            self._desk.tell(EventKind.LEASE, cm, f"the sliver was not renewed: {error}")

    def _refuse_to_make(self) -> None:
        if self._is_shared:
            self.slice_expires = None
            raise ConfigError(
                f"there is no slice {self._server.slice_urn}, and none is made: one that others have made is"
                ' expected, since [cloudlab] slice_is is "shared"'
            )

    def _why_unrenewed(self, cm: str, expires: datetime) -> str:
        heard = not self.life.is_silent(cm)
        untried = why_untried(heard=heard, slice_known=self.slice_expires is not None)
        return self.life.why_not_renewed(cm) or why_unrenewed(
            expires,
            self._desk.clock.now(),
            self._settings(),
            held=holds(self._slivers, self._desk.lock, cm) if heard else True,
            others=has_others(self._slivers, self._desk.lock, cm) or (self._is_shared and not cm),
            failure=self._failures.get(cm, "") or untried,
        )

    def _is_ours_to_renew(self, cm: str, urged: bool) -> bool:
        lease = self._settings()
        # At a CM that was not heard yet we may hold a machine: unknown is not empty.
        if is_renewed(lease, held=holds(self._slivers, self._desk.lock, cm) is not False, urged=urged):
            return True
        what = f"the sliver at {cm}" if cm else "the slice"
        self._desk.note(f'{what} is not renewed: [lease] renew is "{lease.renew}"')
        return False

    def _renew_slice(self, expires: datetime, urged: bool) -> None:
        subject = self._server.slice_urn
        until = renewal_target(expires, self._desk.clock.now(), self._settings(), urged=urged)
        if until is None:
            self._leave(subject, f"the slice lasts until {_when(expires)}, which is enough", urged)
            return
        granted = self._server.renew_slice(until)
        self.slice_expires = granted
        self._note_granted("", expires, granted)
        self._desk.tell(EventKind.RENEW, subject, f"the slice lasts until {_when(granted)}")

    def _due(self, urged: bool) -> list[str]:
        """List the CMs that are to renew their sliver now, by what is remembered of it."""
        due = []
        held = self._slivers.held_at()
        missing = self._renewing.hindrances.keys() - set(held)
        for cm in filterfalse(self._slivers.waits_for_another_look, missing):
            self._unhinder(cm)
        for cm in held:
            expires = self._slivers.expires.get(cm)
            if why := self.life.why_not_renewed(cm):
                self._unhinder(cm)
                self._leave(cm, why, urged)
                continue
            if expires is not None:
                self.sparer.begin(cm, expires)
            if self._renewing.is_left_alone(cm) and not urged:
                self._desk.note(f"the sliver at {cm} is tried again later")
            elif self._is_ours_to_renew(cm, urged):
                until = self._target(cm, expires, urged)
                if isinstance(until, str):
                    self._unhinder(cm)
                    self._leave(cm, until, urged)
                else:
                    due.append(cm)
        return due

    def _target(self, cm: str, expires: datetime | None, urged: bool) -> datetime | str:
        """Decide until when to ask a CM to renew, or why not now: "" where it is not due."""
        slice_expires, now, lease = self.slice_expires, self._desk.clock.now(), self._settings()
        # One that lasts no longer for some reason is tried again, whatever it has left.
        urged = urged or cm in self._renewing.hindrances
        if slice_expires is None:
            return f"the sliver at {cm} is left: there is no slice"
        until = sliver_target(expires, slice_expires, now, lease, urged=urged)
        if until is not None:
            return until
        if expires is None:
            return f"the sliver at {cm} is left: its slice has ended"
        if renewal_target(expires, now, lease, urged=urged):
            return f"the sliver at {cm} lasts as long as the slice"
        return f"the sliver at {cm} lasts until {_when(expires)}, which is enough" if urged else ""

    def _leave(self, subject: str, why: str, urged: bool) -> None:
        """Tell why a lease is left as it is; as an event to who urges, since he waits for an answer."""
        if urged:
            self._desk.tell(EventKind.RENEW, subject, why)
        elif why:
            self._desk.note(why)

    def _renew_sliver(self, cm: str, urged: bool) -> Renewal | str:
        """Renew one by what its CM says right before, since a CM would shorten it.

        Returns:
            What became of it, or why it was left as it is.
        """
        expires: datetime | None = None
        # A manifest that cannot be read costs no lease: its end then counts as unknown.
        with suppress(CloudlabError):
            sliver = self._server.find_sliver(cm)
            if sliver is None:
                self._unhinder(cm)
                return f"the sliver at {cm} is gone"
            expires = sliver.expires
        if expires is None:
            # Another hand may have renewed both since the slice was read: its end now is never too early.
            self.slice_expires = self._server.find_slice()
        with self._slivers.at(cm, LOCK_WAIT):
            until = self._target(cm, expires, urged)
            if isinstance(until, str):
                return until
            renewal = self._renewing.renew(cm, expires, until)
            self._note_granted(cm, expires if renewal.is_longer else None, renewal.until)
        if renewal.hindrance is not None:
            self.sparer.ask(cm, renewal.hindrance, renewal.until, until)
        return renewal

    def _unhinder(self, cm: str) -> None:
        self._renewing.forget(cm)
        self.sparer.settle(cm)

    def _keep(self, cm: str, granted: datetime) -> None:
        """Remember an end at once: what follows may be cut off."""
        self._slivers.expires[cm] = granted

    def _note_granted(self, cm: str, before: datetime | None, granted: datetime) -> None:
        if before is not None and granted <= before:
            self._failures[cm] = f"it was asked to last longer, and lasts until {_when(granted)} all the same"
        else:
            self._failures.pop(cm, None)
        self._unanswered.discard(cm)


def _when(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
