"""Whose machine is this, and whose sliver: a pure decision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
    NONE = "nothing says that we asked for it"

    @property
    def is_ours(self) -> bool:
        """We may act on it."""
        return self not in {Claim.NEVER, Claim.NONE}

    @property
    def is_remembered(self) -> bool:
        """We know of our own that we asked for it."""
        return self in {Claim.ASKED, Claim.KNOWN}


@dataclass(frozen=True)
class Ownership:
    """What a site says of machines by name; names are client_ids or node_ids."""

    own: frozenset[str] = frozenset()
    """Those that are ours although we did not ask for them."""
    never: frozenset[str] = frozenset()
    """Those that are not ours whatever else says so."""
    slice_is: SliceIs | None = None
    """Whose the slice is; None where that is found out."""

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
            held: client_id -> sliver_id ("" for any) of the machines of ours that this CM had.
        """
        names = {node.client_id, node.node_id}
        if names & self.never:
            return Claim.NEVER
        if node.client_id in asked:
            return Claim.ASKED
        # A name that came again with another sliver is another machine.
        if held.get(node.client_id) in {"", node.sliver_id}:
            return Claim.KNOWN
        if names & self.own:
            return Claim.OWN
        return Claim.NAME if gives(node.client_id) else Claim.NONE


def claims(
    ownership: Ownership,
    nodes: Iterable[SliverNode],
    *,
    gives: Callable[[str], bool],
    asked: Collection[str],
    before: Holding | None,
) -> dict[SliverNode, Claim]:
    """Tell of each machine in a CM's manifest what says whose it is.

    Args:
        ownership: what the site says.
        nodes: the machines.
        gives: tells whether a client_id is one that our helper gives out.
        asked: client_ids that this CM was asked for, while that is not settled.
        before: what is remembered of this CM; None for nothing.
    """
    held = before.machines if before else {}
    return {node: ownership.claim(node, gives=gives, asked=asked, held=held) for node in nodes}


def is_made_by_us(
    sliver: Sliver | None, ours: Collection[SliverNode], before: Holding | None, *, asked: bool
) -> bool:
    """Tell whether a CM's sliver is known to be one that we asked for.

    That is so where there was none before we asked for the machines that it has, or where its first manifest
    says that the request was ours; nothing else may be in it then. It stays so until the sliver is gone.

    Args:
        sliver: what the manifest says.
        ours: those of its machines that are ours.
        before: what is remembered of this CM; None for nothing.
        asked: some of these machines were asked for, and that is not settled yet.
    """
    if sliver is None:
        return False
    if before is not None and before.there:
        return before.made
    is_new = (before is not None and asked) or sliver.generator == GENERATOR
    return is_new and bool(ours) and has_nothing_else(sliver, ours)


def has_nothing_else(sliver: Sliver, ours: Collection[SliverNode]) -> bool:
    """Tell whether all that a manifest has is ours."""
    return len(ours) == len(sliver.nodes) and not sliver.unread
