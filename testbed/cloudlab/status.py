"""How states of nodes become the words of SliverStatus (protogeni.md §3.5). Pure."""

from __future__ import annotations

from collections.abc import Collection

FREE_EVENTS = frozenset({"ISUP", "PXEWAIT", "POWEROFF", "ALWAYSUP"})
_CHANGING_STATES = frozenset({"imaging", "restarting", "updating_users"})
_FAILED = frozenset({"failed", "broken", "canceled"})
FAILED_EVENTS = frozenset({"TBFAILED", "RELOADFAILED"})


def node_status(state: str, event: str, generation: int = 2016) -> str:
    """Derive a node sliver's status from its state and the machine's last event (GeniSliver.pm)."""
    if state in _CHANGING_STATES:
        return "changing"
    if event == "ISUP":
        return "ready"
    if event in FAILED_EVENTS:
        return "failed"
    if event in {"SHUTDOWN", "PXEWAIT"} or (event == "POWEROFF" and generation >= 2021):
        return "notready"
    return "changing"


def aggregate_state(states: Collection[str]) -> str:
    """Join the states of all node slivers (GeniAggregate.pm ComputeState)."""
    if all(state in {"new", "stopped"} for state in states):
        return "stopped"
    if all(state == "started" for state in states):
        return "started"
    return "mixed"


def aggregate_status(statuses: Collection[str], *, boot_failed: bool) -> str:
    """Join the statuses of all node slivers; the aggregate's boot-failure flag forces «failed»."""
    if boot_failed or not _FAILED.isdisjoint(statuses):
        return "failed"
    for word in ("ready", "notready", "changing"):
        if all(status == word for status in statuses):
            return word
    return "mixed"
