"""Has machines emptied and given back that are in the way of the lease of all others at their CM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agent.core.desk import Desk
from agent.core.events import EventKind, OfCm
from agent.core.model import MachineId, SliverNode
from agent.core.obstacles import RenewalObstacle
from agent.core.settings import LeaseSettings
from agent.core.slice.hindrance import PROMISED, Hindrance
from agent.core.slice.slivers import Slivers
from agent.core.slice.sparing import Sparing, plan_sparing


@dataclass
class _Case:
    """What is in the way at one CM, and what goes for it."""

    hindrance: Hindrance
    known: Collection[str] | None = None
    """The types that are short, none where the site does not tell; None where it was not asked."""
    plan: Sparing | None = None
    going: set[MachineId] = field(default_factory=set)
    """Keys of the machines that go."""
    tried: set[str] = field(default_factory=set)
    """The types of which machines went to no avail."""


class Sparer:
    """Decides at each refusal which machines go for the sake of the others.

    Args:
        desk: has the time, and is told.
        slivers: what the CMs hold.
        settings: asked each time.
        give: has a machine emptied by a deadline and given back.
        find_short: asks which of these types are short at a CM until an end: CM, type -> machines of the
            slice, from when, until when; returns them, none where the site does not tell.

    Attributes:
        in_order: orders machines by what is lost with each, the least first; replaced by who knows that.
        keep: lets those at a CM stay that have not gone, since it renews its sliver with them; replaced by
            who gives them back.
    """

    def __init__(
        self,
        desk: Desk,
        slivers: Slivers,
        settings: Callable[[], LeaseSettings],
        give: Callable[[SliverNode, datetime], object],
        find_short: Callable[[str, dict[str, int], datetime, datetime], Collection[str]],
    ) -> None:
        self._desk = desk
        self._slivers = slivers
        self._settings = settings
        self._give_back = give
        self.in_order: Callable[[Sequence[SliverNode]], list[SliverNode]] = list
        self.keep: Callable[[str], object] = lambda _: None
        self._find_short = find_short
        self._cases: dict[str, _Case] = {}

    def plans(self) -> dict[str, Sparing]:
        """Return CM -> which machines go there, and when, for the sake of the others."""
        with self._desk.lock:
            return {cm: case.plan for cm, case in self._cases.items() if case.plan is not None}

    def why_no_more(self, cm: str) -> str:
        """Say while what no machine is asked of a CM; "" where nothing goes there for the others.

        As long as the lease there is short, the site would lend one in the place of each that went.
        """
        with self._desk.lock:
            case = self._cases.get(cm)
            goes = case is not None and case.plan is not None and bool(case.going or case.tried)
        return "while machines there go so that the lease of the others is renewed" if goes else ""

    def settle(self, cm: str) -> None:
        """Let stay what has not gone yet: the lease is renewed."""
        with self._desk.lock:
            case = self._cases.pop(cm, None)
        if case is not None and case.going:
            self.keep(cm)

    def ask(self, cm: str, hindrance: Hindrance, end: datetime, wished: datetime) -> None:
        """Ask the site which type is short, where several are held and that is not known; it may take long.

        Args:
            cm: the CM.
            hindrance: what is in the way.
            end: when the sliver ends as it stands.
            wished: the end that it should have.
        """
        with self._desk.lock:
            case = self._cases.get(cm)
            book = self._slivers.book
            held = Counter(node.hardware_type for node in (*book.held(cm), *book.foreign(cm)))
        is_known = case is not None and case.hindrance.is_like(hindrance) and case.known is not None
        if self._is_short(hindrance) and not is_known:
            known = tuple(self._find_short(cm, dict(held), end, wished)) if len(held) > 1 else tuple(held)
            with self._desk.lock:
                self._case(cm, hindrance).known = known

    def look(self, cm: str, hindrance: Hindrance, end: datetime) -> None:
        """Decide what goes; called at each refusal, after ``ask``."""
        if not self._settings().drop_blocking:
            return
        case = self._case(cm, hindrance)
        if hindrance.kind == PROMISED:
            node = self._slivers.find(cm, hindrance.node_id)
            if node is not None:
                self._give(case, node, self._before(end))
        elif self._is_short(hindrance):
            self._spare(cm, case, end)

    def begin(self, cm: str, end: datetime) -> None:
        """Begin to empty what goes, once its time has come; move deadlines with the end of the sliver."""
        with self._desk.lock:
            case = self._cases.get(cm)
        if case is not None and case.plan is not None:
            self._empty(cm, case, case.plan, end)

    def next_begin(self) -> datetime | None:
        """Return when machines begin to be emptied next, by the wall clock; None where none are."""
        with self._desk.lock:
            waiting = [c.plan.begins for c in self._cases.values() if c.plan is not None and not c.going]
        return min(waiting, default=None)

    def _case(self, cm: str, hindrance: Hindrance) -> _Case:
        """Return what is known of what is in the way; of machines that went for it, whether that helped."""
        with self._desk.lock:
            case = self._cases.get(cm)
            there = {node.key for node in self._slivers.book.held(cm)}
            if case is None:
                case = self._cases[cm] = _Case(hindrance)
            elif case.going and not there & case.going:
                vain = {case.plan.hardware_type} if case.plan and hindrance.is_like(case.hindrance) else set()
                tried = case.tried | vain if hindrance.is_like(case.hindrance) else set()
                case = self._cases[cm] = _Case(hindrance, case.known, tried=tried)
            elif not case.going and not hindrance.is_like(case.hindrance):
                case = self._cases[cm] = _Case(hindrance)
            return case

    def _is_short(self, hindrance: Hindrance) -> bool:
        is_short = hindrance.kind == RenewalObstacle.RESERVED and bool(hindrance.short_by)
        return is_short and self._settings().drop_blocking

    def _spare(self, cm: str, case: _Case, end: datetime) -> None:
        if not case.going:
            with self._desk.lock:
                ours = Counter(node.hardware_type for node in self._slivers.book.held(cm))
            case.plan = plan_sparing(
                ours,
                short_by=case.hindrance.short_by or 0,
                end=end,
                now=self._desk.clock.now(),
                empty_before=self._empty_before,
                known=case.known or (),
                tried=case.tried,
            )
        self.begin(cm, end)

    def _empty(self, cm: str, case: _Case, plan: Sparing, end: datetime) -> None:
        now = self._desk.clock.now()
        if now < plan.begins:
            begins = f"{plan.begins:%Y-%m-%dT%H:%M:%SZ}"
            self._desk.note(
                f"machines at {cm} go for the others from {begins} on, if it is not renewed before"
            )
            return
        with self._desk.lock:
            held = self._slivers.book.held(cm)
        alike = [node for node in held if node.hardware_type == plan.hardware_type]
        going = [node for node in alike if node.key in case.going]
        if not case.going:
            going = self.in_order(alike)[: plan.count]
        due = min(max(plan.due, now), end)
        for node in going:
            if node.key not in case.going:
                kind = f"type {node.hardware_type}" if node.hardware_type else "its type"
                what = f"{kind} is short there" if case.known else f"{kind} may be short there"
                message = (
                    f"the sliver is not renewed, since {what}; it is emptied by {due:%Y-%m-%dT%H:%M:%SZ} and"
                    f" given back: {case.hindrance.words}"
                )
                self._desk.tell(EventKind.BLOCKED, node.node_id, message, OfCm(node.cm))
            self._give(case, node, due)

    def _give(self, case: _Case, node: SliverNode, due: datetime) -> None:
        with self._desk.lock:
            case.going.add(node.key)
        self._give_back(node, due)

    def _before(self, end: datetime) -> datetime:
        """Return by when a machine has to be gone for the others not to be emptied."""
        due = end - self._empty_before
        return due if due > self._desk.clock.now() else end

    @property
    def _empty_before(self) -> timedelta:
        return timedelta(seconds=self._settings().emptied_when_left)
