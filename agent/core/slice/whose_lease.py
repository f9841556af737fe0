"""For whom a lease is kept: whether we hold something in a sliver, and whether others do."""

from __future__ import annotations

from agent.core.desk import Lock
from agent.core.model import IntentKind
from agent.core.slice.slivers import Slivers


def holds(slivers: Slivers, lock: Lock, cm: str) -> bool | None:
    """Tell whether we hold or asked for a machine at a CM that was heard; None while it is not known.

    With "" at any CM: one that was not heard yet may hold some.
    """
    at = cm or None
    with lock:
        held = bool(slivers.book.held(at) or slivers.book.doubted(at))
    if held or slivers.intents.in_flight(IntentKind.ADD, at):
        return True
    holdings = slivers.holdings
    return None if not cm and (holdings.presumed() or holdings.unknown()) else False


def has_others(slivers: Slivers, lock: Lock, cm: str) -> bool:
    """Tell whether a sliver has what is not ours; with "" whether any has."""
    with lock:
        book = slivers.book
        unread = {at for at, sliver in book.slivers.items() if sliver is not None and sliver.unread}
        there = book.foreign(cm or None) or (cm in unread if cm else unread)
    return bool(there)
