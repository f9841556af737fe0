"""What follows when a CM refuses machines: fewer are asked for, others elsewhere, or a person is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.desk import Desk
from agent.core.errors import (
    BadArgumentsError,
    BusyError,
    CloudlabError,
    ForbiddenError,
    InsufficientNodesError,
    RefusedError,
)
from agent.core.events import EventKind
from agent.core.impasse import Cause
from agent.core.model import Admission, AdvertisedNode, IntentKind, Sliver
from agent.core.request.helper import AddArgs
from agent.core.scaling.admitted import Asked, Cap
from agent.core.scaling.askable import until_words
from agent.core.scaling.impasses import Impasses
from agent.core.scaling.placement import Placement
from agent.core.slice.slivers import Slivers

SHUNNED_IN_A_ROW = 3
"""Free machines that cannot be had when they are named, before fewer are asked for instead of others."""

_CARRIED_OUT_NOTHING = (BusyError, BadArgumentsError, ForbiddenError, InsufficientNodesError, RefusedError)
"""With these the names that were to be given are free again."""


class Asker(Protocol):
    """What the manager tells of what it asks for."""

    def type_asked(self, cm: str, client_id: str) -> str:
        """Return the type that a machine was asked for as; "" for that of all."""

    def can_ask_for_fewer(self) -> bool:
        """Tell whether the request for a first machine can be made smaller."""

    def release_names(self, names: Sequence[str]) -> object:
        """Tell the helper that machines of these names never were."""


@dataclass(frozen=True)
class Order:
    """What is asked of a CM in one call."""

    cm: str
    names: tuple[str, ...]
    machines: frozenset[str] = field(default_factory=frozenset)
    """node_ids of those that are asked for by name."""
    is_fixed: bool = False
    """It is a document, of which no part can be asked for alone."""


class Refused:
    """Learns from what CMs give and refuse. The caller holds the CM.

    Args:
        desk: the manager's.
        asker: the manager.
        slivers: what the CMs hold.
        placement: what is left alone.

    Attributes:
        impasses: what a person has to act on.
    """

    def __init__(self, desk: Desk, asker: Asker, slivers: Slivers, placement: Placement) -> None:
        self._desk = desk
        self._asker = asker
        self._slivers = slivers
        self._placement = placement
        self._admitted = placement.admitted
        self.impasses = Impasses(desk)
        self._in_a_row: Counter[str] = Counter()
        """CM -> refusals in a row that named a machine that we had named."""

    def backoffs(self, cms: Sequence[str]) -> dict[tuple[str, str], bool]:
        """Tell what is asked of CMs less: (CM, why in one word) -> whether that is so now."""
        pauses = self._placement.backoffs(cms, self._desk.clock.steady())
        return {**pauses, **self.impasses.by_cause(cms)}

    # --- before a call

    def within(self, cm: str, args: AddArgs, most: int | None = None) -> AddArgs:
        """Return those of the machines that the CM's refusals leave to be asked for; release the others.

        Args:
            cm: the CM.
            args: the machines.
            most: how many at most; None sets no limit.
        """
        now = self._desk.clock.steady()
        kept: AddArgs = {}
        taken: Counter[str] = Counter()
        first = None
        for client_id, fields in args.items():
            kind = self._type_asked(cm, client_id)
            room = self.room(cm, kind)
            if (room is not None and taken[kind] >= room) or len(kept) == most:
                continue
            first = kind if first is None else first
            if kind != first and self._admitted.is_one_at_a_time(cm, now):
                continue
            taken[kind] += 1
            kept[client_id] = fields
        if dropped := [name for name in args if name not in kept]:
            self._asker.release_names(dropped)
        return kept

    def room(self, cm: str, kind: str | None = None) -> int | None:
        """Count the machines of a type that may be asked for now; None for any number.

        Args:
            cm: the CM.
            kind: the type; None for the only one.
        """
        return self._room(cm, self._placement.only_type if kind is None else kind)[0]

    def _room(self, cm: str, kind: str) -> tuple[int | None, Cap | None]:
        cap = self._admitted.cap(cm, kind, self._desk.clock.steady(), self._slivers.expires.get(cm))
        return (None if cap is None else max(cap.most - self._count(cm, kind), 0)), cap

    def admissions(self, cm: str) -> dict[str, Admission]:
        """Return type -> how many more of it may be asked for now, and why no more, where it is limited."""
        found = {}
        for kind in self._admitted.kinds(cm):
            room, cap = self._room(cm, kind)
            if room is not None and cap is not None:
                words = f"{until_words(self._desk.clock, cap.pause)}: {cap.pause.reason}"
                found[kind] = Admission(room, words)
        return found

    def why_not(self, cm: str) -> str:
        """Say until when nothing is asked of a CM, as it has no more of the only type; "" otherwise."""
        room, cap = self._room(cm, self._placement.only_type)
        if room != 0 or cap is None:
            return ""
        return f"{until_words(self._desk.clock, cap.pause)}: {cap.pause.reason}"

    def without_shunned(
        self, cm: str, nodes: Sequence[AdvertisedNode] | None
    ) -> tuple[AdvertisedNode, ...] | None:
        """Leave the free machines out that could not be had when they were named."""
        shunned = self._admitted.shunned(cm, self._desk.clock.steady())
        return None if nodes is None else tuple(node for node in nodes if node.node_id not in shunned)

    @contextmanager
    def watching(self, cm: str) -> Iterator[None]:
        """Watch a reading: a CM that serves this user no more is told once."""
        try:
            yield
        except CloudlabError as error:
            self.impasses.refused(cm, error, None)
            raise
        self.impasses.over(cm, Cause.ACCOUNT)

    @contextmanager
    def giving_back(self, cm: str) -> Iterator[None]:
        """Watch machines being given back: what hinders that until a person acts is told once."""
        try:
            yield
        except CloudlabError as error:
            self.impasses.refused(cm, error, self._sliver(cm))
            raise

    def gave_back(self, cm: str) -> None:
        """Take note that machines were given back."""
        self.impasses.over(cm, Cause.IMAGE, Cause.ENDING, Cause.SHUT_DOWN)

    def gone(self, cm: str) -> None:
        """Take note that a CM holds nothing for us: what hindered its sliver went with that."""
        self.impasses.over(cm, Cause.ENDING, Cause.SHUT_DOWN, Cause.LOCKED_DOWN)

    # --- after a call

    def granted(self, order: Order) -> None:
        """Learn from a call that gave machines."""
        cm = order.cm
        self._in_a_row.pop(cm, None)
        before = {kind: self.room(cm, kind) for kind in self._kinds(order)}
        self._admitted.granted(cm, {kind: self._count(cm, kind) for kind in before})
        self.impasses.over(cm, *(cause for cause in Cause if cause is not Cause.NEVER))
        if any(self.room(cm, kind) and before[kind] == 0 for kind in before):
            # What lies between what it gives and what it refused is found out by halves.
            self._desk.wake("add_nodes")

    def take(self, order: Order, error: CloudlabError, *, is_settled: bool) -> bool:
        """Learn from a call that gave no machines.

        Args:
            order: what was asked for.
            error: what the CM said.
            is_settled: none of it may still come.

        Returns:
            Whether that is all: a step that goes on asking others has not failed.
        """
        cm, now = order.cm, self._desk.clock.steady()
        if is_settled and not order.is_fixed and isinstance(error, _CARRIED_OUT_NOTHING):
            self._asker.release_names(order.names)
        named = str(getattr(error, "node_id", ""))
        if named in order.machines:
            self._admitted.shun(cm, named, now, str(error))
            self._desk.wake("update_available")
        if impasse := self.impasses.refused(cm, error, self._sliver(cm)):
            self._placement.pause(cm, "", now, impasse.words)
            return True
        if not isinstance(error, InsufficientNodesError):
            return False
        if order.is_fixed:
            self._leave_document(order, error)
            return True
        if named and named not in order.machines and not error.shortages:
            # A machine that the sliver has is not ours any more: that is no lack of machines.
            return False
        if named in order.machines and not error.shortages and not error.never:
            self._in_a_row[cm] += 1
            if self._in_a_row[cm] <= SHUNNED_IN_A_ROW:
                self._desk.tell(
                    EventKind.INSUFFICIENT, cm, f"{named} is not asked for by name for a while: {error}"
                )
                return True
        self._ask_for_fewer(order, error)
        return True

    def _ask_for_fewer(self, order: Order, error: InsufficientNodesError) -> None:
        cm, clock = order.cm, self._desk.clock
        asked = {
            kind: Asked(count, self._count(cm, kind, order.names))
            for kind, count in self._kinds(order).items()
        }
        sliver = self._sliver(cm)
        there = Counter(node.hardware_type for node in sliver.nodes) if sliver else Counter()
        ends = self._slivers.expires.get(cm)
        left = self._admitted.refused(cm, asked, there, error, clock.steady(), ends)
        if not left:
            self._desk.tell(EventKind.INSUFFICIENT, cm, f"one type is asked for at a time: {error}")
        for kind, new in left.items():
            of_type = f" of type {kind}" if kind else ""
            cap = self._admitted.cap(cm, kind, clock.steady(), ends)
            until = until_words(clock, cap.pause) if cap else ""
            if new.count:
                words = f"{new.count} are asked for{of_type}, not {asked[kind].count}, {until}: {error}"
            else:
                words = f"no more are asked for{of_type} {until}: {error}"
                if error.never and len(left) == 1:
                    self.impasses.never(cm, kind, error)
            self._desk.tell(EventKind.INSUFFICIENT, cm, words)

    def _leave_document(self, order: Order, error: InsufficientNodesError) -> None:
        """Leave a CM alone that cannot serve a document as a whole."""
        machines = f"{len(order.names)} machine{'s' * (len(order.names) > 1)}"
        fixed = f"the request is a document of {machines}, and is asked for as a whole or not at all"
        pause = self._placement.pause(
            order.cm, "", self._desk.clock.steady(), f"{error}; {fixed}", for_good=error.never
        )
        if error.never:
            self.impasses.never(order.cm, "", error)
        words = f"nothing is asked {until_words(self._desk.clock, pause)}: {pause.reason}"
        self._desk.tell(EventKind.INSUFFICIENT, order.cm, words)

    def forget(self) -> None:
        """Ask anew for what was refused: settings have changed."""
        self._admitted.forget()
        self._placement.forget_shortages()
        self.impasses.forget()
        self._in_a_row.clear()

    # --- what there is

    def _kinds(self, order: Order) -> Mapping[str, int]:
        return Counter(self._type_asked(order.cm, name) for name in order.names)

    def _count(self, cm: str, kind: str, without: Sequence[str] = ()) -> int:
        """Count the machines of a type that are ours at a CM, or coming."""
        with self._desk.lock:
            held = {n.client_id: n.hardware_type for n in self._slivers.book.held(cm)}
        coming = (intent.client_id for intent in self._slivers.intents.in_flight(IntentKind.ADD, cm))
        there = {**dict.fromkeys(coming, ""), **held}
        return sum(
            not kind or kind in {each, self._type_asked(cm, name)}
            for name, each in there.items()
            if name not in without
        )

    def _type_asked(self, cm: str, name: str) -> str:
        return self._asker.type_asked(cm, name) or self._placement.only_type

    def _sliver(self, cm: str) -> Sliver | None:
        with self._desk.lock:
            return self._slivers.book.slivers.get(cm)
