"""What the CMs hold for us: read, learnt from, and changed, one call per CM at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Protocol

from agent.core.config import ManagerConfig
from agent.core.desk import Desk
from agent.core.errors import AgentError, BusyError, CloudlabError, ConfigError
from agent.core.jumps import on_the_wall
from agent.core.model import Intent, IntentKind, MachineId, Sliver, SliverNode, SliverStatus
from agent.core.ownership import Claim, claims, is_the_one
from agent.core.ports import SliceServer
from agent.core.request.helper import AddArgs
from agent.core.slice.at_work import LONGEST_WORK, AtWork
from agent.core.slice.holdings import Holdings
from agent.core.slice.hooks import HookQueue
from agent.core.slice.intents import Intents, carry_out, is_doubtful
from agent.core.slice.machines import MachineBook
from agent.core.slice.news import Listener, News
from agent.core.slice.returns import Returns
from agent.core.slice.sayings import Hearer, Sayings
from agent.core.slice.unreserved import Unreserved
from agent.core.slice.whole import Gate


class Owner(Hearer, Listener, Protocol):
    """What the manager gives: its notices, its hooks, and its helper's word on names."""

    def owns(self, client_id: str) -> bool:
        """Tell whether a name is one that the helper gives out."""

    def asks_for(self, client_id: str) -> bool:
        """Tell whether a name is one of the helper's first request."""


