"""Tells what became of machines: an event each, and the helper's hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import structlog

from agent.core.desk import Desk
from agent.core.events import EventKind, Fate, OfCm
from agent.core.model import Intent, Sliver, SliverNode
from agent.core.ownership import Claim
from agent.core.said import Revocation
from agent.core.slice.hooks import HookQueue
from agent.core.slice.machines import Changes, Machine
from agent.core.slice.words import listed, sliver_words, whose_words

log = structlog.get_logger()


class Listener(Protocol):
    """Who is told: the manager, whose hooks these are."""

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> object:
        """Take note that a machine is ready or failed."""

    def handle_deleted_node(self, node: Mapping[str, Any]) -> object:
        """Take note that a machine is gone."""

    def machine_settled(self, machine: Machine) -> None:
        """Take note, before the hook, that a machine is ready or failed."""


class News:
    """Tells each thing once.

    Args:
        desk: told of events.
        listener: the manager.
        hooks: keeps the calls that are owed to its helper.
    """

    def __init__(self, desk: Desk, listener: Listener, hooks: HookQueue) -> None:
        self._desk = desk
        self._listener = listener
        self._hooks = hooks

    def first_look(
        self, cm: str, sliver: Sliver | None, said: Mapping[SliverNode, Claim], *, goes: bool
    ) -> None:
        """Log what a CM holds when it is first read, and what will and will not be touched there.

        Args:
            cm: the CM.
            sliver: what it holds; None for nothing.
            said: what says whose each of its machines is.
            goes: the sliver is given back as a whole once nobody needs its machines.
        """
        machines = whose_words(said, sliver.unread if sliver else 0)
        words = sliver_words(goes=goes) if sliver else "none: what we ask for is ours"
        log.info("what the slice has at a CM", cm=cm, machines=machines, sliver=words)

    def settled(self, machine: Machine, *, booted: bool) -> None:
        """Tell that a machine is ready, or of no use."""
        node, fate = machine.node, machine.fate
        message = f"{node.node_id} ({node.client_id}) is {fate}: {machine.reason}"
        kind = EventKind.READY if fate == "ready" else EventKind.FAILED
        self._desk.tell(kind, node.node_id, message, Fate(node.cm, booted))
        self._listener.machine_settled(machine)
        self._hooks.put(node.cm, partial(self._listener.handle_added_node, vars(node).copy(), fate))

    def gone(self, node: SliverNode, why: str) -> None:
        """Tell that a machine is not ours any more."""
        message = f"{node.node_id} ({node.client_id}) is no longer ours: {why}"
        self._desk.tell(EventKind.GONE, node.node_id, message, OfCm(node.cm))
        self._hooks.put(node.cm, partial(self._listener.handle_deleted_node, vars(node).copy()))

    def over(self, kept: Iterable[SliverNode], withdrawn: Iterable[Revocation]) -> None:
        """Tell what Cloudlab said and did not do."""
        for node in kept:
            message = f"{node.node_id} was said to be taken, but the manifest has it"
            self._desk.tell(EventKind.KEPT, node.node_id, message)
        for revocation in withdrawn:
            node_id = revocation.node_id
            message = f"the revocation of {node_id} is over: nobody took the machine by its deadline"
            self._desk.tell(EventKind.WITHDRAWN, node_id, message)

    def void(self, intents: Iterable[Intent]) -> None:
        """Tell what was asked for and never happened."""
        for intent in intents:
            message = f"the {intent.kind} of {intent.client_id} never happened"
            self._desk.tell(EventKind.VOID, intent.client_id, message, OfCm(intent.cm))

    def changed(
        self, cm: str, changes: Changes, claims: Mapping[SliverNode, Claim], asked: Collection[str]
    ) -> None:
        """Tell what a manifest changed.

        Args:
            cm: whose manifest.
            changes: what it changed.
            claims: what says whose each of its machines is.
            asked: client_ids that were asked for, while that is not settled.
        """
        for node in changes.gone:
            self.gone(node, "the manifest lacks it")
        for node in changes.missing:
            message = f"{node.node_id} ({node.client_id}) is not in the manifest"
            self._desk.tell(EventKind.MISSING, node.node_id, message, OfCm(cm))
        if changes.foreign:
            named = listed([f"{node.client_id} ({node.node_id})" for node in changes.foreign])
            self._desk.tell(EventKind.FOREIGN, cm, f"not ours, and left alone: {named}", OfCm(cm))
        for node in changes.foreign:
            if node.client_id in asked:
                message = f"{node.node_id} came as {node.client_id}, which we asked for: {claims[node]}"
                self._desk.tell(EventKind.UNWELCOME, node.node_id, message, OfCm(cm))
        for node in changes.new:
            claim = claims[node]
            kind = EventKind.ARRIVED if claim is Claim.ASKED else EventKind.ADOPTED
            why = "" if claim is Claim.ASKED else f": {claim}"
            self._desk.tell(kind, node.node_id, f"{kind} {node.node_id} ({node.client_id}){why}", OfCm(cm))
