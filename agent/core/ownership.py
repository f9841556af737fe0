"""Whose machine is this, and whose sliver: a pure decision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from agent.core.model import Holding, Sliver, SliverNode
from agent.core.request.rspec import GENERATOR

SliceIs = Literal["ours", "shared"]


class Claim(StrEnum):
    """What says whose machine it is."""

    NEVER = "[request] never names it"
    OWN = "[request] own names it"
    NAME = "its name is one that we give"
    ASKED = "we asked for it"
    KNOWN = "it was ours before"
    REQUESTED = "our request made the sliver with it"
    NONE = "nothing says that we asked for it"
    PART = "no machine, and it came with our request"

    @property
    def is_ours(self) -> bool:
        """We may act on it."""
        return self not in {Claim.NEVER, Claim.NONE, Claim.PART}

    @property
    def is_foreign(self) -> bool:
        """It is another's."""
        return self in {Claim.NEVER, Claim.NONE}

    @property
    def is_remembered(self) -> bool:
        """We know of our own that we asked for it."""
        return self in {Claim.ASKED, Claim.KNOWN, Claim.REQUESTED}


@dataclass(frozen=True)
class Ownership:
    """What a site says of machines by name; names are client_ids or node_ids."""

    own: frozenset[str] = frozenset()
    """Those that are ours although we did not ask for them."""
    never: frozenset[str] = frozenset()
    """Those that are not ours whatever else says so."""
    slice_is: SliceIs | None = None
    """Whose the slice is; None where that is found out."""
    given: frozenset[str] = frozenset()
    """client_ids that are given out besides the helper's: those of ``[join] power_nodes``."""

    def claim(
        self,
        node: SliverNode,
        *,
        gives: Callable[[str], bool],
        asked: Collection[str],
        held: Mapping[str, str],
    ) -> Claim:
        """Tell what says whose machine this is.

        Args:
            node: a machine in the manifest of a CM.
            gives: tells whether a client_id is one that our helper gives out.
            asked: client_ids that this CM was asked for, while that is not settled.
            held: client_id -> sliver_id, or else node_id, of the machines of ours that this CM had.
        """
        names = {node.client_id, node.node_id}
        if names & self.never:
            return Claim.NEVER
        if not node.is_machine:
            return Claim.NONE
        if node.client_id in asked:
            return Claim.ASKED
        if _is_among(node, held):
            return Claim.KNOWN
        if names & self.own:
            return Claim.OWN
        is_given = node.client_id in self.given or gives(node.client_id)
        return Claim.NAME if is_given else Claim.NONE


def claims(
    ownership: Ownership,
    sliver: Sliver | None,
    *,
    gives: Callable[[str], bool],
    asks_for: Callable[[str], bool],
    asked: Collection[str],
    before: Holding | None,
) -> dict[SliverNode, Claim]:
    """Tell of all that is in a CM's manifest what says whose it is.

    Block stores and virtual machines are never machines of ours. Those that came with our request for a
    sliver are a part of it, and go with it; what comes later is another's (``GeniCMV2 AddNodes`` adds raw PCs
    alone). Where nothing is remembered, the names of our first request tell what is ours in a sliver whose
    manifest says that the request was ours.

    Args:
        ownership: what the site says.
        sliver: what the manifest says; None for nothing.
        gives: tells whether a client_id is one that our helper gives out.
        asks_for: tells whether a client_id is one that our first request has.
        asked: client_ids that this CM was asked for, while that is not settled.
        before: what is remembered of this CM; None for nothing.
    """
    if sliver is None:
        return {}
    held = before.machines if before else {}
    said = {node: ownership.claim(node, gives=gives, asked=asked, held=held) for node in sliver.nodes}
    if before is None and sliver.generator == GENERATOR:
        nameless = [n for n, claim in said.items() if claim is Claim.NONE and n.is_machine]
        said |= {node: Claim.REQUESTED for node in nameless if asks_for(node.client_id)}
    ours = [node for node, claim in said.items() if claim.is_ours]
    made = is_made_by_us(sliver, ours, before, asked=Claim.ASKED in said.values())
    if made or ownership.slice_is == "ours":
        known = _known_parts(sliver, before) if ownership.slice_is != "ours" else None
        others = [n for n, claim in said.items() if claim is Claim.NONE and not n.is_machine]
        said |= dict.fromkeys((n for n in others if known is None or n.client_id in known), Claim.PART)
    return said


def _known_parts(sliver: Sliver, before: Holding | None) -> Collection[str] | None:
    """Return the client_ids of what came with our request; None at the first manifest, which has no other."""
    return before.parts if before is not None and before.sliver_urn == sliver.urn else None


def _is_among(node: SliverNode, held: Mapping[str, str]) -> bool:
    """Tell whether a machine is a remembered one: a name that came again elsewhere is another machine."""
    return held.get(node.client_id) in {node.sliver_id, node.node_id}


def is_made_by_us(
    sliver: Sliver | None, ours: Collection[SliverNode], before: Holding | None, *, asked: bool
) -> bool:
    """Tell whether a CM's sliver is known to be one that we asked for.

    That is so where there was none before we asked for the machines that it has, or where its first manifest
    says that the request was ours; nothing else may be in it then. With that word of the manifest, none of
    ours has to be in it any more. It stays so until the sliver is gone: what is remembered of another one, as
    that of another slice, says nothing.

    Args:
        sliver: what the manifest says.
        ours: those of its machines that are ours.
        before: what is remembered of this CM; None for nothing.
        asked: some of these machines were asked for, and that is not settled yet.
    """
    if sliver is None:
        return False
    if before is not None and before.there and is_the_one(sliver, before):
        return before.made
    had_none = before is not None and not before.there
    is_marked = sliver.generator == GENERATOR
    is_new = (had_none and asked and bool(ours)) or (is_marked and (bool(ours) or not sliver.nodes))
    return is_new and _has_nothing_else(sliver, ours)


def goes_whole(
    ownership: Ownership, sliver: Sliver, leaving: Collection[SliverNode], *, made: bool, has_foreign: bool
) -> bool:
    """Tell whether a sliver may be given back as a whole: it is ours, and so is all that is in it.

    Args:
        ownership: what the site says.
        sliver: what a manifest says that was read just now.
        leaving: its machines that go with it.
        made: it is known to be one that we asked for.
        has_foreign: something of others is in it, be it no machine.
    """
    is_ours = made or ownership.slice_is == "ours"
    return is_ours and not has_foreign and _has_nothing_else(sliver, leaving)


def is_the_one(sliver: Sliver, before: Holding) -> bool:
    """Tell whether a CM's sliver is the one that is remembered: by its URN, or a machine of ours in it."""
    return sliver.urn == before.sliver_urn or any(_is_among(node, before.machines) for node in sliver.nodes)


def _has_nothing_else(sliver: Sliver, ours: Collection[SliverNode]) -> bool:
    """Tell whether all machines that a manifest has are ours; what is no machine is a part of its sliver."""
    machines = [node for node in sliver.nodes if node.is_machine]
    return len(ours) == len(machines) and not sliver.unread
