"""Which machines to ask for: physical ones of a type, and no type that failed us just now."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from agent.core.config import CycleSettings
from agent.core.model import AdvertisedNode, Place, Share
from agent.core.request.helper import AddArgs
from agent.core.said import ResourceValue
from agent.core.scaling.admitted import Admitted
from agent.core.scaling.backoff import FOR_GOOD, Backoff, lengthen
from agent.core.scaling.choosing import asking_for, choose_machines


class Placement:
    """Remembers which types at which CMs are left alone for a while. Thread-safe.

    Args:
        settings: how long.
        nodetype: hardware type of every machine; None for any.

    Attributes:
        admitted: how many machines of each type CMs let us hold.
        only_type: the hardware type of every machine; "" for any.
    """

    def __init__(self, settings: CycleSettings, nodetype: str | None) -> None:
        self._settings = settings
        self.admitted = Admitted(settings)
        self.only_type = nodetype or ""
        self._nodetype = nodetype
        self._lock = threading.Lock()
        self._pauses: dict[tuple[str, str], Backoff] = {}

    def pause(
        self, cm: str, hardware_type: str, now: datetime, reason: str, *, for_good: bool = False
    ) -> Backoff:
        """Leave a type alone that did not boot, or ("") a CM that gives nothing; longer each time.

        Args:
            cm: the CM.
            hardware_type: the type; "" for the whole CM.
            now: time, by the steady clock.
            reason: why.
            for_good: until settings change.
        """
        key = (cm, hardware_type)
        with self._lock:
            old = self._pauses.get(key)
            if old is not None and now < old.until:
                return old
            if for_good:
                self._pauses[key] = Backoff(FOR_GOOD, 0, reason)
                return self._pauses[key]
            self._pauses[key] = lengthen(
                old, now, reason, first=self._settings.type_backoff, limit=self._settings.type_backoff_limit
            )
            return self._pauses[key]

    def worked(self, cm: str, hardware_type: str) -> None:
        """Forget the pauses of a type that just booted, or ("") of a CM that just gave machines."""
        with self._lock:
            self._pauses.pop((cm, hardware_type), None)

    def forget_shortages(self) -> None:
        """Forget the pauses of whole CMs: settings have changed."""
        with self._lock:
            self._pauses = {key: pause for key, pause in self._pauses.items() if key[1]}

    def paused(self, cm: str, now: datetime) -> Backoff | None:
        """Return the pause that holds up every machine at this CM; None where some may be asked for."""
        with self._lock:
            pauses = [self._pauses.get((cm, ""))]
            if self._nodetype is not None:
                pauses.append(self._pauses.get((cm, self._nodetype)))
        return next((p for p in pauses if p is not None and now < p.until), None)

    def backoffs(self, cms: Iterable[str], now: datetime) -> dict[tuple[str, str], bool]:
        """Tell what is left alone: (CM, ``insufficient`` or ``failed``) -> whether some type there is."""
        with self._lock:
            active = {
                (c, "failed" if t else "insufficient") for (c, t), p in self._pauses.items() if now < p.until
            }
        active |= {(cm, "insufficient") for cm in self.admitted.limiting(now)}
        return {(cm, why): (cm, why) in active for cm in cms for why in ("insufficient", "failed")}

    def avoided(self, cm: str, now: datetime) -> frozenset[str]:
        """Return the hardware types that are not to be asked for at this CM."""
        with self._lock:
            return frozenset(t for (c, t), p in self._pauses.items() if t and c == cm and now < p.until)

    def place(
        self,
        cm: str,
        args: AddArgs,
        available: Sequence[AdvertisedNode] | None,
        values: Mapping[Place, ResourceValue],
        now: datetime,
    ) -> AddArgs:
        """Name a physical machine, and its type, for each new one where that matters; drop what finds none.

        Args:
            cm: the CM.
            args: client_id -> fields of ``GeniCMV2 AddNodes``; one that names its ``node`` stays as it is.
            available: the free machines; None where they are not known.
            values: place -> resource value.
            now: time.
        """
        avoid = self.avoided(cm, now)
        if self._nodetype is None and not avoid:
            return args
        named = {fields["node"] for fields in args.values() if "node" in fields}
        fitting = choose_machines(
            (n for n in available or () if n.node_id not in named),
            len(args),
            nodetype=self._nodetype,
            avoid_types=avoid,
            values=values,
        )
        free = iter(fitting)
        placed: AddArgs = {}
        for client_id, fields in args.items():
            if "node" in fields:
                placed[client_id] = fields
            elif (node_id := next(free, None)) is not None:
                placed[client_id] = {**fields, **asking_for(node_id, self._nodetype, cm, values)}
        return placed

    def fitting(self, cm: str, free: Sequence[AdvertisedNode], now: datetime) -> int:
        """Count the free machines of a CM that could be asked for: of our type, and of none that failed."""
        avoid = self.avoided(cm, now)
        return len(choose_machines(free, len(free), nodetype=self._nodetype, avoid_types=avoid, values={}))

    def share(
        self, everything: Sequence[AdvertisedNode] | None, available: Sequence[AdvertisedNode] | None
    ) -> Share | None:
        """Count the free machines among all that fit; None where either is not known."""
        if everything is None or available is None:
            return None
        return Share(self._count(available), self._count(everything))

    def _count(self, nodes: Sequence[AdvertisedNode]) -> int:
        return sum(1 for n in nodes if self._nodetype is None or self._nodetype in n.hardware_types)
