"""Asks CMs for machines: decides and writes intents in one piece, then calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Protocol

from agent.core.errors import AlreadyExistsError, BadArgumentsError, ConfigError, InsufficientNodesError
from agent.core.events import EventData, EventKind
from agent.core.model import AdvertisedNode, IntentKind, ResourceValue
from agent.core.ports import Clock
from agent.core.request.helper import ADDED_CLIENT_ID, AddArgs
from agent.core.request.rspec import request_client_ids
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.placement import Placement
from agent.core.slice.slivers import Slivers


class Asker(Protocol):
    """What the manager gives: its decisions, its helper's answers, and what it knows."""

    @property
    def available(self) -> Mapping[str, tuple[AdvertisedNode, ...]]:
        """Return CM -> free machines."""

    resource_values: dict[str, ResourceValue]

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Decide."""

    def create_rspec(self) -> str:
        """Ask the helper for a request."""

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Ask the helper for machines."""

    def reserve_names(self, names: Any) -> object:
        """Tell the helper which names are in use."""

    def wake(self, *steps: str) -> None:
        """Make steps due now."""

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event."""

    def note(self, text: str) -> None:
        """Add to what this step decided."""


class Growth:
    """Makes slivers and adds machines. The caller holds the CM.

    Deciding and writing intents is one piece over all CMs: two CMs that grow at the same time see each
    other's intents, and the thresholds hold.
    """

    def __init__(
        self, asker: Asker, slivers: Slivers, placement: Placement, brake: GrowthBrake, clock: Clock
    ) -> None:
        self._asker = asker
        self._slivers = slivers
        self._placement = placement
        self._brake = brake
        self._clock = clock
        self._deciding = threading.Lock()

    def ensure(self, cm: str, wanted: Callable[[str], bool]) -> None:
        """Read the manifest; create the sliver where there is none and a machine is wanted."""
        if self._slivers.read(cm) is None and not self._waits_for_others():
            self.create(cm, wanted)

    def create(self, cm: str, wanted: Callable[[str], bool]) -> None:
        """Create a sliver with the helper's request.

        Args:
            cm: the CM; its manifest was just read and there is none.
            wanted: asked once everything that could hinder it is out of the way.
        """
        with self._deciding:
            if self._slivers.intents.in_flight(IntentKind.ADD, cm):
                self._asker.note(f"no new sliver at {cm}: an earlier request may still take effect")
                return
            if self._is_paused(cm) or self._brake.allowance() == 0 or not wanted(cm):
                self._note_brake()
                return
            self._reserve_names()
            rspec = self._asker.create_rspec()
            names = request_client_ids(rspec, cm)
            if not names:
                raise ConfigError(f"the helper's request asks for no machine at {cm}")
            asked = self._slivers.intents.declare(IntentKind.ADD, cm, names)
            # No request is smaller than the helper's: with a stopped growth all of it is the probe.
            self._brake.asked(len(names))
        self._asker.tell(EventKind.CREATE, cm, f"asks for a sliver with {', '.join(names)}")
        try:
            self._slivers.create(cm, rspec, asked)
        except InsufficientNodesError as error:
            self._pause(cm, str(error))
        except AlreadyExistsError:
            if not self._slivers.holds(cm):
                raise
        else:
            self._placement.worked(cm, "")

    def add(self, cm: str, count: int) -> None:
        """Add as many machines as ``should_add_nodes`` says."""
        if not self._slivers.holds(cm):
            self._asker.note(f"no machine is added at {cm}: there is no sliver, or it was not read yet")
            return
        if self._slivers.has_lost(cm):
            self._asker.note(f"no machine is added at {cm} before one that is not ours any more is deleted")
            return
        if self._waits_for_others() or self._is_paused(cm):
            return
        with self._deciding:
            most = self._brake.allowance()
            if most is not None and most < max(count, 1):
                self._note_brake()
                return
            args = self._arguments(cm, self._asker.should_add_nodes(count, cm), most)
            if not args:
                return
            asked = self._slivers.intents.declare(IntentKind.ADD, cm, args)
            self._brake.asked(len(args))
        self._asker.tell(EventKind.ADD, cm, f"asks for {len(args)} more: {', '.join(args)}")
        try:
            self._slivers.add(cm, args, asked)
        except InsufficientNodesError as error:
            self._pause(cm, str(error))
        except BadArgumentsError:
            # A machine that we named may have been taken by somebody else since the last reading.
            self._asker.wake("update_available")
            raise
        else:
            self._placement.worked(cm, "")

    def _arguments(self, cm: str, wanted: int | AddArgs | None, most: int | None) -> AddArgs:
        if not wanted:
            return {}
        self._reserve_names()
        if isinstance(wanted, Mapping):
            args = dict(islice(wanted.items(), most))
        elif not isinstance(wanted, int) or wanted < 0:
            raise ConfigError(f"should_add_nodes: a count, dict, None or False is expected, not {wanted!r}")
        else:
            args = self._asker.get_add_args(int(wanted) if most is None else min(int(wanted), most))
        in_use = {name.lower() for name in self._slivers.names(cm)}
        for name in args:
            if not ADDED_CLIENT_ID.fullmatch(name):
                raise ConfigError(f"client_id {name!r}: {ADDED_CLIENT_ID.pattern} is expected")
            if name.lower() in in_use:
                raise ConfigError(f"client_id {name!r} is in use at {cm}")
        available = self._asker.available.get(cm)
        placed = self._placement.place(cm, args, available, self._asker.resource_values, self._clock.now())
        if len(placed) < len(args):
            self._asker.note(f"{len(placed)} of {len(args)} machines at {cm} find a free one of their type")
        return placed

    def _reserve_names(self) -> None:
        self._asker.reserve_names(self._slivers.names())

    def _waits_for_others(self) -> bool:
        """Tell whether a CM may hold machines that nobody counts: then the most could be passed."""
        unknown = self._slivers.holdings.unknown()
        if unknown:
            self._asker.note(f"no machine is asked for: what {', '.join(unknown)} holds is not known yet")
        return bool(unknown)

    def _is_paused(self, cm: str) -> bool:
        pause = self._placement.paused(cm, self._clock.now())
        if pause is None:
            return False
        self._asker.note(f"nothing is asked of {cm} until {pause.until:%H:%M:%SZ}: {pause.reason}")
        return True

    def _note_brake(self) -> None:
        if words := self._brake.words():
            self._asker.note(words)

    def _pause(self, cm: str, reason: str) -> None:
        pause = self._placement.pause(cm, "", self._clock.now(), reason)
        self._asker.tell(
            EventKind.INSUFFICIENT, cm, f"nothing is asked until {pause.until:%H:%M:%SZ}: {reason}"
        )
