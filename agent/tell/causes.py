"""What led to each event: the newest earlier one about the same machine that can have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.core.model import Event

_WISHES = ("revoke", "admin", "surplus", "blocked", "failed", "join-failed")
"""Kinds after which a machine is emptied."""
_FROM: Mapping[str, tuple[str, ...]] = {
    "ready": ("arrived", "adopted"),
    "failed": ("arrived", "adopted"),
    "joining": ("ready",),
    "join-step": ("joining",),
    "join-error": ("joining",),
    "join-failed": ("join-error", "joining", "ready"),
    "join": ("join-step", "joining", "ready"),
    "fence": _WISHES,
    "drain": _WISHES,
    "warn": ("drain", *_WISHES),
    "signal": ("drain", *_WISHES),
    "requeue": ("drain", *_WISHES),
    "cancel": ("drain", *_WISHES),
    "leave": ("drain", *_WISHES),
    "release": ("leave", "drain", "revoke"),
    "resume": ("withdrawn", "keep", "admin"),
    "withdrawn": ("revoke",),
    "keep": ("surplus",),
    "gone": ("release", "leave", "missing", *_WISHES),
    "lost": ("down", "gone"),
    "down": ("gone", "revoke"),
    "remove": ("down", "gone"),
}
"""Kind -> kinds that can have led to it."""


def find_causes(events: Sequence[tuple[int, Event]]) -> dict[int, int]:
    """Return id -> id of the event that led to it, for those whose cause is among them.

    Args:
        events: (id, event), oldest first. A subject may be several names with commas between them.
    """
    newest: dict[tuple[str, str], int] = {}
    causes: dict[int, int] = {}
    for number, event in events:
        names = [name for name in event.subject.split(",") if name]
        earlier = [
            newest[name, kind]
            for name in names
            for kind in _FROM.get(event.kind, ())
            if (name, kind) in newest
        ]
        if earlier:
            causes[number] = max(earlier)
        newest.update({(name, event.kind): number for name in names})
    return causes
