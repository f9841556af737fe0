"""Asks CMs for machines: decides and writes intents in one piece, then calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from agent.core.desk import Desk
from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    ConfigError,
    SliceGoneError,
)
from agent.core.estimates import ForJobs
from agent.core.events import EventKind, OfJobs
from agent.core.model import Intent, IntentKind, Place
from agent.core.request.helper import ADDED_CLIENT_ID, AddArgs
from agent.core.request.rspec import request_client_ids
from agent.core.request.smaller import without_machines
from agent.core.said import ResourceValue
from agent.core.scaling.askable import Askable, until_words
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.lan_places import LanPlaces
from agent.core.scaling.placement import Placement
from agent.core.scaling.refused import Order, Refused
from agent.core.slice.ending import Endings
from agent.core.slice.life import SliceLife
from agent.core.slice.offers import Offers
from agent.core.slice.slivers import Slivers

TURN_WAIT = 5.0
"""Seconds that a CM waits until growth at another is decided, before it leaves that to a later try."""


class Asker(Protocol):
    """What the manager gives: its decisions, its helper's answers, and what Cloudlab wants."""

    resource_values: dict[Place, ResourceValue]

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Decide."""

    def should_create_sliver(self, cm: str) -> bool:
        """Tell whether a CM that has no sliver is to have one."""

    def request_for(self, cm: str) -> str:
        """Return the request for a CM that holds nothing for us; "" where nothing is wanted any more."""

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Ask the helper for machines."""

    def reserve_names(self, names: Any) -> object:
        """Tell the helper which names are in use."""

    def lans_of_added(self) -> Sequence[str]:
        """Ask the helper which LANs each added machine joins."""

    def wants_machine(self, cm: str) -> bool:
        """Tell whether a machine should be added at a CM."""

    def type_asked(self, cm: str, client_id: str) -> str:
        """Return the type that a machine was asked for as; "" for any."""

    def asked_for(self, cm: str, client_ids: Sequence[str]) -> ForJobs:
        """Take note of what is about to be asked for at a CM, and say for which jobs."""

    def can_ask_for_fewer(self) -> bool:
        """Tell whether the request for a first machine can be made smaller."""

    def release_names(self, names: Sequence[str]) -> object:
        """Tell the helper that machines of these names never were."""


