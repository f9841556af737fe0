"""What led to each event: the newest earlier one about the same machine that can have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from agent.core.events import PastEvent


def find_causes(
    events: Sequence[tuple[int, PastEvent]], aliases: Mapping[str, str] = MappingProxyType({})
) -> dict[int, int]:
    """Return id -> id of the event that led to it, for those whose cause is among them.

    Args:
        events: (id, event), oldest first. A subject may be several names with commas between them.
        aliases: each name that a machine goes by -> one that is the same for all of them.
    """
    newest: dict[tuple[str, str], int] = {}
    causes: dict[int, int] = {}
    for number, event in events:
        names = [aliases.get(name, name) for name in event.subject.split(",") if name]
        earlier = [newest[name, kind] for name in names for kind in event.causes if (name, kind) in newest]
        if earlier:
            causes[number] = max(earlier)
        newest.update({(name, event.kind): number for name in names})
    return causes
