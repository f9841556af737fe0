"""Whose machines the slice has, and what will and will not be touched: told before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.check.finding import Finding, fine, warning
from agent.core.model import Holding, Sliver, SliverNode
from agent.core.ownership import Claim, Ownership, SliceIs, claims, goes_whole, is_made_by_us
from agent.core.request.helper import ElasticSliceHelper
from agent.core.slice.words import foreign_words, listed, sliver_words, whose_words

_WHOSE = "whose slice"


@dataclass(frozen=True)
class Held:
    """What one CM holds for the slice, and what the ledger remembers of it."""

    cm: str
    """URN."""
    sliver: Sliver | None
    asked: frozenset[str] = frozenset()
    """client_ids that were asked for, while that is not settled."""
    before: Holding | None = None
    """What it held for us when the daemon heard it last; None where that is not known."""


Said = Mapping[str, Mapping[SliverNode, Claim]]
"""CM -> each of its machines -> what says whose it is."""


def say_whose(helds: Iterable[Held], ownership: Ownership, helper: ElasticSliceHelper) -> Said:
    """Decide of each machine whose it is, as the daemon would at its start.

    Args:
        helds: what each CM holds.
        ownership: what the site says.
        helper: tells which client_ids it gives out, and which its first request has.
    """
    return {
        held.cm: claims(
            ownership,
            held.sliver,
            gives=helper.owns,
            asks_for=helper.asks_for,
            asked=held.asked,
            before=held.before,
        )
        for held in helds
    }


def ours_of(said: Iterable[Said]) -> list[SliverNode]:
    """List the machines that are ours: no other may be logged in to."""
    return [
        node for each in said for claimed in each.values() for node, claim in claimed.items() if claim.is_ours
    ]


def is_shared(said: Iterable[Said], slice_is: SliceIs | None) -> bool:
    """Tell whether the slice is not ours alone: the site says so, or it has a machine of others."""
    if slice_is is not None:
        return slice_is == "shared"
    return any(claim.is_foreign for each in said for claimed in each.values() for claim in claimed.values())


def check_ownership(
    helds: Sequence[Held],
    said: Said,
    ownership: Ownership,
    words: Mapping[str, Mapping[str, frozenset[str]]],
) -> Iterator[Finding]:
    """Tell at each CM which machines are ours and why, and whose the slice was found to be.

    Args:
        helds: what each CM holds.
        said: whose each machine is.
        ownership: what the site says.
        words: ``own`` and ``never`` -> each of its node sets -> the names that this stands for.
    """
    for held in helds:
        yield from _at(held, said[held.cm])
    yield _whose(helds, said, ownership)
    there = [node for claimed in said.values() for node in claimed]
    if there:
        yield from _idle_words(there, words)


def check_lonely_lans(said: Said, wanted: Iterable[str]) -> Iterator[Finding]:
    """Warn of LANs that others would lose when our last machine goes back.

    A CM of 2021 takes a LAN away from the one machine that is left in it (GeniCMV2.pm DeleteNodes); such a
    CM is known by the netmasks in its manifest.

    Args:
        said: whose each machine is.
        wanted: names of the LANs that our machines join.
    """
    for cm, claimed in said.items():
        for lan in wanted:
            left = [
                node.client_id
                for node, claim in claimed.items()
                if claim.is_foreign and any(port.lan == lan and port.netmask for port in node.lans)
            ]
            if len(left) == 1:
                seen = f"{left[0]} would be alone in {lan} when our last machine goes, and lose it"
                mend = "give the LAN a second machine that is not the agent's, or set [demand] min_nodes"
                yield warning(f"LANs at {cm}", seen, mend)


def _at(held: Held, said: Mapping[SliverNode, Claim]) -> Iterator[Finding]:
    """Tell of the machines at one CM."""
    subject = f"machines at {held.cm}"
    yield fine(subject, whose_words(said, held.sliver.unread if held.sliver else 0))
    by_name = [node.client_id for node, claim in said.items() if claim is Claim.NAME]
    if by_name:
        yield warning(
            subject,
            f"nothing remembers that we asked for {listed(by_name)}: the agent takes over what has its names,"
            " and gives it back when it is idle",
            "name in [request] never what is not ours, or choose another [request] node_prefix",
        )


def _whose(helds: Iterable[Held], said: Said, ownership: Ownership) -> Finding:
    """Tell whose the slice is, and what follows for its slivers."""
    there = [held for held in helds if held.sliver is not None]
    going = [held.cm for held in there if _goes(held, said[held.cm], ownership)]
    kept = [held.cm for held in there if held.cm not in going]
    foreign = [node.client_id for claimed in said.values() for node, c in claimed.items() if c.is_foreign]
    others, follows = foreign_words(foreign), _consequence(going, kept)
    if ownership.slice_is == "ours" and foreign:
        seen = f"[cloudlab] slice_is says that it is ours, and {others}; {follows}"
        return warning(_WHOSE, seen, 'set it to "shared", or name in [request] own what is ours')
    if ownership.slice_is is not None:
        return fine(_WHOSE, f"{ownership.slice_is}, as [cloudlab] slice_is says; {follows}")
    if foreign:
        return fine(_WHOSE, f"shared, since {others}; {follows}")
    if kept:
        mend = 'set [cloudlab] slice_is to "ours", or to "shared" where others have a part in it'
        return warning(
            _WHOSE, f"nothing tells who asked for the sliver at {', '.join(kept)}; {follows}", mend
        )
    return fine(_WHOSE, f"ours: it has nothing that we did not ask for; {follows}")


def _goes(held: Held, said: Mapping[SliverNode, Claim], ownership: Ownership) -> bool:
    """Tell whether the daemon would give the sliver back as a whole, once nobody needs its machines."""
    if held.sliver is None:
        return False
    ours = [node for node, claim in said.items() if claim.is_ours]
    made = is_made_by_us(held.sliver, ours, held.before, asked=Claim.ASKED in said.values())
    has_foreign = any(claim.is_foreign for claim in said.values())
    return goes_whole(ownership, held.sliver, ours, made=made, has_foreign=has_foreign)


def _consequence(going: Sequence[str], kept: Sequence[str]) -> str:
    """Say which slivers go as a whole, and which never."""
    parts = [f"the sliver at {cm} {sliver_words(goes=True)}" for cm in going]
    parts += [f"the sliver at {cm} {sliver_words(goes=False)}" for cm in kept]
    return "; ".join(parts) or f"a sliver that we ask for {sliver_words(goes=True)}"


def _idle_words(
    there: Iterable[SliverNode], words: Mapping[str, Mapping[str, frozenset[str]]]
) -> Iterator[Finding]:
    """Remark on each node set of the settings that names nothing in the slice."""
    names = {name for node in there for name in (node.client_id, node.node_id)}
    for key, sets in words.items():
        idle = [word for word, meant in sets.items() if not meant & names]
        if not idle:
            continue
        subject, seen = f"[request] {key}", f"no machine of the slice has a name of {', '.join(idle)}"
        if key == "never":
            yield warning(subject, seen, "take the names as `machines at` tells them; case matters")
        else:
            yield fine(subject, f"{seen} now")
