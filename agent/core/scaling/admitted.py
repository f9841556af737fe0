"""How many machines of each type a CM lets us hold, as its refusals told: what is asked for stays within."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.core.config import CycleSettings
from agent.core.errors import InsufficientNodesError
from agent.core.scaling.backoff import FOR_GOOD, Backoff, lengthen
from agent.core.scaling.fewer import Fewer, fewer

SOONER = timedelta(minutes=1)
"""A lease counts as shorter where it ends by so much sooner: then a CM may admit more machines."""


@dataclass(frozen=True)
class Cap:
    """How many machines of one type may be held at one CM."""

    most: int
    refused: int
    """So many were refused: what lies between is not known."""
    pause: Backoff
    """Until when no more are asked for."""
    ends: datetime | None = None
    """When the sliver's lease ended as it was refused, where that mattered; None where it did not."""

    def follow(self, count: int) -> Cap:
        """Return what holds once so many are held: half of what lies between may be asked for next."""
        if count < self.most or self.refused - count <= 1:
            return self
        return replace(self, most=(count + self.refused) // 2)


@dataclass(frozen=True)
class Asked:
    """What was asked of a CM, for one type."""

    count: int
    held: int
    """Machines of the type that were held or coming there already."""


class Admitted:
    """Remembers what each CM refused, by type. Thread-safe.

    A type is "" where any will do.

    Args:
        settings: for how long.
    """

    def __init__(self, settings: CycleSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._caps: dict[tuple[str, str], Cap] = {}
        self._never: dict[tuple[str, str], Cap] = {}
        """What a CM could not do even if it were empty."""
        self._singly: dict[str, Backoff] = {}
        """The CMs that refused several types at once and did not tell which: one is asked for at a time."""
        self._shunned: dict[tuple[str, str], Backoff] = {}
        """(CM, node_id) of free machines that could not be had when they were asked for by name."""

    def refused(
        self,
        cm: str,
        asked: Mapping[str, Asked],
        there: Mapping[str, int],
        refusal: InsufficientNodesError,
        now: datetime,
        ends: datetime | None,
    ) -> dict[str, Fewer]:
        """Take note of a refusal.

        Args:
            cm: the CM.
            asked: type -> what was asked for of it.
            there: type -> machines that the sliver has, foreign ones included.
            refusal: what the CM said.
            now: time, by the steady clock.
            ends: until when its sliver lasts; None where there is none.

        Returns:
            Type -> what may be asked for instead; empty where one type is to be asked for at a time.
        """
        left = fewer({kind: each.count for kind, each in asked.items()}, there, refusal)
        is_reserved = any(short.reserved for short in refusal.shortages)
        with self._lock:
            if not left:
                self._singly[cm] = self._longer(self._singly.get(cm), now, str(refusal))
            for kind in left:
                key, held = (cm, kind), asked[kind].held
                old = self._caps.get(key)
                if old is not None and now >= old.pause.until and not left[kind].is_told:
                    # Most likely nothing has changed: one machine shows it, and the others follow.
                    left[kind] = Fewer(min(left[kind].count, 1))
                new = left[kind]
                most = held + new.count
                beyond = most + 1 if new.is_told else held + asked[kind].count
                pause = self._longer(old.pause if old else None, now, str(refusal))
                self._caps[key] = Cap(most, beyond, pause, ends if is_reserved else None)
                # Of several types it is not known which one would not be had either at an empty site.
                if refusal.never and len(left) == 1:
                    for_good = Backoff(FOR_GOOD, 0, str(refusal))
                    # Fewer may be possible, unless it was one, or there is no such type.
                    least = held + (0 if new.count == 0 else asked[kind].count - 1)
                    self._never[key] = Cap(least, least + 1, for_good)
        return left

    def granted(self, cm: str, counts: Mapping[str, int]) -> None:
        """Take note that a CM gave what was asked for.

        Args:
            cm: the CM.
            counts: type -> machines of it that are held there now.
        """
        with self._lock:
            self._shunned = {key: pause for key, pause in self._shunned.items() if key[0] != cm}
            for kind, count in counts.items():
                for caps in (self._caps, self._never):
                    cap = caps.get((cm, kind))
                    if cap is None:
                        continue
                    if count >= cap.refused:
                        del caps[cm, kind]
                    else:
                        caps[cm, kind] = cap.follow(count)

    def shun(self, cm: str, node_id: str, now: datetime, reason: str) -> None:
        """Leave a machine alone that is said to be free and cannot be had."""
        with self._lock:
            old = self._shunned.get((cm, node_id))
            self._shunned[cm, node_id] = self._longer(old, now, reason)

    def shunned(self, cm: str, now: datetime) -> frozenset[str]:
        """Return the node_ids of the machines that are left alone at a CM."""
        with self._lock:
            return frozenset(n for (at, n), pause in self._shunned.items() if at == cm and now < pause.until)

    def cap(self, cm: str, kind: str, now: datetime, ends: datetime | None = None) -> Cap | None:
        """Return the cap that is in force; None where any number may be asked for.

        Args:
            cm: the CM.
            kind: the type.
            now: time, by the steady clock.
            ends: until when the CM's sliver lasts: a lease that ends sooner may admit more.
        """
        with self._lock:
            found = [self._never.get((cm, kind)), self._caps.get((cm, kind))]
        caps = [cap for cap in found if cap is not None and now < cap.pause.until]
        in_force = [cap for cap in caps if not _is_shorter(ends, cap.ends)]
        return min(in_force, key=lambda cap: cap.most, default=None)

    def kinds(self, cm: str) -> tuple[str, ...]:
        """Return the types of which anything was refused at a CM."""
        with self._lock:
            return tuple(dict.fromkeys(kind for at, kind in (*self._caps, *self._never) if at == cm))

    def limiting(self, now: datetime) -> frozenset[str]:
        """Return the CMs at which the number of machines of a type is limited now."""
        with self._lock:
            caps = [*self._caps.items(), *self._never.items()]
        return frozenset(cm for (cm, _), cap in caps if now < cap.pause.until)

    def is_one_at_a_time(self, cm: str, now: datetime) -> bool:
        """Tell whether one type is to be asked for at a time."""
        with self._lock:
            pause = self._singly.get(cm)
        return pause is not None and now < pause.until

    def forget(self) -> None:
        """Forget all of it: settings have changed."""
        with self._lock:
            for memory in (self._caps, self._never, self._singly, self._shunned):
                memory.clear()

    def _longer(self, old: Backoff | None, now: datetime, reason: str) -> Backoff:
        """Begin a pause; longer than the one before only where that was over."""
        settings = self._settings
        if old is not None and now < old.until:
            return Backoff(now + timedelta(seconds=old.delay), old.delay, reason)
        return lengthen(old, now, reason, first=settings.type_backoff, limit=settings.type_backoff_limit)


def _is_shorter(ends: datetime | None, before: datetime | None) -> bool:
    return ends is not None and before is not None and ends < before - SOONER