class Growth:
    """Makes slivers and adds machines. The caller holds the CM.

    Deciding and writing intents is one piece over all CMs: two CMs that grow at the same time see each
    other's intents, and the thresholds hold.

    Args:
        desk: the manager's.
        asker: the manager.
        slivers: what the CMs hold.
        offers: what they could lend.
        placement: which types are left alone, and which CMs had no machines.
        brake: whether growth is stopped, and whose turn a probe is.
        endings: which slivers end.
        retired: URNs of the CMs that are asked for no machine.
        life: whether there is a slice to ask for.
        pause: seconds for which a CM is left alone that failed when it was asked.

    Attributes:
        askable: which CMs are fit to be asked.
        refused: what follows from what they refused.
        why_spared: says while what a CM is asked for nothing for the sake of the lease there; replaced by who
            knows that.
    """

    def __init__(
        self,
        desk: Desk,
        asker: Asker,
        slivers: Slivers,
        offers: Offers,
        placement: Placement,
        brake: GrowthBrake,
        endings: Endings,
        retired: Collection[str],
        life: SliceLife,
        *,
        pause: float,
    ) -> None:
        self._desk = desk
        self._asker = asker
        self._slivers = slivers
        self._offers = offers
        self._placement = placement
        self._endings = endings
        self.refused = Refused(desk, asker, slivers, placement)
        self.askable = Askable(desk, placement, self._why_no_more, pause=pause)
        self._brake = brake
        self._retired = frozenset(retired)
        self._life = life
        self.why_spared: Callable[[str], str] = lambda _: ""
        self._deciding = threading.Lock()
        self._doubted: dict[str, tuple[Intent, ...]] = {}
        """CM -> what its last failed call may have asked for all the same."""
        self._lans = LanPlaces(desk, asker, slivers)

    def ensure(self, cm: str, wanted: Callable[[str], bool]) -> None:
        """Read the manifest; create the sliver where there is none and a machine is wanted."""
        with self.refused.watching(cm), self.askable.reading(cm):
            sliver = self._slivers.read(cm)
        if sliver is not None or self._waits_for_others():
            return
        self._see_what_never_came(cm)
        if self._slivers.waits_for_another_look(cm):
            self._desk.note(
                f"no new sliver at {cm}: it had one, and the next look decides whether it is gone"
            )
            return
        self.refused.gone(cm)
        self.create(cm, wanted)

    def create(self, cm: str, wanted: Callable[[str], bool]) -> None:
        """Create a sliver with the helper's request.

        Args:
            cm: the CM; its manifest was just read and there is none.
            wanted: asked once everything that could hinder it is out of the way.
        """
        with self.askable.asking(cm):
            self._create(cm, wanted)

    def _create(self, cm: str, wanted: Callable[[str], bool]) -> None:
        with self._turn(cm):
            if self._is_closed(cm):
                return
            if self._slivers.intents.in_flight(IntentKind.ADD, cm):
                self._desk.note(f"no new sliver at {cm}: an earlier request may still take effect")
                return
            if self._is_paused(cm):
                return
            most = self._brake.allowance()
            if most == 0 or not wanted(cm):
                self._note_brake()
                return
            if self._leaves_the_probe(cm):
                return
            self._reserve_names()
            request = self._asker.request_for(cm)
            if not request:
                self._brake.passed(cm)
                return
            if not request_client_ids(request, cm):
                raise ConfigError(f"the helper's request asks for no machine at {cm}")
            request, names = self._small_enough(cm, request, most)
            if not names:
                self._desk.note(f"no new sliver at {cm} now: {self.refused.why_not(cm)}")
                self._brake.passed(cm)
                return
            if refused := self._slivers.never_ours(names):
                never = f"[request] never names {', '.join(refused)}"
                raise ConfigError(f"no sliver is asked for at {cm}: {never}, and the request asks for it")
            jobs = self._asker.asked_for(cm, names)
            asked = self._slivers.intents.declare(IntentKind.ADD, cm, names)
            # No document is made smaller: with a stopped growth all of it is the probe.
            self._brake.asked(len(names), cm)
        message = f"asks for a sliver with {', '.join(names)}{_for(jobs)}"
        self._desk.tell(EventKind.CREATE, cm, message, OfJobs(jobs.ids, jobs.more) if jobs.jobs else None)
        try:
            order = Order(cm, names, is_fixed=not self._asker.can_ask_for_fewer())
            self._ask(order, asked, lambda: self._slivers.create(cm, request, asked))
        except AlreadyExistsError:
            if not self._slivers.holds(cm):
                raise

    def _small_enough(self, cm: str, request: str, most: int | None) -> tuple[str, tuple[str, ...]]:
        """Leave out of a request what the CM refused, and what the brake does not let through.

        Returns:
            The request, and its client_ids at this CM.
        """
        names = tuple(request_client_ids(request, cm))
        if not self._asker.can_ask_for_fewer():
            return request, names
        kept = self.refused.within(cm, {name: {} for name in names}, most)
        return without_machines(request, set(names) - kept.keys()), tuple(kept)

    def add(self, cm: str, count: int) -> None:
        """Add as many machines as ``should_add_nodes`` says."""
        if not self._slivers.holds(cm):
            self._desk.note(f"no machine is added at {cm}: there is no sliver, or it was not read yet")
            return
        if self._slivers.has_lost(cm):
            self._desk.note(f"no machine is added at {cm} before one that is not ours any more is deleted")
            return
        if self._waits_for_others() or self._is_paused(cm):
            return
        self._see_what_never_came(cm)
        at_work = self._slivers.at_work
        if why := at_work.why_now(cm):
            self._desk.note(f"no machine is added at {cm} {why}")
            return
        if at_work.goes_after_deletes(cm):
            self._desk.note(f"no machine is added at {cm} before others there are given back")
            return
        with self.askable.asking(cm):
            try:
                self._add(cm, count)
            except BusyError as error:
                if not at_work.why(cm):
                    raise
                # A status tells when that is over, and wakes this step.
                self._desk.note(f"no machine is added at {cm} now: {error}")

    def _add(self, cm: str, count: int) -> None:
        room = self._lans.room(cm, count)
        self.askable.answered(cm)
        if room == 0:
            return
        with self._turn(cm):
            if self._is_closed(cm):
                return
            most = self._brake.allowance()
            if most is not None and most < max(count, 1):
                self._note_brake()
                return
            if self._leaves_the_probe(cm):
                return
            most = min((limit for limit in (most, room) if limit is not None), default=None)
            args = self._arguments(cm, self._asker.should_add_nodes(count, cm), most)
            if not args:
                self._brake.passed(cm)
                return
            args = self._lans.give(cm, args)
            jobs = self._asker.asked_for(cm, tuple(args))
            asked = self._slivers.intents.declare(IntentKind.ADD, cm, args)
            self._brake.asked(len(args), cm)
        self._slivers.at_work.asked(cm)
        message = f"asks for {len(args)} more: {', '.join(args)}{_for(jobs)}"
        self._desk.tell(EventKind.ADD, cm, message, OfJobs(jobs.ids, jobs.more) if jobs.jobs else None)
        try:
            machines = frozenset(str(fields["node"]) for fields in args.values() if "node" in fields)
            self._ask(Order(cm, tuple(args), machines), asked, lambda: self._slivers.add(cm, args, asked))
        except BadArgumentsError:
            # A machine that we named may have been taken by somebody else since the last reading.
            self._desk.wake("update_available")
            raise

    def _ask(self, order: Order, asked: Sequence[Intent], call: Callable[[], None]) -> None:
        """Make a call; where it does not give machines, have fewer asked for, and others that can."""
        cm = order.cm
        try:
            call()
        except CloudlabError as error:
            if isinstance(error, SliceGoneError):
                self._life.gone(str(error), told=True)
                self._desk.wake("ensure_slice")
            self._doubted[cm] = self._slivers.intents.still_open(asked)
            if not self._doubted[cm]:
                self._brake.refused()
            self._desk.wake("ensure_sliver", "add_nodes")
            if not self.refused.take(order, error, is_settled=not self._doubted[cm]):
                raise
        else:
            self.askable.worked(cm)
            self.refused.granted(order)

    def _see_what_never_came(self, cm: str) -> None:
        """Leave a CM alone where nothing came of what was in doubt, so that others are asked before it."""
        doubted = self._doubted.get(cm)
        if not doubted or self._slivers.intents.still_open(doubted):
            return
        del self._doubted[cm]
        if self._slivers.names(cm).isdisjoint(intent.client_id for intent in doubted):
            self.askable.leave_alone(cm, "the machines that were asked for never came")
            self._desk.wake("get_system_state")

    def _leaves_the_probe(self, cm: str) -> bool:
        """Tell whether another CM comes first, now that one machine is asked for to see how it does."""
        for other in self._brake.before(cm):
            if self.askable.why_not(other):
                continue
            has_sliver = self._slivers.holds(other) or self._asker.should_create_sliver(other)
            if has_sliver and self._asker.wants_machine(other):
                self._desk.note(f"the probe is asked of {other}, not of {cm}, which was tried last")
                return True
        return False

    @contextmanager
    def _turn(self, cm: str) -> Iterator[None]:
        """Decide alone, over all CMs.

        Raises:
            BusyError: another decision is not over in time: the site's helper or the disk holds it up.
        """
        if not self._deciding.acquire(timeout=TURN_WAIT):
            raise BusyError("another CM is being decided on", authority=cm)
        try:
            yield
        finally:
            self._deciding.release()

    def _arguments(self, cm: str, wanted: int | AddArgs | None, most: int | None) -> AddArgs:
        if not wanted:
            return {}
        self._reserve_names()
        if isinstance(wanted, Mapping):
            args = self.refused.within(cm, wanted, most)
        elif not isinstance(wanted, int) or wanted < 0:
            raise ConfigError(f"should_add_nodes: a count, dict, None or False is expected, not {wanted!r}")
        else:
            limits = (int(wanted), most, self.refused.room(cm))
            args = self._asker.get_add_args(min(limit for limit in limits if limit is not None))
        if refused := self._slivers.never_ours(args):
            raise ConfigError(f"client_id {refused[0]!r}: [request] never names it")
        in_use = {name.lower() for name in self._slivers.names(cm)}
        for name in args:
            if not ADDED_CLIENT_ID.fullmatch(name):
                raise ConfigError(f"client_id {name!r}: {ADDED_CLIENT_ID.pattern} is expected")
            if name.lower() in in_use:
                raise ConfigError(f"client_id {name!r} is in use at {cm}")
        available = self.refused.without_shunned(cm, self._offers.available.get(cm))
        values = self._asker.resource_values
        placed = self._placement.place(cm, args, available, values, self._desk.clock.steady())
        if len(placed) < len(args):
            self._desk.note(f"{len(placed)} of {len(args)} machines at {cm} find a free one of their type")
        return placed

    def _reserve_names(self) -> None:
        self._asker.reserve_names(self._slivers.names())

    def _waits_for_others(self) -> bool:
        """Tell whether a CM may hold machines that nobody counts: then the most could be passed."""
        unknown = self._slivers.holdings.unknown()
        if unknown:
            self._desk.note(f"no machine is asked for: what {', '.join(unknown)} holds is not known yet")
        return bool(unknown)

    def _why_no_more(self, cm: str) -> str:
        obstacles = (self._life.why_closed, self.refused.why_not, self._slivers.why_no_more)
        return next((why for each in obstacles if (why := each(cm))), "") or self._why_not_lent(cm)

    def _why_not_lent(self, cm: str) -> str:
        return self.why_spared(cm) or self._endings.why_no_more(cm)

    def _is_closed(self, cm: str) -> bool:
        why = "it is only to be emptied" if cm in self._retired else self._life.why_closed(cm)
        if why := why or self._why_not_lent(cm):
            self._desk.note(f"nothing is asked of {cm}: {why}")
        return bool(why)

    def _is_paused(self, cm: str) -> bool:
        pause = self._placement.paused(cm, self._desk.clock.steady())
        why = f"{until_words(self._desk.clock, pause)}: {pause.reason}" if pause else self.refused.why_not(cm)
        if why:
            self._desk.note(f"nothing is asked of {cm} {why}")
        return bool(why)

    def _note_brake(self) -> None:
        if words := self._brake.words():
            self._desk.note(words)


def _for(jobs: ForJobs) -> str:
    return f"; for {jobs.words}" if jobs.words else ""
