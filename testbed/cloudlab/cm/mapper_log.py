"""What the newer server answers when no machines could be found, by cause (protogeni-2021.md §3.8).

GeniCM.pm GetTicketAuxAux picks these words out of the mapper's log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from testbed.cloudlab.answer import Code, RefusalError

UNMAPPED = "Could not map to resources"
PRECHECK = "Precheck failure"
POLICY = (
    "Not enough free nodes because of policy restrictions, or existing resource reservations to other "
    "projects"
)
_NEVER = (
    "our topology cannot be instantiated on this cluster. You have most likely asked for hardware that does "
    "not exist, such as nodes of a type that do not exist, or more network interfaces that exist on any of "
    "the nodes at this cluster. You will need to modify your experiment or try a different cluster - "
    "re-submitting as-is will always result in failure!"
)

_TOO_FEW = re.compile(
    r"\d* nodes of type [-\w]* requested, but|No available physical nodes of type", re.ASCII
)


def unmapped(code: Code, log: str, reason: str = "", *, never: bool = False) -> RefusalError:
    """Say that the mapper found nothing; ``never`` where an empty site would not do either."""
    if never:
        reason = f"{reason}\n\nNote that y{_NEVER}" if reason else f"Y{_NEVER}"
        log = f"{log}\n\nNote that y{_NEVER}" if log else f"Y{_NEVER}"
    return RefusalError(code, log, f"{UNMAPPED}: {reason}" if reason else UNMAPPED)


def short_by_reservation(wanted: int, kind: str, bound: int) -> RefusalError:
    """Say that reservations of others by type leave too few; ``wanted`` counts what is held."""
    return _reserved(
        f"{wanted} nodes of type {kind} requested, but only {bound} available because of existing resource "
        "reservations to other projects."
    )


def machine_reserved(node_id: str) -> RefusalError:
    """Say that one machine is reserved by its name."""
    return _reserved(
        f"Node {node_id} requested, but is not available because of existing resource reservations to other "
        "projects."
    )


def machine_of_a_mate(node_id: str, kind: str) -> RefusalError:
    """Say that another experiment of the project has it."""
    return _reserved(
        f"Node {node_id} ({kind}) requested, but is not available because it is already allocated to another "
        "experiment in this project."
    )


def _reserved(words: str) -> RefusalError:
    return unmapped(Code.INSUFFICIENT_NODES, f"*** Resource reservation violation: {words}\n")


def short_of_types(lines: Sequence[str], *, never: bool) -> RefusalError:
    """Say which types there are too few machines of.

    GeniCM knows the line of a type by its name's characters: one with a dot or a plus is no mapping to it.
    """
    log = "".join(f"  *** {line}\n" for line in lines)
    is_known = any(_TOO_FEW.match(line) for line in lines)
    return unmapped(Code.INSUFFICIENT_NODES if is_known else Code.NO_MAPPING, log, PRECHECK, never=never)


def too_few(wanted: int, kind: str, found: int) -> str:
    """Write the line of a type of which too few are free."""
    if not found:
        return f"No available physical nodes of type {kind} found ({wanted} requested)"
    return f"{wanted} nodes of type {kind} requested, but only {found} available nodes of type {kind} found"


def limited(wanted: int, kind: str, most: int) -> str:
    """Write the line of a type of which more are free than policy lets one have."""
    return f"{wanted} nodes of type {kind} requested, but you are only allowed to use {most}"


def fixed(node_ids: Sequence[str]) -> RefusalError:
    """Say that machines that nodes are bound to are not to be had."""
    log = "".join(f"*** Fixed physical node: {node_id} not available.\n" for node_id in node_ids)
    return unmapped(Code.NO_MAPPING, f"{log}*** Some fixed nodes failed to map\n")


def policy() -> RefusalError:
    """Say that there are machines, and that limits or reservations keep them."""
    return unmapped(Code.INSUFFICIENT_NODES, POLICY, POLICY)
