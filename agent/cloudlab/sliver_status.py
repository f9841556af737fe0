"""What a reply of ``SliverStatus`` tells: of each machine, of the whole, and of the server that wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.core.model import NodeStatus, SliverStatus

_TODAYS_KEYS = frozenset({"boot_failure", "shutdown", "paniced"})
"""Keys that ``GeniCMV2 SliverStatus`` of 2016 has not: who has them lets no change in while machines boot."""
_GIVEN_UP = re.compile(r"nodes? failed to (?:setup|boot):?\s*([^\n.;]*)", re.IGNORECASE)
"""«The following nodes failed to setup: pc1 pc2» (GeniAggregate.pm Action)."""
_NODE_ID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,62}")


def read_sliver_status(cm: str, value: Mapping[str, object]) -> SliverStatus:
    """Make a status of a reply's value."""
    details, error = value.get("details"), str(value.get("error", ""))
    return SliverStatus(
        cm=cm,
        state=str(value.get("state", "")),
        status=str(value.get("status", "")),
        error=error,
        nodes=_statuses(details) if isinstance(details, dict) else (),
        waits_for_boots=not _TODAYS_KEYS.isdisjoint(value),
        given_up=failed_nodes(error),
    )


def failed_nodes(error: str) -> frozenset[str]:
    """Find the node_ids of the machines that an aggregate's error says failed; none where it names none."""
    found = _GIVEN_UP.search(error)
    return frozenset(_NODE_ID.findall(found[1])) if found else frozenset()


def _statuses(details: Mapping[object, object]) -> tuple[NodeStatus, ...]:
    """Read the machines' entries; those of links have no event state."""
    return tuple(
        _status(str(urn), entry)
        for urn, entry in details.items()
        if isinstance(entry, dict) and {"rawstate", "nodestatus", "execute_state"} & entry.keys()
    )


def _status(sliver_urn: str, entry: Mapping[str, object]) -> NodeStatus:
    ended = entry.get("execute_state") == "exited"
    return NodeStatus(
        client_id=str(entry.get("client_id", "")),
        node_id=str(entry.get("component_urn", "")),
        sliver_id=sliver_urn,
        state=str(entry.get("state", "")),
        status=str(entry.get("status", "")),
        error=str(entry.get("error", "")),
        rawstate=str(entry.get("rawstate", "")),
        execute_status=_exit_status(entry.get("execute_status")) if ended else None,
    )


def _exit_status(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
