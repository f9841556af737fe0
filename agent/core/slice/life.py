"""Whether the SA has our slice, which slivers outlived theirs, and which leases ended in silence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from agent.core.desk import Desk
from agent.core.events import EventKind, OfCm
from agent.core.jumps import ahead
from agent.core.model import Orphan
from agent.core.ports import SliceServer
from agent.core.slice.slivers import Slivers
from agent.core.slice.words import listed, orphan_words, overrun_words

SILENCE = timedelta(minutes=5)
"""A CM tears a sliver down within a minute or two of its end: what it said after the end, and so long ago,
says nothing of what is there."""


class SliceLife:
    """What of the slice has ended by another hand than ours. Thread-safe.

    Args:
        server: knows which slivers have no slice.
        desk: told of each once.
        slivers: what the CMs hold, and until when.
    """

    def __init__(self, server: SliceServer, desk: Desk, slivers: Slivers) -> None:
        self._server = server
        self._desk = desk
        self._slivers = slivers
        self._gone = ""
        """Why there is no slice; "" while there is one, as far as is known."""
        self._told: dict[str, bool] = {}
        """CM -> whether what outlived its slice there can be given back, as it was told."""
        self._passed: dict[str, datetime] = {}
        """CM -> end of its lease that has passed and that nothing was read since."""
        self._ended: dict[str, datetime] = {}
        """Those, of them, that were told since the CM is silent."""
        self._read: dict[str, tuple[datetime, timedelta]] = {}
        """CM -> when it was read last, and how far the wall clock was ahead of the steady one then."""

    def miss(self, before: datetime | None) -> None:
        """Take note that the SA was asked for the slice, and has none that lasts.

        Args:
            before: until when it was to last; None where that is not known.
        """
        why, urn = f"the SA has no {self._server.slice_urn}", self._server.slice_urn
        if before is not None:
            lasts = f"{before:%Y-%m-%dT%H:%M:%SZ}"
            is_over = before <= self._desk.clock.now()
            ended = f"{why}, which was to last until {lasts}: another hand ended it"
            why = f"{urn} ended at {lasts}" if is_over else ended
        held = self._slivers.held_at() or self._slivers.holdings.presumed()
        self.gone(why, told=bool(before or held))

    def gone(self, why: str, *, told: bool) -> None:
        """Take note that the SA has no slice: nothing is asked of any CM until it has one.

        Args:
            why: what the SA said.
            told: one was known before, so that people are told.
        """
        with self._desk.lock:
            is_news, self._gone = not self._gone, f"there is no slice: {why}"
        if is_news and told:
            message = f"nothing is asked of any CM before there is a slice again: {why}"
            self._desk.tell(EventKind.SLICE_GONE, self._server.slice_urn, message)

    def found(self) -> None:
        """Take note that the SA has a slice."""
        with self._desk.lock:
            self._gone = ""

    def why_closed(self, cm: str) -> str:
        """Say while what no machine may be asked for at a CM; "" where one may be."""
        with self._desk.lock:
            gone = self._gone
        if gone:
            return f"while {gone}"
        return "while its sliver is one of a slice that is gone" if cm in self.orphans() else ""

    def orphans(self) -> Mapping[str, Orphan]:
        """Return CM -> its sliver whose slice is gone at the SA."""
        return self._server.orphans()

    def why_not_renewed(self, cm: str) -> str:
        """Say why a sliver cannot be renewed, whatever its CM says; "" where it can be."""
        orphan = self.orphans().get(cm)
        return orphan_words(orphan) if orphan else ""

    def why_kept(self, cm: str) -> str:
        """Say why nothing can be given back at a CM; "" where it can be."""
        orphan = self.orphans().get(cm)
        return orphan_words(orphan) if orphan and orphan.acts_until is None else ""

    def ends(self) -> dict[str, datetime]:
        """Return CM -> until when its sliver lasts; of one that was not heard, as an earlier run knew it."""
        with self._desk.lock:
            known = dict(self._slivers.expires)
            heard = set(self._slivers.read_at)
        silent = self._slivers.holdings.ends().items()
        return {**{cm: end for cm, end in silent if cm not in heard}, **known}

    def is_silent(self, cm: str) -> bool:
        """Tell whether a CM was not heard in this run; never with "", for the slice."""
        with self._desk.lock:
            return bool(cm) and cm not in self._slivers.read_at

    def over(self) -> dict[str, datetime]:
        """Return the CMs whose lease ended while they are silent -> when: nobody knows what is there now.

        Its end is told by the wall clock as it went when the CM was read last: who sets that clock while the
        CM is silent ends no lease.
        """
        steady, further = self._desk.clock.steady(), ahead(self._desk.clock)
        with self._desk.lock:
            ends = self.ends()
            for cm, read in self._slivers.read_at.items():
                if cm not in self._read or self._read[cm][0] != read:
                    self._read[cm] = (read, further)
            read_at = dict(self._read)
        found: dict[str, datetime] = {}
        for cm, end in ends.items():
            known = read_at.get(cm)
            if is_overrun(end - (known[1] if known else further), steady, known[0] if known else None):
                found[cm] = end
        return found

    def look(self) -> None:
        """Tell once of each sliver that outlived its slice, and of each whose end passed in silence."""
        orphans, over = self.orphans(), self.over()
        with self._desk.lock:
            acts = {cm: orphan.acts_until is not None for cm, orphan in orphans.items()}
            fresh = {cm: orphans[cm] for cm in acts if self._told.get(cm) != acts[cm]}
            self._told = acts
            passed = {cm for cm, end in over.items() if self._passed.get(cm) != end}
            ended = {cm: e for cm, e in over.items() if self._ended.get(cm) != e and self._is_unheard(cm)}
            heard = self._slivers.book.slivers.keys() - over.keys()
            back = [cm for cm in self._ended if cm in heard and not self._slivers.holdings.is_forgotten(cm)]
            self._passed = dict(over)
            self._ended = {cm: e for cm, e in over.items() if cm in ended or self._ended.get(cm) == e}
            machines = {cm: self._machines(cm) for cm in (*fresh, *ended, *back)}
            ends = self.ends()
        for cm, orphan in fresh.items():
            end = ends.get(cm)
            lasts = f", until {end:%Y-%m-%dT%H:%M:%SZ}" if end else ""
            message = f"{cm} holds {machines[cm]}{lasts}: {orphan_words(orphan)}"
            self._desk.tell(EventKind.ORPHANED, cm, message, OfCm(cm))
        for cm, end in ended.items():
            self._desk.tell(EventKind.OVERRUN, cm, overrun_words(cm, end, machines[cm]), OfCm(cm))
        if passed:
            self._desk.wake("get_system_state", "ensure_sliver", "update_sliver_status")
        for cm in back:
            message = f"{cm} answers again, whose lease had ended meanwhile: it holds {machines[cm]}"
            self._desk.tell(EventKind.OVERRUN, cm, message, OfCm(cm))

    def _is_unheard(self, cm: str) -> bool:
        """Tell whether a CM gave no manifest for so long that it is silent; under the desk's lock.

        One that told its manifest a minute before the end is asked again first.
        """
        read = self._read.get(cm)
        return read is None or self._desk.clock.steady() - read[0] > SILENCE

    def _machines(self, cm: str) -> str:
        """Name what a CM holds, as far as is known; under the desk's lock."""
        names = [node.client_id for node in self._slivers.book.held(cm)]
        holding = self._slivers.holdings.of(cm)
        if not names and holding and cm not in self._slivers.book.slivers:
            names = sorted(holding.machines)
        return listed(names) or "no machine"


def is_overrun(end: datetime, now: datetime, read_at: datetime | None) -> bool:
    """Tell whether a lease ended and nobody knows what is there now. All times are those of one clock.

    Args:
        end: of the lease.
        now: the time.
        read_at: when the last manifest was read; None for not in this run.
    """
    if now < end:
        return False
    return read_at is None or read_at < end or now - read_at > SILENCE
