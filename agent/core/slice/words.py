"""What is said of whose the machines of the slice are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from agent.core.model import LeftBehind, Orphan, RetiredCm, SliverNode
from agent.core.ownership import Claim

NAMED = 20
"""Machines that one sentence names."""


def foreign_words(client_ids: Sequence[str]) -> str:
    """Say which machines of the slice are not ours; "" for none."""
    if not client_ids:
        return ""
    are = "machine of this slice is" if len(client_ids) == 1 else "machines of this slice are"
    return f"{len(client_ids)} {are} not ours: {listed(client_ids)}"


def listed(names: Sequence[str]) -> str:
    """List names in one line; of very many the first."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def whose_words(said: Mapping[SliverNode, Claim], unread: int = 0) -> str:
    """Say of the machines at one CM which are ours and which are left alone, and what says so.

    Args:
        said: each with what says whose it is.
        unread: how many more have no usable name.
    """
    ours = [node for node, claim in said.items() if claim.is_ours]
    foreign = [node for node, claim in said.items() if claim.is_foreign]
    others = [node.client_id for node, claim in said.items() if claim is Claim.PART]
    parts = []
    if ours:
        parts.append(f"{len(ours)} ours: {_grouped(ours, said)}")
    if foreign:
        parts.append(f"{len(foreign)} not ours, and left alone: {_grouped(foreign, said)}")
    if others:
        parts.append(f"no machines, and part of our request: {listed(others)}")
    if unread:
        parts.append(f"{unread} without a usable name, and left alone")
    return "; ".join(parts) or "none"


def _grouped(nodes: Iterable[SliverNode], said: Mapping[SliverNode, Claim]) -> str:
    groups: dict[Claim, list[str]] = {}
    for node in nodes:
        groups.setdefault(said[node], []).append(node.client_id)
    return ", ".join(f"{listed(names)} ({claim})" for claim, names in groups.items())


def sliver_words(*, goes: bool) -> str:
    """Say whether a sliver is given back as a whole once nobody needs its machines."""
    return "goes with its last machine" if goes else "stays: only machines of ours are given back there"


def staying_words(others: int) -> str:
    """Say why a sliver stays that no machine of ours is in, but so many of others."""
    if others == 0:
        return (
            'the sliver stays, since it is not known to be ours ([cloudlab] slice_is = "ours" would say so)'
        )
    are = "a machine that is" if others == 1 else f"{others} machines that are"
    return f"the sliver stays, which has {are} not ours"


def retired_words(report: RetiredCm) -> str:
    """Say what is held at a CM that agent.conf does not have, and what can be done about it."""
    what = _held_words(report, " for us") or "may hold something for us"
    known = "" if report.heard else ", as far as is remembered"
    give_back = f"`esagent teardown --cm {report.urn}` gives it back"
    if report.can_be_asked:
        follows = f"nothing more is borrowed there; {give_back}, or take the CM into agent.conf again"
    else:
        follows = (
            f"it cannot be asked, since its URL is not known: take it into agent.conf again, then {give_back}"
        )
    return f"{report.urn} is not in agent.conf, and {what}{known}: {follows}"


def left_behind_words(left: LeftBehind) -> str:
    """Say what a CM holds for a slice that agent.conf does not have any more, and how to get at it."""
    return (
        f"{left.cm} {_held_words(left)} for another slice, {left.slice}, as far as is remembered: nothing"
        " of it is touched or renewed; put that slice back into [cloudlab] slice and project, then"
        f" `esagent teardown --cm {left.cm}` gives it back"
    )


def orphan_words(orphan: Orphan) -> str:
    """Say what becomes of a sliver whose slice the SA has no more."""
    gone = "its slice is gone at the SA, so that it cannot be renewed"
    if orphan.acts_until is None:
        unknown = "nor be given back, since the credential that made it is not known"
        return f"{gone}, {unknown}: it ends with its lease"
    return f"{gone}; its machines serve until its lease ends or nobody needs them, and then are given back"


def overrun_words(cm: str, end: datetime, machines: str) -> str:
    """Say that a lease ended while its CM did not answer."""
    return (
        f"the lease at {cm} ended at {end:%Y-%m-%dT%H:%M:%SZ}, and nobody answers there:"
        f" {machines} not counted on before it does"
    )


def _held_words(what: RetiredCm | LeftBehind, for_whom: str = "") -> str:
    """Say what a CM holds and was asked about, as far as is known; "" for nothing."""
    parts = []
    if what.machines:
        parts.append(f"holds {listed(what.machines)}{for_whom}")
    elif what.has_sliver:
        parts.append("holds a sliver of ours without machines")
    if parts and what.expires:
        parts[0] += f" until {what.expires:%Y-%m-%dT%H:%M:%SZ}"
    if what.asked:
        parts.append(f"was asked about {listed(what.asked)}, with no answer known")
    return " and ".join(parts)
