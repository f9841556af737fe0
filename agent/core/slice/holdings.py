"""What CMs held when they were last heard: it counts while one is silent, so that no limit is passed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from agent.core.errors import LedgerError
from agent.core.model import Holding, Sliver, SliverNode
from agent.core.ownership import is_made_by_us
from agent.core.ports import Clock, HoldingStore

log = structlog.get_logger()


class Holdings:
    """The holdings of the CMs in use, and which CMs this run has not heard yet. Thread-safe.

    Args:
        store: read once, here.
        cms: URNs of the CMs in use.
        clock: time.
        patience: seconds from now until a CM that nothing is known of counts as empty.
        retired: URNs of those that nothing more is asked of.

    Raises:
        LedgerError: the store cannot be read.
    """

    def __init__(
        self,
        store: HoldingStore,
        cms: Iterable[str],
        clock: Clock,
        patience: float,
        retired: Collection[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._patient_until = clock.steady() + timedelta(seconds=patience)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stored = {holding.cm: holding for holding in store.holdings()}
        self._known = dict(self._stored)
        # Of a retired one all is known that there can be: nothing is asked of it any more.
        self._silent = set(cms) - set(retired) | self._stored.keys() & set(retired)
        self._forgotten: set[str] = set()

    def of(self, cm: str) -> Holding | None:
        """Return what a CM held for us when it was last heard, in this run or an earlier one."""
        with self._lock:
            return self._known.get(cm)

    def heard(
        self,
        cm: str,
        sliver: Sliver | None,
        ours: Collection[SliverNode],
        *,
        asked: bool,
        parts: Iterable[SliverNode] = (),
        doubted: Collection[SliverNode] = (),
        may_be_there: bool = False,
    ) -> bool:
        """Remember what a CM holds for us; return whether nothing was known of it before.

        Args:
            cm: the CM.
            sliver: what its manifest says; None for nothing.
            ours: those of its machines that are ours.
            asked: some of these were asked for, and that is not settled yet.
            parts: what came with our request and is no machine.
            doubted: machines of ours that the manifest lacks and that are not known to be gone: a restart
                does not forget them either.
            may_be_there: the CM says that it has no sliver, which is in doubt too: what was known stays.
        """
        with self._lock:
            if cm in self._forgotten:
                return False
            before = self._known.get(cm)
            new = cm in self._silent and before is None
            machines = {node.client_id: node.identity for node in (*doubted, *ours)}
            holding = Holding(
                cm,
                machines,
                sliver.expires if sliver else None,
                there=sliver is not None,
                made=is_made_by_us(sliver, ours, before, asked=asked),
                sliver_urn=sliver.urn if sliver else "",
                parts=frozenset(node.client_id for node in parts),
            )
            if may_be_there and before is not None:
                holding = replace(before, machines=machines)
            self._known[cm] = holding
            self._silent.discard(cm)
        self._write(cm)
        return new

    def is_written(self, cm: str) -> bool:
        """Tell whether a restart would remember what a CM held when it was last heard."""
        with self._lock:
            return self._stored.get(cm) == self._known.get(cm)

    def _write(self, cm: str) -> None:
        with self._writing:
            if self.is_written(cm) or (holding := self.of(cm)) is None:
                return
            try:
                self._store.put_holding(holding)
            except LedgerError as error:
                log.warning("what a CM holds cannot be stored; tried again", cm=cm, error=str(error))
                return
            with self._lock:
                self._stored[cm] = holding

    def forget(self, cm: str) -> None:
        """Take note that a CM is not asked any more: it counts as one that holds nothing.

        Raises:
            LedgerError: that cannot be written down; nothing has changed.
        """
        with self._writing:
            self._store.forget_cm(cm)
            with self._lock:
                self._forgotten.add(cm)
                self._silent.discard(cm)
                self._known.pop(cm, None)
                self._stored.pop(cm, None)

    def is_forgotten(self, cm: str) -> bool:
        """Tell whether a CM is not asked any more."""
        with self._lock:
            return cm in self._forgotten

    def none_can_be(self) -> None:
        """Take note that there is no slice: CMs that were not heard hold nothing, but where a lease lasts.

        Who ends a slice before its time does not end its slivers.
        """
        now = self._clock.now()
        with self._lock:
            known = {cm: self._stored.get(cm) for cm in self._silent}
            self._silent = {cm for cm, h in known.items() if h and h.expires and now < h.expires}

    def ends(self) -> dict[str, datetime]:
        """Return CM -> until when its sliver was to last that silent CMs held, where that is known."""
        with self._lock:
            held = {cm: self._stored[cm] for cm in self._silent if cm in self._stored}
        return {cm: h.expires for cm, h in held.items() if h.expires is not None and h.machines}

    def presumed(self) -> set[tuple[str, str]]:
        """Return (CM, client_id) of the machines that silent CMs held, while their lease may last."""
        with self._lock:
            held = [self._stored[cm] for cm in self._silent if cm in self._stored]
        now, patient = self._clock.now(), self._clock.steady() < self._patient_until
        lasting = [h for h in held if (patient if h.expires is None else now < h.expires)]
        return {(h.cm, name) for h in lasting for name in h.machines}

    def unknown(self) -> Sequence[str]:
        """List the silent CMs that nothing is remembered of, while they may still speak up."""
        if self._clock.steady() >= self._patient_until:
            return ()
        with self._lock:
            return sorted(self._silent - self._stored.keys())