class Slivers:
    """The slivers of one slice.

    Args:
        server: the SA and the CMs.
        config: where intents are written, time, and limits.
        cms: URNs of the CMs in use.
        desk: the manager's.
        owner: the manager.

    Attributes:
        book: the machines; to be read under the desk's lock.
        intents: what is asked and not settled.
        holdings: what CMs held when they were last heard.
        gate: tells whether a sliver goes as a whole.
        unreserved: hears which machines are not ours any more.
        at_work: tells which CMs take no change now.
        returns: gives machines back.
        expires: CM -> until when its sliver lasts.
        read_at: CM -> when the reading of its last manifest began, by the steady clock.
        unexplained: keys of machines that are ours by their name alone.
    """

    def __init__(
        self, server: SliceServer, config: ManagerConfig, cms: Sequence[str], desk: Desk, owner: Owner
    ) -> None:
        self._server = server
        self._clock = config.clock
        self._limits = config.cycle
        self._desk = desk
        self._owner = owner
        self._ownership, self._retired = config.ownership, config.retired
        self._hooks = HookQueue()
        self._news = News(desk, owner, self._hooks)
        self._locks = {cm: threading.RLock() for cm in cms}
        self.book = MachineBook()
        self.expires: dict[str, datetime] = {}
        self._sayings = Sayings(owner, self.book, cms, self._limits.withdrawn_grace, self.expires)
        self.intents = Intents(config.intents, config.clock, config.cycle.lost_call_patience)
        patience = config.cycle.first_reading_patience
        known = dict.fromkeys((*cms, *config.retired))
        self.holdings = Holdings(config.holdings, known, config.clock, patience, config.retired.keys())
        self.gate = Gate(server, desk, config.ownership, self.book, self.holdings, self.intents)
        self.unreserved = Unreserved(desk, self.book, self._news, config.cycle, self._forget)
        limit = max(LONGEST_WORK, self._limits.boot_timeout)
        self.at_work = AtWork(desk, grace=self._limits.retry_interval, limit=limit)
        parts = (self.book, self.intents, self.gate, self.at_work)
        self.returns = Returns(server, desk, self, *parts, self._limits.gone_sightings)
        self.read_at: dict[str, datetime] = {}
        self.unexplained: set[MachineId] = set()

    @contextmanager
    def at(self, cm: str, wait: float = -1) -> Iterator[None]:
        """Hold a CM for one caller; on leaving, tell the helper what was learnt.

        Args:
            cm: the CM.
            wait: seconds to wait for another caller; -1 for as long as it takes.

        Raises:
            ConfigError: no such CM among those in use.
            BusyError: the other caller did not end in time.
        """
        lock = self._locks.get(cm)
        if lock is None:
            raise ConfigError(f"CM {cm!r}: one of {', '.join(self._locks)} is expected")
        if not lock.acquire(timeout=wait):
            raise BusyError("another call of ours is under way there", authority=cm)
        try:
            yield
        finally:
            lock.release()
            self._hooks.run(cm)

    def at_each(self, cms: Iterable[str], act: Callable[[str], None]) -> None:
        """Do something at each CM: a fault at one costs no other, and the first is raised at the end."""
        faults: list[AgentError] = []
        for cm in cms:
            try:
                with self.at(cm):
                    act(cm)
            except AgentError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    def holds(self, cm: str) -> bool:
        """Tell whether the last good read of a CM found a sliver."""
        with self._desk.lock:
            return self.book.slivers.get(cm) is not None

    def held_at(self) -> list[str]:
        """List the CMs that hold a sliver."""
        with self._desk.lock:
            return [cm for cm, sliver in self.book.slivers.items() if sliver is not None]

    def find(self, cm: str, node_id: str) -> SliverNode | None:
        """Find a machine in the last manifest of a CM."""
        with self._desk.lock:
            return next((n for n in self.book.held(cm) if n.node_id == node_id), None)

    def waits_for_another_look(self, cm: str) -> bool:
        """Tell whether a CM denied its sliver or a machine, by manifest or by name: the next look decides."""
        holding = self.holdings.of(cm)
        with self._desk.lock:
            is_there = holding is not None and holding.there
            is_denied = is_there and cm in self.book.slivers and self.book.slivers[cm] is None
            return self.book.in_doubt(cm) or is_denied

    def has_starting(self, cm: str) -> bool:
        """Tell whether a machine is neither ready nor failed yet."""
        with self._desk.lock:
            return bool(self.book.with_fate("", cm))

    def has_lost(self, cm: str) -> bool:
        """Tell whether the last manifest has a machine that is not ours any more."""
        with self._desk.lock:
            return bool(self.book.lost(cm))

    def why_no_more(self, cm: str) -> str:
        """Say while or before what no machine may be asked for at a CM; "" where one may be."""
        with self._desk.lock:
            has_none, has_lost = self.book.slivers.get(cm) is None, bool(self.book.lost(cm))
            in_doubt = self.book.in_doubt(cm)
        if cm in self._retired:
            return "while it is only to be emptied"
        if has_lost:
            return "while a machine there that is not ours any more is not deleted"
        if has_none and self.intents.in_flight(IntentKind.ADD, cm):
            return "while an earlier request for a sliver may still take effect"
        if has_none and in_doubt:
            return "before the next look decides whether its sliver is gone"
        return self.at_work.why(cm)

    def names(self, cm: str | None = None) -> set[str]:
        """Collect the client_ids that no machine may be asked for under, at one CM or all.

        They are those in manifests and in flight, those of machines in doubt and a silent CM's too, and those
        that are never ours.
        """
        with self._desk.lock:
            slivers = self.book.slivers.values() if cm is None else [self.book.slivers.get(cm)]
            held = {node.client_id for sliver in slivers if sliver for node in sliver.nodes}
            held |= {node.client_id for node in self.book.doubted(cm)}
        silent = {name for where, name in self.holdings.presumed() if cm in {None, where}}
        asked = {intent.client_id for intent in self.intents.in_flight(cm=cm)}
        return held | silent | asked | self._ownership.never

    def never_ours(self, names: Iterable[str]) -> list[str]:
        """List those of these client_ids that the site says are never ours."""
        return sorted(self._ownership.never.intersection(names))

    # --- reading; the caller holds the CM

    def read(self, cm: str) -> Sliver | None:
        """Read the manifest and learn from it."""
        began = self._clock.steady()
        is_asked = not self.holdings.is_forgotten(cm)
        return self._learn(cm, began, self._server.find_sliver(cm) if is_asked else None)

    def settle(self, cm: str, status: SliverStatus | None) -> None:
        """Settle what became of machines that were starting: by a status read now, or (None) by deadline."""
        now, limit = self._clock.steady(), self._limits.boot_timeout
        with self._desk.lock:
            settled = (
                self.book.judge(status, now, limit) if status else self.book.judge_unseen(cm, now, limit)
            )
        for machine in settled:
            self._news.settled(machine, booted=machine.fate == "ready")

    def give_up(self, cm: str, client_id: str, reason: str) -> None:
        """Settle a machine as failed; nothing is asked of its CM."""
        with self._desk.lock:
            machine = self.book.give_up(cm, client_id, reason)
        if machine is not None:
            self._news.settled(machine, booted=True)

    # --- changing; the caller holds the CM

    def create(self, cm: str, request: str, asked: Sequence[Intent]) -> None:
        """Make the sliver with a request whose intents are written down."""
        self.carry_out(cm, asked, lambda: self._server.create_sliver(cm, request))

    def add(self, cm: str, args: AddArgs, asked: Sequence[Intent]) -> None:
        """Add machines whose intents are written down."""
        self.carry_out(cm, asked, lambda: self._server.add_nodes(cm, args))

    def let_go(self, cm: str, call: Callable[[], None]) -> None:
        """Make a call after which the CM holds nothing for us."""
        learn = partial(self._learn, cm, self._clock.steady())
        call()
        learn(None, ())

    def carry_out(self, cm: str, asked: Sequence[Intent], call: Callable[[], Sliver | None]) -> None:
        """Make a call whose intents are written down, and learn from what it returns.

        Raises:
            CloudlabError: it did not happen, or that cannot be told yet.
        """
        learn = partial(self._learn, cm, self._clock.steady())
        done = partial(learn, given_back={i.client_id for i in asked if i.kind is IntentKind.DELETE})
        try:
            carry_out(self.intents, asked, call, lambda: self._server.find_sliver(cm), done=done, learn=learn)
        except CloudlabError as error:
            if is_doubtful(error):
                self.at_work.changed(cm)
            elif self.holds(cm):
                self.at_work.refused(cm, error)
            if (told := self.unreserved.note_refused(cm, error)) is not error:
                raise told from error
            raise
        self.at_work.changed(cm)

    # --- learning

    def _learn(
        self, cm: str, read_at: datetime, sliver: Sliver | None, given_back: Collection[str] | None = None
    ) -> Sliver | None:
        """Take in a manifest; ``given_back`` are client_ids that a reply says are, None for no such reply."""
        if sliver is None:
            self.at_work.gone(cm)
        with self._desk.lock:
            sliver = self.book.recognise(cm, sliver)
        asked = {i.client_id: i.asked for i in self.intents.in_flight(IntentKind.ADD, cm)}
        owner, nodes = self._owner, sliver.nodes if sliver else ()
        remembered: list[SliverNode] = []
        if before := self.holdings.of(cm):
            if sliver is None or not before.sliver_urn or is_the_one(sliver, before):
                remembered = [SliverNode(name, "", cm, known) for name, known in before.machines.items()]
            with self._desk.lock:
                # One manifest that lacks a machine does not make it another's in the next.
                before = replace(before, machines={**self.book.not_gone(cm), **before.machines})
        said = claims(
            *(self._ownership, sliver),
            gives=owner.owns,
            asks_for=owner.asks_for,
            asked=asked,
            before=before,
        )
        ours = [node for node in nodes if said[node].is_ours]
        parts = {node for node, claim in said.items() if claim is Claim.PART}
        with self._desk.lock:
            self._owner.follow_clock()
            on_wall = on_the_wall(self._clock, read_at)
            is_first = cm not in self.book.slivers
            self.read_at[cm] = read_at
            changes = self.book.observe(
                *(cm, sliver),
                now=read_at,
                ours=lambda node: said[node].is_ours,
                parts=parts,
                asked=asked,
                announced=lambda node: (
                    node.client_id in (given_back or ()) or self._sayings.is_taken(node, on_wall)
                ),
                sightings=self._limits.gone_sightings,
                spacing=self._limits.retry_interval / 2,
                remembered=remembered,
            )
            doubted = self.book.doubted(cm)
            is_absent = given_back is not None or self.book.is_absent(cm, self._limits.gone_sightings)
            is_in_doubt = bool(doubted or (before and before.there and not is_absent))
            self._keep_expiry(cm, sliver, is_in_doubt=is_in_doubt)
            for node in (*changes.gone, *changes.foreign_gone):
                self._forget(node)
            self.unexplained |= {n.key for n in changes.new if not said[n].is_remembered}
            kept, over = self._sayings.refuted(nodes, read_at, on_wall)
            self._sayings.confirmed(self.read_at)
        # Before an intent is struck: after a kill in between, the machine is counted by one or the other.
        # Whose an empty sliver is that we may have asked for, the first machine in it tells.
        is_open = bool(asked) and not nodes and before is not None and not before.there
        is_news = self.holdings.heard(
            *(cm, None if is_open else sliver, ours),
            asked=Claim.ASKED in said.values(),
            parts=parts,
            doubted=doubted,
            may_be_there=sliver is None and is_in_doubt,
        )
        if is_news:
            self._desk.wake("ensure_sliver", "add_nodes")
        if is_first:
            goes = sliver is not None and self.gate.is_ours(cm, sliver, ours)
            self._news.first_look(cm, sliver, said, goes=goes)
        self._news.changed(cm, changes, said, asked)
        self._news.over(kept, over)
        if not self.holdings.is_written(cm):
            # Their intents are all that a restart would know the new machines by.
            return sliver
        there, in_doubt = ({n.client_id for n in each} for each in (nodes, doubted))
        settlement = self.intents.settle(cm, there, in_doubt, read_at, self._limits.lost_call_patience)
        self._news.void(settlement.void)
        return sliver

    def _forget(self, node: SliverNode) -> None:
        self.unexplained.discard(node.key)
        self._sayings.forget(node)

    def _keep_expiry(self, cm: str, sliver: Sliver | None, *, is_in_doubt: bool) -> None:
        if sliver is None:
            # One that is denied once may be there, and then ends when it was to end.
            if not is_in_doubt:
                self.expires.pop(cm, None)
        elif sliver.expires is not None:
            self.expires[cm] = sliver.expires
